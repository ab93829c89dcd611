"""Every environment variable: its name, type, default and description.

A value comes from the environment, from ``.env`` in the working directory, or from its default here, in this
order. The name of a variable is the field's name in capitals.
"""

import datetime as dt
import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from fx_pipeline.clock import today
from fx_pipeline.postgres import check_postgres_url
from fx_pipeline.replica_url import check_replica_url
from fx_pipeline.serving.hosts import is_host_name
from fx_pipeline.serving.prefix import is_prefix, prefix_of
from fx_pipeline.sqlite import unsound

_PACKAGED = Path(__file__).resolve().parent / "files"

PROJECT = _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parent.parent
"""The folder with ``datasette_config/``, ``workspace.yaml``, ``dagster.yaml`` and ``.env.example``: the
checkout, or in a wheel ``fx_pipeline/files/``, where ``hatch_build.py`` puts them."""

FIXER_HOSTS = ("data.fixer.io", "api.apilayer.com")
"""The hosts of Fixer itself."""

Port = Annotated[int, Field(ge=1, le=65535)]


def _absolute(path: Path) -> Path:
    """Return the absolute path, with `~` expanded. Raise ValueError if some part cannot use the path."""
    if str(path).startswith("$"):
        raise ValueError("it begins with a variable, which is not expanded here: write the full path")
    try:
        absolute = path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("it begins with ~, but there is no such home folder") from None
    if not str(absolute).isprintable():
        raise ValueError("the path contains a character that cannot be printed")
    if "?" in str(absolute) or "%" in str(absolute):
        raise ValueError(f"Dagster cannot open a path with a ? or %, such as {absolute}")
    return absolute


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


_QUOTES = ('"', "'")


def _bare(value: str) -> str:
    """Return the value without surrounding white space and one pair of quotation marks."""
    value = value.strip()
    quote = value[:1]
    if quote in _QUOTES and len(value) > 1 and value.endswith(quote) and quote not in value[1:-1]:
        return value[1:-1].strip()
    return value


class SettingsError(Exception):
    """An unusable value of a setting. The message is one line that names the setting."""


