"""Dagster's state in numbers: `defs.numbers` writes it next to the database, the API's metrics show it.

The API has no Dagster, and may run on another machine than its home.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from fx_pipeline.small_files import read_document, replace_document

Outcome = Literal["success", "failure", "canceled"]
Result = Literal["passed", "warn", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The newest run of one job that ended in one way."""

    job: str
    """The name without FX_ASSET_PREFIX and `_job`: `rates`."""
    outcome: Outcome
    ended: float
    """Unix seconds."""
    seconds: float | None
    """How long it took; None if it never started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DagsterNumbers:
    """What Dagster had stored about our assets at one instant. Instants are Unix seconds."""

    at: float
    heartbeats: Mapping[str, float]
    """The last heartbeat of each thread of the daemon, such as `scheduler`."""
    queued: int
    """Runs in the queue."""
    in_progress: int
    """Runs that were launched and have not ended."""
    failed: int
    """Runs that failed in the last 24 hours."""
    backfills: int
    """Backfills that have not ended."""
    last_runs: Sequence[LastRun]
    checks: Mapping[str, Result]
    """The last result of each check by name."""


_numbers = TypeAdapter(DagsterNumbers)


def read_numbers(database: Path) -> DagsterNumbers | None:
    """Return the numbers next to a database; None if there are none, or none that can be read."""
    try:
        return _numbers.validate_python(read_document(_file(database)))
    except (OSError, ValidationError):
        return None


def replace_numbers(database: Path, numbers: DagsterNumbers) -> None:
    """Replace the numbers in one step. Raise OSError."""
    replace_document(_file(database), asdict(numbers))


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}-dagster.json")
