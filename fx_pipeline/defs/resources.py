"""What the assets work with: the provider and the database file. Their fields are what the UI may show.

The access key is no field. It is read from the settings when a client is made, so that it stands in no run's
configuration, log or event.
"""

from pathlib import Path

import dagster as dg

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.settings import load_settings
from fx_pipeline.store.store import RateStore


class FixerResource(dg.ConfigurableResource[FixerClient]):
    """Fixer, or the sandbox in its place; the key comes from FIXER_ACCESS_KEY and is shown nowhere."""

    base_url: str
    base: str
    symbols: list[str]
    concurrency: int

    def client(self) -> FixerClient:
        """A client to be closed after use. Raises SettingsError when a setting cannot be used."""
        settings = load_settings()
        return FixerClient(
            self.base_url,
            settings.provider_key,
            auth=settings.fixer_auth,
            base=self.base,
            symbols=tuple(self.symbols),
        )


class DatabaseResource(dg.ConfigurableResource[RateStore]):
    """The SQLite file that keeps the rates and their revisions."""

    path: str

    def store(self) -> RateStore:
        """The file, open to be written and up to date in its schema. Raises StoreError when it cannot be."""
        return RateStore(Path(self.path))
