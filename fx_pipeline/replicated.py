"""The state of replication: `fx-pipeline replicate` writes it next to the database, others read it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fx_pipeline.clock import utc_now
from fx_pipeline.small_files import read_document, replace_document

SILENT = dt.timedelta(seconds=45)
"""How old the state may be. It is written every 5 seconds."""


@dataclass(frozen=True, slots=True)
class ReplicationState:
    """What `fx-pipeline replicate` last reported. Instants are UTC, in ISO 8601."""

    at: str
    confirmed_at: str | None
    """Everything committed until then is in the replica; None if that is unknown."""
    positions: Mapping[str, int] = field(default_factory=dict)
    """The newest transaction in the replica of each file, as Litestream counts them."""
    fault: str | None = None
    """What is wrong: one line, with what to do."""

    @property
    def is_silent(self) -> bool:
        """Whether it was not written for so long that `fx-pipeline replicate` cannot be running."""
        return utc_now() - dt.datetime.fromisoformat(self.at) > SILENT

    @property
    def problem(self) -> str | None:
        """What needs the operator, in one line."""
        if self.is_silent:
            return (
                f"Replication is not running: it last reported at {self.at}. Start `fx-pipeline up` or "
                "`fx-pipeline replicate`."
            )
        return self.fault

    @property
    def status(self) -> str:
        """One word: ok, failing, or stopped."""
        return "stopped" if self.is_silent else "failing" if self.fault else "ok"


def folder_of(database: Path) -> Path:
    """Return the folder next to the database with the files of `fx-pipeline replicate`."""
    return database.with_name(f"{database.name}-replication")


def read_state(database: Path) -> ReplicationState | None:
    """Return the state of the replication of a database, or None if there is none."""
    try:
        return ReplicationState(**read_document(_file(database)))
    except (OSError, TypeError):
        return None


def write_state(database: Path, state: ReplicationState) -> None:
    """Replace the state in one step. Raise OSError."""
    replace_document(_file(database), asdict(state))


def remove_state(database: Path) -> None:
    """Remove the state, because replication was stopped in order."""
    _file(database).unlink(missing_ok=True)


def replication_summary(database: Path, *, wanted: bool) -> dict[str, str | None] | None:
    """Return the part of `status` about replication: its status, until when it is complete, its problem.

    Return None if there is no replication and none is wanted.
    """
    state = read_state(database)
    if state is not None:
        return {"status": state.status, "confirmed_at": state.confirmed_at, "problem": state.problem}
    if not wanted:
        return None
    problem = "FX_REPLICA_URL is set, but replication is not running. Start `fx-pipeline replicate`."
    return {"status": "stopped", "confirmed_at": None, "problem": problem}


def _file(database: Path) -> Path:
    return folder_of(database) / "state.json"
