"""The state of Dagster for `status`: the last run, paused schedules, the daemon, undelivered alerts."""

import datetime as dt
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from fx_pipeline.commands.runs import failed_days, last_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.sensors import alerts, undelivered_alerts
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
    """`running`, `stopped`, `starting` or `unknown` for each schedule and sensor; empty if the home does not
    exist.

    Starting and unknown: no daemon of this instance has seen it. Starting: one has begun only now.
    """
    daemon: dict[str, object] | None = None
    """Whether the daemon is running, and its last heartbeat; None if it never ran in this home."""
    undelivered: list[dict[str, object]] = field(default_factory=list)
    """Alerts that not every address accepted."""
    failed_days: list[dt.date] = field(default_factory=list)
    """Days that Dagster shows as failed."""


def dagster_state(home: Path) -> DagsterState:
    """Return the state of the Dagster instance in this folder or in PostgreSQL. Create no home for files."""
    if not home.is_dir() and load_settings().fx_dagster_postgres_url is None:
        return DagsterState()
    with open_instance(home) as instance:
        return state_of(instance, home)


def state_of(instance: dg.DagsterInstance, home: Path) -> DagsterState:
    """Return the state of an open instance, whose home this is."""
    states = {state.name: state for state in instance.all_instigator_state()}
    unseen = "starting" if _is_starting(home) else "unknown"
    cursor = getattr(getattr(states.get(alerts.name), "instigator_data", None), "cursor", None)
    return DagsterState(
        last_run(instance),
        {name: _status(states.get(name), unseen) for name in _automation()},
        _daemon(instance),
        [
            {"run": alert.run_id, "title": alert.title, "failures": list(alert.failures)}
            for alert in undelivered_alerts(cursor)
        ],
        failed_days(instance),
    )


def _automation() -> Iterable[str]:
    """Return the names of all schedules and sensors."""
    repository = defs.get_repository_def()
    yield from (schedule.name for schedule in repository.schedule_defs)
    yield from (sensor.name for sensor in repository.sensor_defs)


def _is_starting(home: Path) -> bool:
    """Return whether the daemon began only now. It may have another home, on another machine."""
    try:
        return time.time() - (home / DAEMON_LOCK).stat().st_mtime < STARTING
    except OSError:
        return False


def _status(state: object, unseen: str) -> str:
    """Return the word for a stored state, `unseen` if there is none.

    The daemon stores one for each schedule and sensor that is on.
    """
    if state is None:
        return unseen
    return "running" if getattr(state, "is_running", True) else "stopped"


def _daemon(instance: dg.DagsterInstance) -> dict[str, object] | None:
    """Return the oldest of the last heartbeats: the daemon has several threads, each with its own."""
    beats = instance.get_daemon_heartbeats()
    last = [beats[kind].timestamp for kind in instance.get_required_daemon_types() if kind in beats]
    if not last:
        return None
    at = dt.datetime.fromtimestamp(min(last), dt.timezone.utc)
    running = dt.datetime.now(dt.timezone.utc) - at < HEARTBEAT_TIMEOUT
    return {"running": running, "last_heartbeat": at.isoformat(timespec="seconds")}
