"""`fx-pipeline watch`: looks at the instance every 30 seconds, and sends alerts and digests.

It is a process of its own: a sensor runs in Dagster's daemon, and would not report that the daemon is dead.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import dagster as dg

from fx_pipeline.alerted import AlertState, read_alerts, write_alerts
from fx_pipeline.alerting import conditions
from fx_pipeline.alerting.delivery import deliver, write, write_digest
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.messages import summary_of
from fx_pipeline.alerting.tracking import track
from fx_pipeline.api.tokens.file import TokenError
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.dagster_state import DagsterState, state_of
from fx_pipeline.commands.document import machine_of, status_of
from fx_pipeline.defs.numbers import write_dagster_numbers
from fx_pipeline.logs import Redactor, secrets_in
from fx_pipeline.processes.dagster_home import is_storage_error, open_instance, storage_of
from fx_pipeline.processes.leftovers import only_one
from fx_pipeline.processes.postgres_storage import first_line
from fx_pipeline.rates import counted
from fx_pipeline.replication.fencing import SupersededError
from fx_pipeline.settings import Settings, SettingsError
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.writer import refusal

LOOK = 30.0
"""Seconds between two looks."""

BETWEEN_NUMBERS = 55.0
"""Seconds between two records of Dagster's numbers for the metrics: every second look. Each takes as long
as all the rest of a look."""

FROM_DATABASE = (
    *("stale_rates", "days_missing", "content_frozen", "clock_wrong", "symbols_unknown", "quota_used"),
    "tokens_lost",
)
"""Kinds that cannot be judged if the database cannot be read."""

FROM_DAGSTER = (
    *("wrong_key", "quota_used", "provider_down", "provider_unreachable", "run_failed", "run_hung"),
    *("garbage_values", "content_frozen", "check_failed", "database_damaged", "days_missing"),
    *("daemon_dead", "schedule_stopped"),
)
"""Kinds that cannot be judged if Dagster's storage cannot be read."""


class Look(NamedTuple):
    """What the instance shows at an instant."""

    faults: Sequence[Fault]
    unjudged: Sequence[str] = ()
    """The kinds of faults that could not be looked at."""
    summary: Sequence[str] = ()
    """The lines of a digest about the night."""


