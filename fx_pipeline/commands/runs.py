"""Runs from a terminal, through Dagster: the same assets and instance that the UI shows."""

import datetime as dt
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import TextIO

import dagster as dg

from fx_pipeline.dagster_internals.runs import (
    UNSAVED_EVENT,
    capture_interrupts,
    check_captured_interrupt,
    execute_run,
    failed_partitions,
    job_origin,
    was_interrupted,
)
from fx_pipeline.dagster_internals.tags import MAX_RETRIES_TAG, PARTIAL_TAG
from fx_pipeline.definitions import defs
from fx_pipeline.defs.assets import rates
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.failures import CANCELLED, STOPPED_BY, run_reason, step_failures, step_reason
from fx_pipeline.defs.jobs import RATES_JOBS, rates_job, symbols_job
from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline.defs.run_locks import fail_killed_runs
from fx_pipeline.processes.dagster_home import is_storage_error, storage_of
from fx_pipeline.processes.postgres_storage import first_line
from fx_pipeline.rates import parse_date
from fx_pipeline.settings import load_settings
from fx_pipeline.store.run_lock import held

MIN_DAYS_IN_VAIN = 10
"""A failed run that stored none of at least this many dates ends the ingest. The provider is down, or has no
older days."""

_NO_LOG = {"console": {"config": {"log_level": "CRITICAL"}}}  # the report says it instead


class RunError(Exception):
    """Dagster's home cannot be written during a run. The message is one line: the reason and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The outcome of one run: the metadata of each stored date, and the reason of a failure."""

    run_id: str
    dates: Sequence[dt.date]
    """The dates to fetch, newest first."""
    stored: dict[dt.date, dict[str, object]]
    failure: str | None = None
    cancelled: bool = False
    stops: bool = False
    """Whether a further run would fail in the same way."""


def planned(dates: Iterable[dt.date], *, across_gaps: bool) -> list[list[dt.date]]:
    """Divide the dates into runs as long as a backfill's, newest first.

    A run covers a range of days. With `across_gaps` the range may contain other days, which the run must
    skip itself.

    Newest first, because recent days are used most. If the quota or the provider ends the ingest early, the
    days nearest to today are stored.
    """
    longest = rates.backfill_policy.max_partitions_per_run if rates.backfill_policy else None
    runs: list[list[dt.date]] = []
    for date in sorted(set(dates), reverse=True):
        if runs:
            joins = across_gaps or (runs[-1][-1] - date).days == 1
            if joins and (longest is None or (runs[-1][0] - date).days < longest):
                runs[-1].append(date)
                continue
        runs.append([date])
    return runs


def materialise(
    instance: dg.DagsterInstance,
    runs: Sequence[Sequence[dt.date]],
    *,
    skip_stored: bool = False,
    refetch_from: dt.date | None = None,
    ended: Callable[[RunReport], None] = lambda _: None,
    first_run_id: str | None = None,
) -> list[RunReport]:
    """Execute the planned runs in this process, and pass each report to `ended`.

    `skip_stored` skips stored days before `refetch_from`. The first run gets `first_run_id`. After an
    interrupt, or a failure that would end the other runs too, the remaining runs are not started and have no
    reports. Raise RunError.
    """
    config: dict[str, object] = rates_config(  # type: ignore[no-untyped-call]
        skip_stored=skip_stored, refetch_from=refetch_from.isoformat() if refetch_from else None
    ).to_config_dict()
    config["loggers"] = _NO_LOG
    fail_killed_runs(instance, load_settings().fx_database)
    reports: list[RunReport] = []
    with capture_interrupts():
        for number, dates in enumerate(runs):
            if check_captured_interrupt():  # between two runs
                break
            # As partial, because the command has compared the days of all runs with the quota.
            tags = range_tags(dates[-1].isoformat(), dates[0].isoformat()) | {PARTIAL_TAG: "true"}
            run_id = None if number else first_run_id
            reports.append(_report(_execute(instance, rates_job.name, config, tags, run_id), dates))
            ended(reports[-1])
            if reports[-1].cancelled or reports[-1].stops:
                break
        else:
            if check_captured_interrupt():
                raise KeyboardInterrupt  # after the last run
    return reports


def materialise_symbols(instance: dg.DagsterInstance) -> str | None:
    """Execute `symbols_job` in this process. Return the reason if it fails. Raise RunError."""
    with capture_interrupts():
        return _failure(_execute(instance, symbols_job.name, {"loggers": _NO_LOG}, {}))


