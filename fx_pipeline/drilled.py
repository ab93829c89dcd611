"""The last restore drill: `replication.drill` writes its result next to the database, others read it."""

import datetime as dt
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fx_pipeline.small_files import read_document, replace_document

Result = Literal["good", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillState:
    """The result of the last drill. Instants are UTC, in ISO 8601."""

    at: str
    result: Result
    source: str | None = None
    """What was restored: the replica or a backup, without secrets; None if there is neither."""
    seconds: float | None = None
    """How long the restore took, without the comparisons."""
    bytes: int | None = None
    """The size of the restored files."""
    newest: str | None = None
    """When the newest response in the restored database was stored."""
    finding: str | None = None
    """What was wrong, in one line."""
    good_at: str | None = None
    """The last good drill; None if none was good."""
    since: str | None = None
    """The first drill that had something to restore."""

    def age(self, now: dt.datetime) -> dt.timedelta | None:
        """Return the time since the last good drill, or since the first one if none was good."""
        start = self.good_at or self.since
        return now - dt.datetime.fromisoformat(start) if start else None

    def problem(self, now: dt.datetime, max_age_days: int) -> str | None:
        """Return what needs the operator, in one line; None if nothing does."""
        if self.result == "failed":
            return f"The restore drill of {self.at} failed: {self.finding}"
        return self.too_old(now, max_age_days)

    def too_old(self, now: dt.datetime, max_age_days: int) -> str | None:
        """Return that there was no good drill for too long, and what to do; None if there was."""
        age = self.age(now)
        if self.result == "skipped" or age is None or age <= dt.timedelta(days=max_age_days):
            return None
        last = f"The last good restore drill was at {self.good_at}" if self.good_at else "No drill was good"
        return (
            f"{last}, so nothing proves that the database can be restored. FX_MAX_DRILL_AGE_DAYS allows "
            f"{max_age_days}. See the check `restorable` in Dagster, and whether nightly_database is on."
        )

    def document(self, now: dt.datetime) -> dict[str, Any]:
        """Return the last result, when it was, and the hours since the last good drill."""
        age = self.age(now) if self.good_at else None
        return {
            "result": self.result,
            "at": self.at,
            "last_good": self.good_at,
            "age_hours": None if age is None else round(max(0.0, age.total_seconds()) / 3600, 1),
        }


def read_drill(database: Path) -> DrillState | None:
    """Return the last drill of a database; None if there was none."""
    try:
        return DrillState(**read_document(_file(database)))
    except (OSError, TypeError):
        return None


def write_drill(database: Path, state: DrillState) -> None:
    """Replace the result of the last drill. Raise OSError."""
    replace_document(_file(database), asdict(state))


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}-drill.json")
