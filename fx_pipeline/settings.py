"""Every environment variable: its name, type, default and description.

A value comes from the environment, from ``.env`` in the working directory, or from its default here, in this
order. The name of a variable is the field's name in capitals.
"""

import datetime as dt
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fx_pipeline.serving.prefix import prefix_of
from fx_pipeline.setting_types import (
    AccessKey,
    AssetPrefix,
    Codes,
    DatabaseFile,
    Folder,
    HistoryDays,
    HostAndPort,
    HostNames,
    Port,
    PostgresUrl,
    ProviderAddress,
    PublicAddress,
    ReplicaUrl,
    SecretAddress,
    Secrets,
    SentryDsn,
    StartDate,
    TimeOfDay,
    bare,
    check_quotes,
)
from fx_pipeline.sqlite import unsound

_PACKAGED = Path(__file__).resolve().parent / "files"

PROJECT = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parent.parent
"""The folder with ``datasette_config/``, ``workspace.yaml``, ``dagster.yaml`` and ``.env.example``: the
checkout, or in a wheel ``fx_pipeline/files/``, where ``hatch_build.py`` puts them."""

FIXER_HOSTS = ("data.fixer.io", "api.apilayer.com")
"""The hosts of Fixer itself."""


class SettingsError(Exception):
    """An unusable value of a setting. The message is one line that names the setting."""


