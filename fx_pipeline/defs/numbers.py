"""Reads Dagster's state as numbers for the API's metrics. Each query is bounded, whatever the history."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping

import dagster as dg

from fx_pipeline.dagster_internals.runs import ASSET_JOB, last_check_results, unfinished_backfills
from fx_pipeline.dagster_names import prefixed
from fx_pipeline.dagster_numbers import DagsterNumbers, LastRun, Outcome, Result, replace_numbers
from fx_pipeline.defs.assets import SYMBOLS
from fx_pipeline.defs.checks import RATES, run_checks, table_checks
from fx_pipeline.defs.database_checks import drill_age, integrity, restorable
from fx_pipeline.defs.ours import ASSETS, JOB_NAMES, JOBS, is_ours
from fx_pipeline.settings import Settings

RECENTLY = dt.timedelta(hours=24)
"""How far back failed runs are counted."""

MOST_RUNS = 1_000
"""Runs of one state that are counted. A backfill of 27 years has 100 runs."""

LAST_FROM_UI = 20
"""Runs from the UI that are searched for the last one of a job. They all have the same job."""

CHECKS = [
    *(spec.key for spec in (*run_checks, *table_checks)),
    *(check.check_key for check in (integrity, restorable, drill_age)),
]

_JOB_OF_ASSET = {RATES: "rates", SYMBOLS: "symbols"}

_OUTCOMES: Mapping[Outcome, dg.DagsterRunStatus] = {
    "success": dg.DagsterRunStatus.SUCCESS,
    "failure": dg.DagsterRunStatus.FAILURE,
    "canceled": dg.DagsterRunStatus.CANCELED,
}

_IN_PROGRESS = [
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def write_dagster_numbers(instance: dg.DagsterInstance, settings: Settings, now: dt.datetime) -> None:
    """Replace the numbers next to the database of `settings` with those of now. Raise OSError.

    Raise what Dagster raises if its storage cannot be read.
    """
    replace_numbers(settings.fx_database, read_instance(instance, settings, now))


def read_instance(instance: dg.DagsterInstance, settings: Settings, now: dt.datetime) -> DagsterNumbers:
    """Return the numbers of an instance. Runs and backfills of other code locations do not count."""
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - RECENTLY)
    return DagsterNumbers(
        at=now.timestamp(),
        heartbeats=_heartbeats(instance),
        queued=_count(instance, dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])),
        in_progress=_count(instance, dg.RunsFilter(statuses=_IN_PROGRESS)),
        failed=_count(instance, failed),
        backfills=sum(
            one.job_name in JOBS or not ASSETS.isdisjoint(one.asset_selection or ())
            for one in unfinished_backfills(instance)
        ),
        last_runs=list(_last_runs(instance, settings)),
        checks=_checks(instance),
    )


def _heartbeats(instance: dg.DagsterInstance) -> dict[str, float]:
    beats = instance.get_daemon_heartbeats()
    required = sorted(instance.get_required_daemon_types())
    return {kind.lower(): beats[kind].timestamp for kind in required if kind in beats}


def _count(instance: dg.DagsterInstance, runs: dg.RunsFilter) -> int:
    return sum(map(is_ours, instance.get_runs(runs, limit=MOST_RUNS)))


def _last_runs(instance: dg.DagsterInstance, settings: Settings) -> Iterator[LastRun]:
    for outcome, status in _OUTCOMES.items():
        newest = {
            name: instance.get_run_records(
                dg.RunsFilter(job_name=prefixed(settings, f"{name}_job"), statuses=[status]), limit=1
            )
            for name in JOB_NAMES
        }
        from_ui = instance.get_run_records(
            dg.RunsFilter(job_name=ASSET_JOB, statuses=[status]), limit=LAST_FROM_UI
        )
        for name, records in newest.items():
            if last := _last([*records, *(record for record in from_ui if _job_of(record) == name)]):
                yield LastRun(job=name, outcome=outcome, ended=_end(last), seconds=_seconds(last))


def _job_of(record: dg.RunRecord) -> str | None:
    """Return which of our jobs a run from the UI did the work of. It may have only executed checks."""
    chosen = record.dagster_run.asset_selection or ()
    return next((name for asset, name in _JOB_OF_ASSET.items() if asset in chosen), None)


def _last(records: Iterable[dg.RunRecord]) -> dg.RunRecord | None:
    return max(records, key=lambda record: record.storage_id, default=None)


def _end(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _seconds(record: dg.RunRecord) -> float | None:
    return None if record.start_time is None else _end(record) - record.start_time


def _checks(instance: dg.DagsterInstance) -> dict[str, Result]:
    found: dict[str, Result] = {}
    for check, result in last_check_results(instance, CHECKS).items():
        severe = result.evaluation.severity is dg.AssetCheckSeverity.ERROR
        found[check.name] = "passed" if result.evaluation.passed else "error" if severe else "warn"
    return found