class Settings(BaseSettings):
    """The settings, read by `load_settings`. ``.env.example`` and ``docs/`` show the descriptions."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True, frozen=True
    )

    fixer_access_key: SecretStr | None = Field(
        None, description="Your Fixer key. Without one, `fx-pipeline up` runs the sandbox instead of Fixer."
    )
    fixer_base_url: str = Field(
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
    fx_symbols: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Currencies to fetch besides FX_BASE, comma-separated. Unset: all of Fixer's."
    )
    fx_start_date: dt.date = Field(
        dt.date(1999, 1, 1), description="The first day that can be fetched, which is the first partition."
    )
    fx_revision_days: int = Field(
        2, ge=0, le=365, description="Past days that the daily run refetches, because Fixer revises them."
    )
    fx_database: AbsolutePath = Field(
        Path("data/fx.db"), validate_default=True, description="The database file."
    )
    fx_replica_url: SecretStr | None = Field(
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
        2, ge=1, description="Maximum age in days of the last good restore drill before that is alerted."
    )
    fx_catch_up_days: int = Field(
        31, ge=0, le=3660, description="Past days among which the daily run fetches those that are missing."
    )
    fx_revision_alert: float = Field(
        0.01, gt=0, description="Relative change of a stored value at which a check reports a revision."
    )
    fx_require_token: bool = Field(False, description="1: the API requires a token even if none exists.")
    fx_cache_mb: int = Field(
        32, ge=0, description="Size of the response cache of each API worker. 0: no cache."
    )
    fx_alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Where alerts are sent: Apprise URLs, separated by spaces."
    )
    fx_heartbeat_url: SecretStr | None = Field(
        None,
        description="Address at healthchecks.io, or at a service with the same convention, that is called "
        "when the daily run starts, succeeds or fails, and after each restore drill. Unset: none.",
    )
    fx_api_port: Port = Field(8001, description="Port of the API.")
    fx_metrics_port: Port | None = Field(
        None,
        description="Port of the API's metrics for Prometheus, at `/-/metrics`, on this machine only and "
        "without a token. Unset: only token holders get them, at the port of the API.",
    )
    fx_dagster_port: Port = Field(3000, description="Port of the Dagster UI.")
    fx_code_server: str | None = Field(
        None,
        description="Where `webserver` and `daemon` reach the code server of another machine or container, "
        "such as `code:4000`. Unset: each runs one of its own.",
    )
    fx_code_server_port: Port = Field(4000, description="Port of `fx-pipeline code-server`.")
    fx_dagster_url: str | None = Field(
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
    fx_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Host names, comma-separated, that the Dagster UI and `/-/mcp` accept besides localhost "
        "and those in FX_DAGSTER_URL and FX_API_URL.",
    )
    fx_sandbox_port: Port = Field(8002, description="Port of the sandbox.")
    datasette_secret: SecretStr | None = Field(
        None, description="Key that signs Datasette's cookies. Unset: a new one at each start."
    )
    sentry_dsn: SecretStr | None = Field(
        None, description="Sentry DSN for unexpected API errors. Unset: they are only logged."
    )
    fx_asset_prefix: str = Field(
        "",
        description="Begins the name of each asset, job, schedule and sensor, for a Dagster instance that "
        "others use too: `fixer` makes `fixer/rates` and `fixer_alerts`.",
    )
    dagster_home: AbsolutePath = Field(
        Path("data/dagster"),
        validate_default=True,
        description="Dagster's home folder, with runs, events and schedules.",
    )

    fx_history_days: int = Field(
        90,
        ge=0,
        description="Days after which a run that has ended is deleted from Dagster, with its events and "
        "output. At least 14. 0: runs are kept for good.",
    )
    fx_dagster_postgres_url: SecretStr | None = Field(
        None,
        description="PostgreSQL database for Dagster's runs, events and schedules: "
        "`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`. Unset: files in DAGSTER_HOME.",
    )
    fx_api_url: str | None = Field(
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
        bare = {name: _bare(value) if isinstance(value, str) else value for name, value in values.items()}
        return {name: value for name, value in bare.items() if value != ""}

    @field_validator("fixer_base_url", "fx_api_url", "fx_dagster_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        HttpUrl(value)
        try:
            parts = urlsplit(value)
            host = parts.hostname
        except ValueError:  # its text has a part of the address
            host = None
        if not host:
            raise ValueError("it is not an address such as https://example.com")
        if "@" in parts.netloc:  # the address is shown, also in logs
            raise ValueError("it must have no user and no password")
        return value.rstrip("/")

    @field_validator("fixer_base_url")
    @classmethod
    def _has_no_query(cls, value: str) -> str:
        if "?" in value or "#" in value:
            raise ValueError("it must have no ? and no #: the key belongs only in FIXER_ACCESS_KEY")
        return value

    @field_validator("fixer_access_key")
    @classmethod
    def _is_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and re.fullmatch(r"[!-~]+", value.get_secret_value()) is None:
            raise ValueError("it contains white space or a non-ASCII character: copy the key again")
        return value

    @field_validator("sentry_dsn")
    @classmethod
    def _is_dsn(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            from sentry_sdk.utils import Dsn  # noqa: PLC0415  # only if it is set: it takes time

            try:
                Dsn(value.get_secret_value())
            except ValueError:
                raise ValueError(
                    "it must have the form https://KEY@HOST/PROJECT, as Sentry shows it"
                ) from None
        return value

    @field_validator("fx_api_url", "fx_dagster_url")
    @classmethod
    def _has_simple_path(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.query or parts.fragment or not is_prefix(prefix_of(value)):
            raise ValueError(
                "after the host it may have only a path of letters, digits and - . _ ~, such as "
                "https://example.com/fx"
            )
        return value

    @field_validator("fx_dagster_postgres_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_postgres_url(value.get_secret_value())
        return value

    @field_validator("fx_replica_url")
    @classmethod
    def _is_replica(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(check_replica_url(value.get_secret_value()))

    @field_validator("fx_symbols", mode="before")
    @classmethod
    def _split_codes(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("fx_symbols")
    @classmethod
    def _are_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for code in value:
            if not (len(code) == 3 and code.isascii() and code.isalpha()):
                raise ValueError(f"{code!r} is not a currency code of three letters")
            if code not in (code.upper(), code.lower()):  # GBp is the penny, not the pound
                raise ValueError(
                    f"{code!r} mixes upper and lower case: write {code.upper()!r} if you mean that"
                )
        return tuple(map(str.upper, value))

    @field_validator("fx_allowed_hosts", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value

    @field_validator("fx_allowed_hosts")
    @classmethod
    def _are_host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not is_host_name(name):
                raise ValueError(f"{name!r} is not a host name: give no scheme, port, path or wildcard")
        return value

    @field_validator("fx_code_server")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            host, _, port = value.rpartition(":")
            is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
            if not (host and is_port) or {"/", "@"} & set(value):
                raise ValueError("it is not a host and a port, such as code:4000")
        return value

    @field_validator("fx_heartbeat_url")
    @classmethod
    def _is_web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            try:
                parts = urlsplit(value.get_secret_value())
                usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
            except ValueError:  # its text has a part of the address
                usable = False
            if not usable or not value.get_secret_value().isascii() or parts.fragment:
                raise ValueError("it is not an address such as https://hc-ping.com/UUID")
        return value

    @field_validator("fx_history_days")
    @classmethod
    def _is_long_enough(cls, value: int) -> int:
        if 0 < value < 14:  # alerts compare findings with those of the last seven days
            raise ValueError("it is less than 14: alerts need the runs of the last days. 0 keeps all runs")
        return value

    @field_validator("fx_asset_prefix")
    @classmethod
    def _is_prefix(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*", value):
            raise ValueError(
                "it may have letters, digits and _, and a / between its parts, such as finance/fixer"
            )
        return value

    @field_validator("fx_alert_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("fx_database", mode="before")
    @classmethod
    def _names_a_file(cls, value: object) -> object:
        if isinstance(value, str) and value.endswith("/"):
            raise ValueError(f"{value} is a folder: add a file name, such as fx.db")
        return value

    @field_validator("fx_database")
    @classmethod
    def _is_not_of_tokens(cls, value: Path) -> Path:
        if value.name in ("tokens.db", "token-uses.db"):
            raise ValueError(f"{value.name} is reserved for the API tokens in the same folder")
        if os.path.isdir(value):  # noqa: PTH112  # Path.is_dir raises if a folder cannot be read
            raise ValueError(f"{value} is a folder: add a file name, such as fx.db")
        return value

    @field_validator("dagster_home")
    @classmethod
    def _is_a_folder(cls, value: Path) -> Path:
        if os.path.isfile(value):  # noqa: PTH113  # as above
            raise ValueError(f"{value} is a file: name a folder")
        return value

    @field_validator("fx_start_date")
    @classmethod
    def _is_past(cls, value: dt.date) -> dt.date:
        if not dt.date(1999, 1, 1) <= value < today():
            raise ValueError("must be between 1999-01-01, when Fixer's history begins, and yesterday")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _has_no_stray_quote(cls, value: object) -> object:
        # Before validators run last to first, so this one sees the text.
        if isinstance(value, str) and (value[:1] in _QUOTES or value[-1:] in _QUOTES):
            raise ValueError("it begins or ends with a quotation mark: remove it, or quote the whole value")
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

    Raise SettingsError for the first value that cannot be used. The message does not repeat the value, which
    may be a secret. Raise it also if FX_REQUIRE_SOUND_SQLITE refuses the SQLite of this process.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper()
        raise SettingsError(f"{name} cannot be used: {first['msg'].removeprefix('Value error, ')}.") from None
    if settings.fx_require_sound_sqlite and (reason := unsound()):
        raise SettingsError(f"{reason} FX_REQUIRE_SOUND_SQLITE=1 refuses it.")
    return settings
