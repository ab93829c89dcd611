"""What the assets work with: the provider and the database file, as the settings have them.

Neither has a config field, because a run can be launched with other values for those. With a field for the
provider's address it could send the access key to any host; with one for a path, create files anywhere.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import dagster as dg

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.settings import load_settings
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore

Event = TypeVar("Event")


@dataclass(frozen=True, kw_only=True)
class FixerResource:
    """Fixer, or the sandbox in its place; the key comes from FIXER_ACCESS_KEY and is shown nowhere."""

    base_url: str
    base: str
    symbols: Sequence[str]
    concurrency: int
    timeseries: bool = False
    _until_end: ExitStack = field(default_factory=ExitStack, init=False, repr=False, compare=False)

    def closed_at_end(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Return the same events, closed at the latest when the run is over.

        Dagster does not close the generator of a cancelled run, and so leaves the threads that fetch running.
        """
        return self._until_end.enter_context(closing(events))

    def close(self) -> None:
        """End what is still running."""
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


@dataclass(frozen=True, kw_only=True)
class DatabaseResource:
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

    def close(self) -> None:
        """Do nothing: each store and ledger is closed by its user."""


Given = FixerResource | DatabaseResource


def without_config(given: Given) -> dg.ResourceDefinition:
    """Return `given` as a Dagster resource that no run config can change.

    Config is accepted and ignored: runs of earlier versions, which can be executed again, have some.
    """

    def use(context: dg.InitResourceContext) -> Iterator[Given]:
        if context.resource_config and context.log:
            context.log.warning(
                f"The run config of {type(given).__name__} is ignored: it comes from the settings."
            )
        try:
            yield given
        finally:
            given.close()

    return dg.ResourceDefinition(use, description=f"{given.__doc__} Set by the settings alone.")
