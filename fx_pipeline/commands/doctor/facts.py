"""What the checks of `doctor` share: the settings, the options, and the state of the database."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fx_pipeline.commands.doctor.findings import Finding
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError, explained
from fx_pipeline.store.store import RateStore


@dataclass(frozen=True, slots=True)
class Call:
    """The one call to the provider that `--call` makes."""

    failure: Finding | None = None
    clock_ahead: float | None = None
    """Seconds by which this machine's clock is ahead of the provider's; None if the response had no date."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The settings, the options of the command, and what one check finds for others."""

    settings: Settings
    with_call: bool = False
    with_alert: bool = False
    call: "Future[Call | None]" = field(default_factory=Future)
    """The result of the call, once the check `key` has made it; None if it made none."""
    lost: "Future[str | None]" = field(default_factory=Future)
    """What is missing from the log of the database, once the check `database` has looked; None: nothing."""

    def require_database(self) -> None:
        """Raise NoDatabase if there is none, StoreError if it must not be opened.

        SQLite would create a missing log again, and so hide that commits are lost.
        """
        with explained(self.settings.fx_database):
            if not self.settings.fx_database.exists():
                raise NoDatabase
        if lost := self.lost.result():
            raise StoreError(lost)

    def stored(self) -> RateStore:
        """Open the database for reading. Raise NoDatabase, or StoreError if it cannot be used."""
        self.require_database()
        return RateStore(self.settings.fx_database, writing=False)


class NoDatabase(Exception):
    """There is no database yet."""


@contextmanager
def without_traces(*databases: Path) -> Iterator[None]:
    """Let SQLite remove the log and its index if the block creates them.

    A connection that only reads creates them, but does not remove them. One that may write does.
    """
    closed = [path for path in databases if not _log_of(path).exists()]
    yield
    for path in closed:
        if _log_of(path).exists():
            with (
                suppress(sqlite3.Error),
                closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as connection,
            ):
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")