class Settings(BaseSettings):
    """The settings, read by `load_settings`. ``.env.example`` and ``docs/`` show the descriptions."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    fixer_access_key: AccessKey | None = Field(
        None, description="Your Fixer key. Without one, `fx-pipeline up` runs the sandbox instead of Fixer."
    )
    fixer_base_url: ProviderAddress = Field(
        "https://data.fixer.io/api",
        description="Fixer's address: https://data.fixer.io/api or https://api.apilayer.com/fixer.",
    )
    fixer_auth: Literal["auto", "query", "header"] = Field(
        "auto",
        description="How the key is sent: `query` (access_key=), `header` (apikey:), or `auto`: "
        "header for api.apilayer.com, otherwise query.",
    )
    fixer_monthly_quota: int | None = Field(
        None, ge=1, description="Calls your plan allows in a calendar month (UTC). Unset: no limit."
    )
    fixer_timeseries: bool = Field(
        False, description="1: fetch up to 365 days per call (Professional plan and above)."
    )
    fixer_concurrency: int = Field(4, ge=1, le=64, description="Maximum concurrent calls to Fixer per run.")
    fx_base: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="The base of every stored rate.")
    fx_symbols: Codes = Field(
        (), description="Currencies to fetch besides FX_BASE, comma-separated. Unset: all of Fixer's."
    )
    fx_start_date: StartDate = Field(
        dt.date(1999, 1, 1), description="The first day that can be fetched, which is the first partition."
    )
    fx_revision_days: int = Field(
        2, ge=0, le=365, description="Past days that the daily run refetches, because Fixer revises them."
    )
    fx_database: DatabaseFile = Field(
        Path("data/fx.db"), validate_default=True, description="The database file."
    )
    fx_replica_url: ReplicaUrl | None = Field(
        None,
        description="Where Litestream replicates both database files to: `s3://BUCKET/PATH`, `gs://`, "
        "`abs://`, `sftp://` or `file:///FOLDER`. Credentials come from the environment, such as "
        "AWS_ACCESS_KEY_ID. Unset: no replica.",
    )
    fx_require_sound_sqlite: bool = Field(
        False, description="1: do not start with a version of SQLite that can corrupt the database."
    )
    fx_litestream_port: Port = Field(
        8003, description="Port of Litestream's metrics for Prometheus, at `/metrics`, on this machine only."
    )
    fx_max_lag_seconds: float = Field(
        60,
        gt=0,
        description="Seconds that a reader may lag behind the replica before /-/health/ready fails. With "
        "more than 60, it asks the store less often.",
    )
    fx_max_age_days: int = Field(
        3, ge=1, description="Maximum age in days of the latest stored day before /-/health/freshness fails."
    )
    fx_max_drill_age_days: int = Field(
        2, ge=1, description="Maximum age in days of the last good restore drill before an alert is sent."
    )
    fx_catch_up_days: int = Field(
        31, ge=0, le=3660, description="Past days among which the daily run fetches those that are missing."
    )
    fx_revision_alert: float = Field(
        0.01, gt=0, description="Relative change of a stored value at which a check reports a revision."
    )
    fx_require_token: bool = Field(False, description="1: the API requires a token even if none exists.")
    fx_log_format: Literal["text", "json"] = Field(
        "text",
        description="Format of all logs: `text`, or `json` with one JSON document per line.",
    )
    fx_cache_mb: int = Field(
        32, ge=0, description="Size of the response cache of each API worker. 0: no cache."
    )
    fx_alert_urls: Secrets = Field(
        (), description="Where alerts are sent: Apprise URLs, separated by spaces."
    )
    fx_digest: TimeOfDay = Field(
        "07:00",
        description="Time of day (UTC) of the digest to FX_ALERT_URLS. `off`: there is none, and what it "
        "would contain is sent immediately.",
    )
    fx_heartbeat_url: SecretAddress | None = Field(
        None,
        description="Address at healthchecks.io, or at a service with the same convention, that is called "
        "when the daily run starts, succeeds or fails, and after each restore drill. Unset: none.",
    )
    fx_api_port: Port = Field(8001, description="Port of the API.")
    fx_metrics_port: Port | None = Field(
        None,
        description="Port of the API's metrics for Prometheus, at `/-/metrics`, without a token. Unset: only "
        "token holders get them, at the port of the API.",
    )
    fx_metrics_host: IPv4Address | IPv6Address = Field(
        IPv4Address("127.0.0.1"),
        description="Address at which FX_METRICS_PORT listens. Anyone who reaches it can read the metrics, "
        "so use another one only in a private network.",
    )
    fx_dagster_port: Port = Field(3000, description="Port of the Dagster UI.")
    fx_code_server: HostAndPort | None = Field(
        None,
        description="Where `webserver` and `daemon` reach the code server of another machine or container, "
        "such as `code:4000`. Unset: each runs one of its own.",
    )
    fx_code_server_port: Port = Field(4000, description="Port of `fx-pipeline code-server`.")
    fx_dagster_url: PublicAddress | None = Field(
        None,
        description="Public address of the Dagster UI, for links. Its path is the prefix behind a proxy. "
        "Unset: http://127.0.0.1:FX_DAGSTER_PORT.",
    )
    fx_dagster_password: SecretStr | None = Field(
        None,
        description="Password of the Dagster UI, with any user name. Unset: no login, and the UI listens "
        "only on this machine.",
    )
    fx_dagster_read_only: bool = Field(
        False,
        description="1: no one can launch, end or delete runs in the Dagster UI, or change anything else.",
    )
    fx_allowed_hosts: HostNames = Field(
        (),
        description="Host names, comma-separated, that the Dagster UI and `/-/mcp` accept besides localhost "
        "and those in FX_DAGSTER_URL and FX_API_URL.",
    )
    fx_sandbox_port: Port = Field(8002, description="Port of the sandbox.")
    datasette_secret: SecretStr | None = Field(
        None, description="Key that signs Datasette's cookies. Unset: a new one at each start."
    )
    sentry_dsn: SentryDsn | None = Field(
        None, description="Sentry DSN for unexpected API errors. Unset: they are only logged."
    )
    fx_asset_prefix: AssetPrefix = Field(
        "",
        description="Begins the name of each asset, job and schedule, for a Dagster instance that others use "
        "too: `fixer` makes `fixer/rates` and `fixer_daily_rates`.",
    )
    otel_exporter_otlp_endpoint: PublicAddress | None = Field(
        None,
        description="Address of an OpenTelemetry collector that accepts traces by OTLP over HTTP, such as "
        "http://127.0.0.1:4318. Needs the extra `otel`. Unset: no traces.",
    )
    dagster_home: Folder = Field(
        Path("data/dagster"),
        validate_default=True,
        description="Dagster's home folder, with runs, events and schedules.",
    )

    fx_history_days: HistoryDays = Field(
        90,
        description="Days after which a run that has ended is deleted from Dagster, with its events and "
        "output. At least 14. 0: runs are kept for good.",
    )
    fx_dagster_postgres_url: PostgresUrl | None = Field(
        None,
        description="PostgreSQL database for Dagster's runs, events and schedules: "
        "`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`. Unset: files in DAGSTER_HOME.",
    )
    fx_api_url: PublicAddress | None = Field(
        None,
        description="Public address of the API, for links. Its path is the prefix behind a proxy. Unset: "
        "http://127.0.0.1:FX_API_PORT.",
    )

    @model_validator(mode="before")
    @classmethod
    def _strip(cls, values: dict[str, object]) -> dict[str, object]:
        """Remove white space and quotation marks around each value, and drop empty values.

        `docker run --env-file` keeps quotes that other readers of such a file remove.
        """
        texts = {name: bare(value) if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in texts.items() if value != ""}

    @field_validator("*", mode="before")
    @classmethod
    def _has_no_stray_quote(cls, value: object) -> object:
        # It runs before the checks of the types, so it sees the text.
        if isinstance(value, str):
            check_quotes(value)
        return value

    @property
    def tokens_database(self) -> Path:
        """The file of API tokens, next to the database."""
        return self.fx_database.with_name("tokens.db")

    @property
    def code_server(self) -> tuple[str, int] | None:
        """The host and the port in FX_CODE_SERVER."""
        if self.fx_code_server is None:
            return None
        host, _, port = self.fx_code_server.rpartition(":")
        return host, int(port)

    @property
    def digest_time(self) -> dt.time | None:
        """The time of day (UTC) of the digest; None if there is none."""
        return None if self.fx_digest == "off" else dt.time.fromisoformat(self.fx_digest)

    @property
    def demo(self) -> bool:
        """Whether the sandbox replaces Fixer, because neither a key nor an address is set."""
        return self.fixer_access_key is None and "fixer_base_url" not in self.model_fields_set

    @property
    def daily_calls(self) -> int:
        """Calls of one daily run: one for each day that it fetches, or one for all as a series."""
        return 1 if self.fixer_timeseries else self.fx_revision_days + 1

    @property
    def provider_url(self) -> str:
        """The base URL of Fixer, or of the sandbox on this machine."""
        return f"http://127.0.0.1:{self.fx_sandbox_port}" if self.demo else self.fixer_base_url

    @property
    def known_provider(self) -> Literal["sandbox", "fixer"] | None:
        """The provider of the rates, or None if the address does not show it."""
        if self.demo:
            return "sandbox"
        return "fixer" if urlsplit(self.fixer_base_url).hostname in FIXER_HOSTS else None

    @property
    def api_url(self) -> str:
        """The address of the API for links."""
        return self.fx_api_url or f"http://127.0.0.1:{self.fx_api_port}"

    @property
    def api_prefix(self) -> str:
        """The path before all paths of the API behind a proxy, such as /fx. Usually empty."""
        return prefix_of(self.fx_api_url)

    @property
    def dagster_prefix(self) -> str:
        """The path before all paths of the Dagster UI behind a proxy, such as /dagster. Usually empty."""
        return prefix_of(self.fx_dagster_url)

    @property
    def dagster_url(self) -> str:
        """The address of the Dagster UI, without a slash at its end."""
        return self.fx_dagster_url or f"http://127.0.0.1:{self.fx_dagster_port}"

    def require_key(self) -> None:
        """Raise SettingsError if Fixer is the provider and no key is set."""
        if self.fixer_access_key is None and not self.demo:
            raise SettingsError(
                "FIXER_ACCESS_KEY is not set: set it to the key of your Fixer account in .env."
            )

    @property
    def provider_key(self) -> SecretStr:
        """The key to send; the sandbox accepts any. Raise SettingsError if Fixer's is not set."""
        self.require_key()
        return self.fixer_access_key or SecretStr("sandbox")


def load_settings() -> Settings:
    """Read the settings from the environment and ``.env``.

    Raise SettingsError for the first value that cannot be used, or if ``.env`` cannot be read. The message
    does not repeat the value, which may be a secret. Raise it also if FX_REQUIRE_SOUND_SQLITE refuses the
    SQLite of this process.
    """
    settings, invalid = read_settings()
    if settings is None:
        raise SettingsError(invalid[0])
    if settings.fx_require_sound_sqlite and (reason := unsound()):
        raise SettingsError(f"{reason} FX_REQUIRE_SOUND_SQLITE=1 refuses it.")
    return settings


def read_settings() -> tuple[Settings | None, list[str]]:
    """Return the settings, or None and a line for each value that cannot be used, without the value."""
    try:
        return Settings(), []
    except ValidationError as error:
        return None, [
            f"{str(one['loc'][0]).upper()} cannot be used: {one['msg'].removeprefix('Value error, ')}."
            for one in error.errors(include_input=False, include_url=False)
        ]
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        return None, [f"{Path('.env').absolute()} cannot be read: {reason}."]
