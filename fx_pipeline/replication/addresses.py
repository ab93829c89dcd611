"""Where the replica of each database file is: the addresses below FX_REPLICA_URL."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from fx_pipeline.replica_url import check_replica_url, place_of, without_secrets
from fx_pipeline.settings import Settings, SettingsError

_OPTIONS = {"sftp": ("key-path", "host-key"), "abs": ("endpoint",)}
"""Options that the query of an address may give, and that Litestream reads only from its configuration."""


@dataclass(frozen=True, slots=True)
class ReplicaAddress:
    """A place with the replicas of database files, each below it under the name of the file."""

    url: SecretStr

    @classmethod
    def parse(cls, url: str) -> "ReplicaAddress":
        """Return the address that a text names. Raise SettingsError if it cannot be used."""
        try:
            return cls(SecretStr(check_replica_url(url)))
        except ValueError as error:
            raise SettingsError(f"The address of the replica cannot be used: {error}.") from None

    @property
    def scheme(self) -> str:
        """The kind of store, such as s3."""
        return urlsplit(self.url.get_secret_value()).scheme

    @property
    def folder(self) -> Path | None:
        """The folder of a file:// address; otherwise None."""
        url = self.url.get_secret_value()
        return Path(url.removeprefix("file://")) if url.startswith("file://") else None

    def of(self, name: str) -> "ReplicaAddress":
        """Return the address of the file with this name, or of another thing below this address."""
        url, question, query = self.url.get_secret_value().partition("?")
        return ReplicaAddress(SecretStr(f"{url.rstrip('/')}/{name}{question}{query}"))

    def redacted(self, text: str) -> str:
        """Return a text without the secrets of this address."""
        return without_secrets(text, self.url.get_secret_value())

    def options(self, variable: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return Litestream's `replica:` for this address, and the environment variables that it refers to.

        Litestream expands variables in its configuration, so a password is only in the environment.
        """
        if self.folder is not None:
            return {"type": "file", "path": str(self.folder)}, {}
        url = self.url.get_secret_value()
        extra = {}
        if known := _OPTIONS.get(self.scheme):
            url, _, query = url.partition("?")
            extra = {name: value for name, value in parse_qsl(query) if name in known}
        return {"url": f"${{{variable}}}", **extra}, {variable: url}

    def __str__(self) -> str:
        """Return the address without user, password and query."""
        return place_of(self.url.get_secret_value())


def replica_address(settings: Settings) -> ReplicaAddress | None:
    """Return the address in FX_REPLICA_URL, or None if it is not set."""
    return ReplicaAddress(settings.fx_replica_url) if settings.fx_replica_url else None


def require_replica(settings: Settings) -> ReplicaAddress:
    """Return the address in FX_REPLICA_URL. Raise SettingsError if it is not set."""
    address = replica_address(settings)
    if address is None:
        raise SettingsError(
            "FX_REPLICA_URL is not set: set it to the place of the replica, such as s3://BUCKET/PATH."
        )
    return address
