"""The document of `status`: what the database, Dagster, the disk and small files say now."""

import datetime as dt
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from fx_pipeline.alerted import alerts_summary, read_alerts, watcher_problem
from fx_pipeline.commands.database import read_quota
from fx_pipeline.crashes import crash_loops
from fx_pipeline.drilled import read_drill
from fx_pipeline.following import read_position
from fx_pipeline.replicated import replication_summary
from fx_pipeline.settings import Settings, SettingsError

if TYPE_CHECKING:
    from fx_pipeline.commands.dagster_state import DagsterState
    from fx_pipeline.store.store import RateStore


def status_of(
    settings: Settings,
    dagster: "DagsterState",
    machine: Mapping[str, Any],
    now: dt.datetime,
    *,
    writing: bool = True,
) -> dict[str, Any]:
    """Return the document. Raise StoreError if the database cannot be read.

    `machine` is the part that `machine_of` returns. Without `writing`, the database is not migrated.
    """
    from fx_pipeline.commands.access import Access
    from fx_pipeline.commands.reports import status_document
    from fx_pipeline.store.store import RateStore

    with RateStore(settings.fx_database, writing=writing and machine["reader"] is None) as store:
        kept = kept_days(store, dagster.failed_days, settings, now)
        coverage, ahead, clock_error = store.coverage(), store.ahead(), store.clock_error()
        content_age = store.content_age()
        missing_symbols = store.missing_symbols(settings.fx_symbols)
    return status_document(
        settings,
        coverage,
        read_quota(settings),
        dagster,
        now.date(),
        Access(settings).state(),
        missing_symbols,
        ahead,
        clock_error=clock_error,
        content_age=content_age,
        kept_days=kept,
        **machine,
    )


def machine_of(settings: Settings, now: dt.datetime) -> dict[str, Any]:
    """Return the part of the document that needs neither the database nor Dagster."""
    reader = _reader(settings, now)
    alerts = read_alerts(settings.fx_database)
    return {
        "disk_free_mb": _free_mb(settings.fx_database.parent, settings.dagster_home),
        "alert_addresses": _alert_addresses(settings),
        "replication": replication_summary(
            settings.fx_database, wanted=bool(settings.fx_replica_url) and reader is None
        ),
        "reader": reader,
        "restore_drill": None if reader else _restore_drill(settings, now),
        "crash_loops": crash_loops(settings.fx_database, now),
        "alerts": alerts_summary(alerts),
        "watcher_problem": watcher_problem(alerts, now, wanted=bool(settings.fx_alert_urls)),
    }


def kept_days(
    store: "RateStore", failed: Sequence[dt.date], settings: Settings, now: dt.datetime
) -> set[dt.date]:
    """Return the failed days that an earlier run has stored, without those that Fixer may still revise."""
    if not failed:
        return set()
    revised_from = now.date() - dt.timedelta(days=1 + settings.fx_revision_days)
    stored = store.stored_dates(min(failed), max(failed))
    return {date for date in failed if date in stored and date < revised_from}


def _free_mb(*folders: Path) -> dict[str, int]:
    """Return the free space of each disk, by the first folder on it."""
    free: dict[int, tuple[str, int]] = {}
    for folder in folders:
        if folder.is_dir():
            free.setdefault(folder.stat().st_dev, (str(folder), shutil.disk_usage(folder).free // 2**20))
    return dict(free.values())


def _reader(settings: Settings, now: dt.datetime) -> dict[str, Any] | None:
    """Return which replica this reader follows and how current it is; None if this is no reader."""
    position = read_position(settings.fx_database)
    if position is None:
        return None
    return {"follows": position.replica, **position.document(now, settings.fx_max_lag_seconds)}


def _restore_drill(settings: Settings, now: dt.datetime) -> dict[str, Any] | None:
    """Return the last restore drill and what needs the operator; None if there was none."""
    drill = read_drill(settings.fx_database)
    if drill is None:
        return None
    return {
        **drill.document(now),
        "source": drill.source,
        "seconds": drill.seconds,
        "bytes": drill.bytes,
        "problem": drill.problem(now, settings.fx_max_drill_age_days),
    }


def _alert_addresses(settings: Settings) -> str | None:
    """Return "ok", or what is wrong with FX_ALERT_URLS; None if it is not set."""
    return _judged(settings.fx_alert_urls) if settings.fx_alert_urls else None


@cache
def _judged(urls: Sequence[SecretStr]) -> str:
    from fx_pipeline.alerting.sending import check_addresses

    try:
        check_addresses(urls)
    except SettingsError as error:
        return str(error)
    return "ok"