def _execute(
    instance: dg.DagsterInstance,
    name: str,
    config: dict[str, object],
    tags: dict[str, str],
    run_id: str | None = None,
) -> dg.JobExecutionResult:
    """Execute a job in this process, as a run that the UI can re-execute.

    The daemon does not restart such a run. After Ctrl-C, the user can continue with --missing. An interrupted
    run is reported as cancelled. Call this inside `capture_interrupts`, so that an interrupt leaves no run
    half created or half ended. Raise RunError if Dagster's home cannot be written.
    """
    job = defs.resolve_job_def(name)
    try:
        run = instance.create_run_for_job(
            job,
            run_id=run_id,
            run_config=config,
            tags={**tags, MAX_RETRIES_TAG: "0"},
            remote_job_origin=job_origin(job),
        )
        with (
            held(load_settings().fx_database, run.run_id),
            redirect_stderr(_Stderr(sys.stderr)),
            _no_retries_logged(),
        ):
            result = execute_run(job, run, instance)
        if was_interrupted(result):
            instance.report_run_canceled(run, CANCELLED)
        return result
    except Exception as error:
        if not is_storage_error(error):
            raise
        place = storage_of(instance)
        fix = "Check the server" if "PostgreSQL" in place else "Free disk space or fix its permissions"
        raise RunError(
            f"{place} cannot be written ({first_line(error)}). Stored days are kept. {fix}, and run again "
            "with --missing."
        ) from None


@contextmanager
def _no_retries_logged() -> Iterator[None]:
    """Hide the five lines that dagster-postgres logs for each retry. RunError reports the last failure."""

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Retrying failed database connection")

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)


class _Stderr:
    """A stderr without the multi-line text that Dagster writes for each event that it cannot save.

    Such an event ends the run with an error, which the report shows.
    """

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr

    def write(self, text: str) -> int:
        """Write the text, unless it is about an event. Dagster writes that text in one piece."""
        return len(text) if text.startswith(UNSAVED_EVENT) else self._stderr.write(text)

    def flush(self) -> None:
        """Flush stderr."""
        self._stderr.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stderr, name)


def _report(result: dg.JobExecutionResult, dates: Sequence[dt.date]) -> RunReport:
    stored: dict[dt.date, dict[str, object]] = {
        dt.date.fromisoformat(event.partition): {name: value.value for name, value in event.metadata.items()}
        for event in result.asset_materializations_for_node(rates.op.name)
        if event.partition
    }
    in_vain = not stored and len(dates) >= MIN_DAYS_IN_VAIN
    return RunReport(
        run_id=result.run_id,
        dates=dates,
        stored=stored,
        failure=_failure(result),
        cancelled=was_interrupted(result),
        stops=not result.success and (in_vain or not _failed_by_dates(result)),
    )


def _failed_by_dates(result: dg.JobExecutionResult) -> bool:
    """Return whether a run failed only because some of its dates could not be fetched."""
    steps = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return bool(steps) and all(
        step.user_failure_data and STOPPED_BY not in step.user_failure_data.metadata for step in steps
    )


def _failure(result: dg.JobExecutionResult) -> str | None:
    if result.success:
        return None
    return CANCELLED if was_interrupted(result) else run_reason(result.all_events)


def last_run(instance: dg.DagsterInstance) -> dict[str, str | None] | None:
    """Return the id, status, end (UTC) and failure of the last run of the rates, or None."""
    for record in instance.get_run_records(limit=20):
        run, ended = record.dagster_run, record.end_time
        # A backfill from the UI runs as one of Dagster's own jobs, with a selection of assets.
        if run.job_name not in RATES_JOBS and RATES not in (run.asset_selection or ()):
            continue
        failures = step_failures(instance, run.run_id) if run.is_failure else []
        return {
            "id": run.run_id,
            "status": run.status.value.lower(),
            "ended": _instant(ended) if ended else None,
            "failure": step_reason(failures[-1]) if failures else None,
        }
    return None


def failed_days(instance: dg.DagsterInstance) -> list[dt.date]:
    """Return the days that Dagster shows as failed."""
    # The watcher asks every 30 seconds. The statuses of all days of 27 years take 0.25 s of CPU.
    failed = sorted(failed_partitions(instance, RATES, days))
    shown = (failed and instance.get_status_by_partition(RATES, failed, days)) or {}
    return [parse_date(key) for key, status in shown.items() if status is dg.AssetPartitionStatus.FAILED]


def _instant(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="seconds")
