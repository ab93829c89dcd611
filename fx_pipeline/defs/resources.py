"""What the assets work with: the provider and the database file. Their fields are what the UI may show.

The access key is no field. It is read from the settings when a client is made, so that it stands in no run's
configuration, log or event.
"""

from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import dagster as dg
from pydantic import PrivateAttr

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.settings import load_settings
from fx_pipeline.store.quota import Ledger
from fx_pipeline.store.store import RateStore

Event = TypeVar("Event")


class FixerResource(dg.ConfigurableResource[FixerClient]):
    """Fixer, or the sandbox in its place; the key comes from FIXER_ACCESS_KEY and is shown nowhere."""

    base_url: str
    base: str
    symbols: list[str]
    concurrency: int
    timeseries: bool = False
    _until_end: ExitStack = PrivateAttr(default_factory=ExitStack)

    def closed_at_end(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """The same events, closed at the latest when the run is over.

        Dagster leaves the generator of a cancelled run as it is, for nobody knows how long, and with it the
        threads that fetch.
        """
        return self._until_end.enter_context(closing(events))

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Dagster's hook for the end of a run, however it ends."""
        self._until_end.close()

    def known_provider(self) -> str | None:
        """Whose rates will come, where that is known before any has."""
        settings = load_settings()
        return settings.known_provider if self.base_url == settings.provider_url else None

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

    def ledger(self, run_id: str) -> Ledger:
        """The ledger of calls, for a run, to be closed after use. Raises SettingsError, StoreError."""
        settings = load_settings()
        return Ledger(
            Path(self.path),
            limit=settings.fixer_monthly_quota,
            daily_calls=settings.daily_calls,
            run_id=run_id,
        )
