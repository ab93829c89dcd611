"""The resources of the assets: the provider and the database file, from the settings.

Neither has config fields, because a run can be launched with other values for them. A field for the
provider's address could send the access key to any host. A field for a path could create files anywhere.
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
    """Fixer, or the sandbox in its place. The key comes from FIXER_ACCESS_KEY and is never shown."""

    base_url: str
    base: str
    symbols: Sequence[str]
    concurrency: int
    timeseries: bool = False
    _until_end: ExitStack = field(default_factory=ExitStack, init=False, repr=False, compare=False)

    def closed_at_end(self, events: Generator[Event, None, None]) -> Generator[Event, None, None]:
        """Return the same events, closed when the run ends at the latest.

        Dagster does not close the generator of a cancelled run, so its threads would continue to fetch.
        """
        return self._until_end.enter_context(closing(events))

    def close(self) -> None:
        """Close the generators that are still open."""
        self._until_end.close()

    def known_provider(self) -> str | None:
        """Return the provider of the rates if it is known before the first response."""
        settings = load_settings()
        return settings.known_provider if self.base_url == settings.provider_url else None

    def client(self) -> FixerClient:
        """Return a client, to be closed after use. Raise SettingsError for an invalid setting."""
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
    """The SQLite file with the rates and their revisions."""

    path: str

    def store(self) -> RateStore:
        """Return the store, open for writing, with the current schema. Raise StoreError."""
        return RateStore(Path(self.path))

    def ledger(self, run_id: str) -> Ledger:
        """Return the ledger of calls for a run, to be closed after use. Raise SettingsError, StoreError."""
        settings = load_settings()
        return Ledger(
            Path(self.path),
            limit=settings.fixer_monthly_quota,
            daily_calls=settings.daily_calls,
            run_id=run_id,
        )

    def close(self) -> None:
        """Do nothing: callers close their stores and ledgers."""


Resource = FixerResource | DatabaseResource


def without_config(resource: Resource) -> dg.ResourceDefinition:
    """Return `resource` as a Dagster resource that no run config can change.

    Config is accepted and ignored, because stored runs of earlier versions have some and can be re-executed.
    """

    def use(context: dg.InitResourceContext) -> Iterator[Resource]:
        if context.resource_config and context.log:
            context.log.warning(
                f"The run config of {type(resource).__name__} is ignored: only the settings configure it."
            )
        try:
            yield resource
        finally:
            resource.close()

    return dg.ResourceDefinition(use, description=f"{resource.__doc__} Only the settings configure it.")
