"""The state of Dagster for `status` and alerts: runs and their faults, paused schedules, the daemon."""

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from fx_pipeline.alerting.checks import check_faults
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runs import ended_runs, hung_runs, run_faults, runs_of_the_night
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.runs import failed_days, last_run
from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.processes.leftovers import DAEMON_LOCK
from fx_pipeline.settings import load_settings

HEARTBEAT_TIMEOUT = dt.timedelta(minutes=5)
"""How old the last heartbeat of Dagster's daemon may be. It sends one every 30 seconds, or every minute."""

STARTING = 300.0
"""Seconds after the start of Dagster's daemon in which it may not have seen every schedule. It takes some."""


@dataclass(frozen=True, slots=True)
class DagsterState:
    """What an operator needs to know about Dagster. Instants are UTC."""

    last_run: dict[str, str | None] | None = None
    automation: dict[str, str] = field(default_factory=dict)
    """`running`, `stopped`, `starting` or `unknown` for each schedule; empty if the home does not
    exist.

    Starting and unknown: no daemon of this instance has seen it. Starting: one has begun only now.
    """
    daemon: dict[str, object] | None = None
    """Whether the daemon is running, and its last heartbeat; None if it never ran in this home."""
    failed_days: list[dt.date] = field(default_factory=list)
    """Days that Dagster shows as failed."""
    faults: list[Fault] = field(default_factory=list)
    """What its runs and checks show."""
    night: dict[str, int] = field(default_factory=dict)
    """How many runs ended in the last 24 hours, by status."""


def dagster_state(home: Path) -> DagsterState:
    """Return the state of the Dagster instance in this folder or in PostgreSQL. Create no home for files."""
    if not home.is_dir() and load_settings().fx_dagster_postgres_url is None:
        return DagsterState()
    with open_instance(home) as instance:
        return state_of(instance, home, utc_now())


def state_of(instance: dg.DagsterInstance, home: Path, now: dt.datetime) -> DagsterState:
    """Return the state of an open instance."""
    settings = load_settings()
    ended = [*ended_runs(instance)]
    states = {state.name: state for state in instance.all_instigator_state()}
    unseen = "starting" if _is_starting(home) else "unknown"
    return DagsterState(
        last_run(instance),
        {name: _status(states.get(name), unseen) for name in _automation()},
        _daemon(instance, now),
        failed_days(instance),
        [
            *run_faults(instance, ended, settings, now),
            *hung_runs(instance, settings, now),
            *check_faults(instance, settings),
        ],
        runs_of_the_night(ended, now),
    )


def _automation() -> Iterable[str]:
    """Return the names of all schedules."""
    yield from (schedule.name for schedule in defs.get_repository_def().schedule_defs)


def _is_starting(home: Path) -> bool:
    """Return whether the daemon began only now. It may have another home, on another machine."""
    try:
        return time.time() - (home / DAEMON_LOCK).stat().st_mtime < STARTING
    except OSError:
        return False


def _status(state: object, unseen: str) -> str:
    """Return the word for a stored state, `unseen` if there is none.

    The daemon stores one for each schedule that is on.
    """
    if state is None:
        return unseen
    return "running" if getattr(state, "is_running", True) else "stopped"


def _daemon(instance: dg.DagsterInstance, now: dt.datetime) -> dict[str, object] | None:
    """Return the oldest of the last heartbeats: the daemon has several threads, each with its own."""
    beats = instance.get_daemon_heartbeats()
    last = [beats[kind].timestamp for kind in instance.get_required_daemon_types() if kind in beats]
    if not last:
        return None
    at = dt.datetime.fromtimestamp(min(last), dt.timezone.utc)
    running = now - at < HEARTBEAT_TIMEOUT
    return {"running": running, "last_heartbeat": at.isoformat(timespec="seconds")}