class Watcher:
    """Watches one instance. `say` prints a line."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._redact = Redactor(secrets_in(settings))
        self._instance: dg.DagsterInstance | None = None
        self._unwritten = False
        self._numbers_at = dt.datetime.fromtimestamp(0, dt.timezone.utc)
        now = utc_now()
        self.state = read_alerts(settings.fx_database) or AlertState(looked_at=now, sending=False)

    def look(self, now: dt.datetime) -> None:
        """Look at the instance, and send what that shows.

        Raise SupersededError if another host has taken over.
        """
        if reason := refusal(self._settings.fx_database):
            raise SupersededError(reason)
        self.report(self._look(now), now)

    def report(self, look: Look, now: dt.datetime) -> None:
        """Send the alerts that are due after a look, and the digest."""
        settings, state = self._settings, self.state
        state.looked_at, state.sending = now, bool(settings.fx_alert_urls)
        # No fault has a secret; this guards against an error of a library that does.
        faults = [replace(fault, text=self._redact(fault.text)) for fault in look.faults]
        changes = track(state, faults, now, unjudged=look.unjudged)
        for fault in changes.begun:
            self._say(f"Alert: {fault.kind} {fault.subject}".rstrip())
        for fault in changes.over:
            self._say(f"Resolved: {fault.kind} {fault.subject}".rstrip())
        write(state, changes, settings, now)
        write_digest(state, look.summary, settings, now)
        deliver(state, settings, now, self._say)
        self._save()

    def close(self) -> None:
        """Close Dagster's storage."""
        if self._instance is not None:
            with suppress(Exception):  # it may be what is broken
                self._instance.dispose()
            self._instance = None

    def _look(self, now: dt.datetime) -> Look:
        settings = self._settings
        machine = machine_of(settings, now)
        faults: list[Fault] = []
        unjudged: list[str] = []
        dagster: DagsterState | None = DagsterState()
        if machine["reader"] is None:
            dagster = self._dagster(now, faults)
        document: dict[str, Any] | None = None
        if not settings.fx_database.exists():
            text = (
                f"There is no database at {settings.fx_database}. Start `fx-pipeline up`, or set FX_DATABASE."
            )
            faults.append(Fault(kind="database_unreadable", text=text))
        else:
            try:
                document = status_of(settings, dagster or DagsterState(), machine, now, writing=False)
            except (StoreError, TokenError) as error:
                faults.append(Fault(kind="database_unreadable", text=str(error)))
        if document is None:
            unjudged += FROM_DATABASE
            document = {**machine, **_dagster_part(dagster)}
        else:
            faults += conditions.stored(document, settings)
        if dagster is None:
            unjudged += FROM_DAGSTER
        elif machine["reader"] is None:
            faults += conditions.dagster(document, settings)
        faults += conditions.machine(document)
        if any(fault.kind == "disk_full" for fault in faults):
            unjudged.append("disk_nearly_full")  # it is not over
        seen = [fault for fault in faults if fault.kind != "watcher_silent"]  # it looks just now
        return Look(seen, unjudged, [*summary_of(document)])

    def _dagster(self, now: dt.datetime, faults: list[Fault]) -> DagsterState | None:
        """Return what Dagster shows; None if its storage cannot be read, which is one more fault."""
        home = self._settings.dagster_home
        if not home.is_dir() and self._settings.fx_dagster_postgres_url is None:
            return DagsterState()
        try:
            self._instance = self._instance or open_instance(home)
            state = state_of(self._instance, home, now)
            if abs((now - self._numbers_at).total_seconds()) >= BETWEEN_NUMBERS:
                self._numbers_at = now
                with suppress(OSError):  # of a full disk, which is a fault of its own
                    write_dagster_numbers(self._instance, self._settings, now)
            return state
        except Exception as error:
            if isinstance(error, SettingsError):
                text = str(error)
            elif is_storage_error(error) and self._instance is not None:
                text = f"{storage_of(self._instance)} cannot be read: {first_line(error)}"
            else:
                raise
            self.close()
            faults.append(Fault(kind="dagster_unreadable", text=text))
            return None

    def _save(self) -> None:
        """Write the state. On a full disk, this process remembers it."""
        try:
            write_alerts(self._settings.fx_database, self.state)
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                self._say(
                    f"The state of the alerts cannot be written next to the database ({error.strerror})."
                )
            self._unwritten = True


def _dagster_part(dagster: DagsterState | None) -> dict[str, Any]:
    """Return the part of the document of `status` that only Dagster shows."""
    state = dagster or DagsterState()
    return {
        "newest": None,
        "quota": None,
        "automation": state.automation,
        "daemon": state.daemon,
        "run_faults": [fault.document for fault in state.faults],
        "runs_in_24_hours": state.night,
    }


def run(
    settings: Settings, say: Callable[[str], None], instants: Iterable[dt.datetime] | None = None
) -> None:
    """Look at each of the instants, by default every 30 seconds until SystemExit is raised.

    Raise SettingsError if another watcher runs for this database, SupersededError if another host has taken
    over.
    """
    database = settings.fx_database
    other = f"Another fx-pipeline watch is watching {database}. Stop it."
    count = len(settings.fx_alert_urls)
    sends = (
        f"Alerts are sent to {counted(count, 'address', 'addresses')}."
        if count
        else "No alert is sent, because FX_ALERT_URLS is not set."
    )
    with only_one(database.parent, f"{database.name}-alerts.lock", other):
        say(f"Watching {database}. {sends}")
        with closing(Watcher(settings, say)) as watcher:
            for now in instants or _every(LOOK):
                try:
                    watcher.look(now)
                except SupersededError:
                    raise
                except Exception as error:  # noqa: BLE001  # the next look may succeed; status shows silence
                    say(f"This look failed: {type(error).__name__}: {first_line(error)}")
                    watcher.close()


def _every(seconds: float) -> Iterator[dt.datetime]:
    while True:
        start = time.monotonic()
        yield utc_now()
        time.sleep(max(1.0, seconds - (time.monotonic() - start)))
