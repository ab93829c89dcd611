"""Which replica a reader's database follows, and how current it is: a file in a folder next to the database.

The folder marks the database as a reader's. Only `fx-pipeline replica` writes to such a database.
"""

import datetime as dt
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from fx_pipeline.clock import instant_text, parse_instant
from fx_pipeline.small_files import read_document, replace_document

_POSITION = "position.json"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader is."""

    replica: str
    """The address of the replica, without secrets."""
    generation: int = 0
    """The number of the writer whose transactions are counted."""
    transaction: int = 0
    """The newest transaction in the database, as Litestream counts them; 0 if it has none of this writer."""
    current_at: dt.datetime | None = None
    """The last instant at which the database had everything that the replica had."""

    def lag(self, now: dt.datetime) -> float | None:
        """Return the seconds since the database was current; None if it never was."""
        return None if self.current_at is None else max(0.0, (now - self.current_at).total_seconds())

    def is_ready(self, now: dt.datetime, limit: float) -> bool:
        """Return whether the database lags at most `limit` seconds."""
        lag = self.lag(now)
        return lag is not None and lag <= limit

    def document(self, now: dt.datetime, limit: float) -> dict[str, int | float | None]:
        """Return the position as health checks and `status` show it. It does not name the replica."""
        lag = self.lag(now)
        return {
            "generation": self.generation,
            "transaction": self.transaction,
            "lag_seconds": None if lag is None else round(lag, 1),
            "max_lag_seconds": limit,
        }


def folder_of(database: Path) -> Path:
    """Return the folder of a reader's files, next to its database."""
    return database.with_name(f"{database.name}-reader")


def lock_of(database: Path) -> FileLock:
    """Return the lock that the only `fx-pipeline replica` of a reader holds."""
    return FileLock(folder_of(database) / "lock", blocking=False)


def is_reader(database: Path) -> bool:
    """Return whether the database follows a replica."""
    return os.path.isdir(folder_of(database))  # noqa: PTH112  # Path.is_dir raises if it may not look


def read_position(database: Path) -> Position | None:
    """Return the position of a reader's database; None if the database is not one of a reader."""
    if not is_reader(database):
        return None
    try:
        known = read_document(folder_of(database) / _POSITION)
        current = known["current_at"] and parse_instant(known["current_at"])
        return Position(str(known["replica"]), int(known["generation"]), int(known["transaction"]), current)
    except (OSError, ValueError, LookupError, TypeError):
        return Position("")  # not written yet, or damaged: as if nothing was ever applied


def write_position(database: Path, position: Position) -> None:
    """Write the position. Raise OSError."""
    current = position.current_at and instant_text(position.current_at)
    replace_document(folder_of(database) / _POSITION, {**asdict(position), "current_at": current})


def reader_refusal(database: Path) -> str | None:
    """Return why this machine must not write the database itself; None if it is not one of a reader."""
    if not is_reader(database):
        return None
    return (
        f"{database} follows a replica: only `fx-pipeline replica` writes to it. Run this on the writer's "
        "machine. If that is lost, write here with `fx-pipeline restore --take-over --force`."
    )
