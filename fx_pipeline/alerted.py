"""The state of the alerts: `fx-pipeline watch` writes it next to the database, others read it."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from fx_pipeline.small_files import replace_text

SILENT = dt.timedelta(minutes=5)
"""How old the last look of the watcher may be. It looks every 30 seconds."""


@dataclass(slots=True)
class Tracked:
    """A fault that was seen. Instants are UTC."""

    id: str
    kind: str
    subject: str
    parts: tuple[str, ...]
    text: str
    link: str | None
    first_seen: dt.datetime
    since: dt.datetime
    """Since when it is seen without a break, and without an open alert that explains it."""
    event: str = ""
    """What shows it, such as a run."""
    explained: str = ""
    """The event that another fault has explained."""
    looks: int = 1
    """How often it was seen since then."""
    gone_since: dt.datetime | None = None
    alerted_at: dt.datetime | None = None
    """When its alert was sent, or became part of the next digest; None if it is too new, or explained."""
    in_digest: bool = False
    """Whether its alert is only in digests."""


@dataclass(slots=True)
class Letter:
    """A message to send: an alert, its end, or a digest."""

    title: str
    text: str
    type: Literal["failure", "success", "info"]
    written_at: dt.datetime
    tracked: str | None = None
    """The id of the fault that it reports."""
    failures: tuple[str, ...] = ()
    """Why addresses did not accept it at the last attempt."""


@dataclass(slots=True)
class AlertState:
    """What the watcher knows. Instants are UTC."""

    looked_at: dt.datetime
    sending: bool
    """Whether there is an address to send alerts to."""
    faults: list[Tracked] = field(default_factory=list)
    outbox: list[Letter] = field(default_factory=list)
    """Messages that no address has accepted yet, oldest first."""
    accepted: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """For each alerted fault that is not over: which addresses, by their positions, have its alert."""
    undelivered: list[Letter] = field(default_factory=list)
    """Messages that not every address accepted, or none within a day."""
    known: dict[str, dict[str, dt.datetime]] = field(default_factory=dict)
    """The parts of faults that were alerted, and when each was last seen."""
    ended: list[tuple[str, dt.datetime, dt.datetime]] = field(default_factory=list)
    """What was in no message but the next digest, and is over: the text, its start and its end."""
    digest_at: dt.datetime | None = None
    """When the last digest was written; at first, when the watcher began."""

    @property
    def alerts(self) -> list[Tracked]:
        """The alerts that are open."""
        return [fault for fault in self.faults if fault.alerted_at is not None]

    def is_silent(self, now: dt.datetime) -> bool:
        """Return whether the last look is so old that the watcher cannot be running."""
        return abs(now - self.looked_at) > SILENT


_adapter = TypeAdapter(AlertState)


def read_alerts(database: Path) -> AlertState | None:
    """Return the state of the alerts of a database; None if there is none or it is damaged."""
    try:
        return _adapter.validate_json(_file(database).read_bytes())
    except (OSError, ValidationError):
        return None


def write_alerts(database: Path, state: AlertState) -> None:
    """Replace the state in one step. Raise OSError."""
    replace_text(_file(database), _adapter.dump_json(state).decode())


def watcher_problem(state: AlertState | None, now: dt.datetime, *, wanted: bool = False) -> str | None:
    """Return that alerts should be sent but the watcher does not run, and what to do; None if it does.

    `wanted`: an address to send them to is set.
    """
    if state is not None and not state.is_silent(now):
        return None
    if state is None and wanted:
        last = "has never looked at this database"
    elif state is not None and (wanted or state.sending):
        last = f"last looked at {state.looked_at.isoformat(timespec='seconds')}"
    else:
        return None
    return f"No alert is sent: the watcher {last}. Start `fx-pipeline up` or `fx-pipeline watch`."


def alerts_summary(state: AlertState | None) -> dict[str, Any] | None:
    """Return the part of `status` about alerts; None if the watcher has never run."""
    if state is None:
        return None
    letters = [*state.undelivered, *(letter for letter in state.outbox if letter.failures)]
    return {
        "looked_at": state.looked_at.isoformat(timespec="seconds"),
        "open": [
            {
                "kind": fault.kind,
                "subject": fault.subject,
                "since": fault.first_seen.isoformat(timespec="seconds"),
                "text": fault.text,
            }
            for fault in state.alerts
        ],
        "undelivered": [{"title": letter.title, "failures": list(letter.failures)} for letter in letters],
    }


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}-alerts.json")
