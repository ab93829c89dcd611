"""Runs of the rates through Dagster from a terminal: the same asset and instance that the UI shows."""

import datetime as dt
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import dagster as dg
from alembic.util.exc import CommandError
from filelock import FileLock, Timeout
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from fx_pipeline.dagster_internals import (
    MAX_RETRIES_TAG,
    UNSAVED_EVENT,
    capture_interrupts,
    check_captured_interrupt,
    execute_run,
    is_interrupted_step,
    job_origin,
    was_interrupted,
)
from fx_pipeline.definitions import defs
from fx_pipeline.defs.assets import STOPPED_BY, Cancelled, rates
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.schedules import range_tags, rates_config
from fx_pipeline.processes.leftovers import held
from fx_pipeline.settings import PROJECT, SettingsError

_UNDER_WAY = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
IN_VAIN = 10
"""A run that failed and stored none of at least so many dates ends the ingest: the provider is down, or has
no older days."""

_SILENT = {"console": {"config": {"log_level": "CRITICAL"}}}  # the report tells it instead


class RunError(Exception):
    """Dagster could not say what a run did; the message is one line that says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one run did: the metadata of each stored date, and, if it failed, why."""

    run_id: str
    dates: Sequence[dt.date]
    """The dates it was to fetch, newest first."""
    stored: dict[dt.date, dict[str, object]]
    failure: str | None = None
    cancelled: bool = False
    stops: bool = False
    """Whether a further run would end the same way."""


def planned(dates: Iterable[dt.date], *, across_gaps: bool) -> list[list[dt.date]]:
    """Divide the dates into runs as long as a backfill's, newest first.

    A run covers a range of days. With `across_gaps` that range may hold days that are not among the dates:
    the run must leave them out itself.

    Newest first, because recent days are used most. Each run also asks for its newest day first, so when the
    quota or the provider ends the ingest early, the days nearest to today are stored.
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


def open_instance(home: Path) -> dg.DagsterInstance:
    """The Dagster instance kept in `home`, which is made if it is not there.

    Raises SettingsError when that cannot be done.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        # Two processes that make Dagster's files at the same moment leave them unusable for good.
        with FileLock(home / "opening.lock"):
            _put_configuration(home)
            os.environ["DAGSTER_HOME"] = str(home.absolute())
            return dg.DagsterInstance.get()
    except (OSError, SQLAlchemyError, CommandError) as error:
        raise SettingsError(
            f"Dagster's home {home} cannot be used ({_reason(error)}): see that this user may write it and "
            "that there is room, or set DAGSTER_HOME to another folder."
        ) from None


def _put_configuration(home: Path) -> None:
    """Put the project's dagster.yaml into the home, in one step: a daemon may be reading it."""
    wanted, file = (PROJECT / "dagster.yaml").read_bytes(), home / "dagster.yaml"
    if not file.exists() or file.read_bytes() != wanted:
        new = home / "dagster.yaml.new"
        new.write_bytes(wanted)
        new.replace(file)


def _run(
    instance: dg.DagsterInstance, name: str, config: dict[str, object], tags: dict[str, str]
) -> dg.JobExecutionResult:
    """Run a job in this process, as one that belongs to the code location of the UI.

    `execute_in_process` says nothing of the code location: the UI could not execute such a run again. The
    daemon does not do so by itself: whoever ended it, by Ctrl-C say, sees that and can go on with --missing.
    A run that was interrupted is reported as cancelled. Call it inside `capture_interrupts`: an interrupt is
    then kept until a run can be ended by it, and no run is left half created or half ended.
    Raises RunError when Dagster's home cannot be written.
    """
    job = defs.resolve_job_def(name)
    try:
        run = instance.create_run_for_job(
            job, run_config=config, tags={**tags, MAX_RETRIES_TAG: "0"}, remote_job_origin=job_origin(job)
        )
        with _held(instance, run.run_id), redirect_stderr(_Stderr(sys.stderr)):
            result = execute_run(job, run, instance)
        if was_interrupted(result):
            instance.report_run_canceled(run, str(Cancelled()))
        return result
    except (OSError, SQLAlchemyError) as error:
        raise RunError(
            f"Dagster's home {instance.root_directory} cannot be written ({_reason(error)}). What had been "
            "stored is kept. Make room, or put right what is wrong with it, and run again with --missing."
        ) from None


class _Stderr:
    """stderr without what Dagster writes there of each event that it cannot keep: with values, over lines.

    Such an event ends the run with an error, which is told; of one of the log another event says so.
    """

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr

    def write(self, text: str) -> int:
        """Write all but that, which comes in one piece."""
        return len(text) if text.startswith(UNSAVED_EVENT) else self._stderr.write(text)

    def flush(self) -> None:
        """Write what is held back."""
        self._stderr.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stderr, name)


def _reason(error: Exception) -> str:
    """The first line, without the statement and the values that SQLAlchemy adds."""
    told = error.orig if isinstance(error, DBAPIError) and error.orig else error
    return str(told).splitlines()[0]


@contextmanager
def only_servers(home: Path) -> Iterator[None]:
    """Hold the home, which is made if it is not there, for the servers of one `up`.

    Runs that earlier ones have left behind are reported as failed: Dagster would wait for them for ever.
    Raises SettingsError where another `up` holds the home, or it cannot be used.
    """
    with ExitStack() as holding:
        with open_instance(home) as instance:
            holding.enter_context(held(home))
            _end_abandoned(instance)
        yield


def _end_abandoned(instance: dg.DagsterInstance) -> None:
    """Without a webserver and a daemon only a run of `ingest` can go on: it holds its lock."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY)):
        try:
            with _held(instance, run.run_id):
                instance.report_run_failed(run, "Its process was gone when fx-pipeline was started again.")
        except Timeout:
            continue


def _end_killed(instance: dg.DagsterInstance) -> None:
    """A run of `ingest` whose lock nobody holds was killed: only the one that is over takes it away."""
    for file in Path(instance.root_directory).glob("*-*-*-*-*.lock"):
        with suppress(Timeout), _held(instance, file.stem):
            run = instance.get_run_by_id(file.stem)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "Its process was killed.")


@contextmanager
def _held(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """The lock that the process of an `ingest` holds as long as its run goes on, however it ends."""
    file = Path(instance.root_directory) / f"{run_id}.lock"
    with FileLock(file, blocking=False):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def materialise(
    instance: dg.DagsterInstance,
    runs: Sequence[Sequence[dt.date]],
    *,
    skip_stored: bool = False,
    refetch_from: dt.date | None = None,
    ended: Callable[[RunReport], None] = lambda _: None,
) -> list[RunReport]:
    """Run the rates of the planned runs here and now, and pass each report to `ended`.

    `skip_stored` leaves out what is stored, but for the days from `refetch_from` on. After an interrupt, and
    after a run that failed for a reason that would end the others too, the remaining runs are not started:
    there are fewer reports then. Raises RunError when Dagster's home cannot be written.
    """
    config: dict[str, object] = rates_config(  # type: ignore[no-untyped-call]
        skip_stored=skip_stored, refetch_from=refetch_from.isoformat() if refetch_from else None
    ).to_config_dict()
    config["loggers"] = _SILENT
    _end_killed(instance)
    reports: list[RunReport] = []
    with capture_interrupts():
        for dates in runs:
            if check_captured_interrupt():  # between two runs
                break
            tags = range_tags(dates[-1].isoformat(), dates[0].isoformat())
            reports.append(_report(_run(instance, "rates_job", config, tags), dates))
            ended(reports[-1])
            if reports[-1].cancelled or reports[-1].stops:
                break
        else:
            if check_captured_interrupt():
                raise KeyboardInterrupt  # that came when the last run was over
    return reports


def _report(result: dg.JobExecutionResult, dates: Sequence[dt.date]) -> RunReport:
    stored: dict[dt.date, dict[str, object]] = {
        dt.date.fromisoformat(event.partition): {name: value.value for name, value in event.metadata.items()}
        for event in result.asset_materializations_for_node("rates")
        if event.partition
    }
    in_vain = not stored and len(dates) >= IN_VAIN
    return RunReport(
        run_id=result.run_id,
        dates=dates,
        stored=stored,
        failure=_failure(result),
        cancelled=was_interrupted(result),
        stops=not result.success and (in_vain or not _failed_by_dates(result)),
    )


def _failed_by_dates(result: dg.JobExecutionResult) -> bool:
    """Whether a run failed only because some of its dates could not be fetched."""
    steps = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return bool(steps) and all(
        step.user_failure_data and STOPPED_BY not in step.user_failure_data.metadata for step in steps
    )


def materialise_symbols(instance: dg.DagsterInstance) -> str | None:
    """Run `symbols` here and now. Returns why it failed, if it did. Raises RunError."""
    with capture_interrupts():
        return _failure(_run(instance, "symbols_job", {"loggers": _SILENT}, {}))


def last_run(home: Path) -> dict[str, str | None] | None:
    """The last run of the rates: its id, status, when it ended (UTC), why it failed. None if none was.

    A backfill from the UI runs under a job of Dagster's own, which has no name here. A home that is not there
    is not made.
    """
    if not home.is_dir():
        return None
    with open_instance(home) as instance:
        for record in instance.get_run_records(limit=20):
            run, ended = record.dagster_run, record.end_time
            if run.job_name != "rates_job" and RATES not in (run.asset_selection or ()):
                continue
            events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
            failures = [event.dagster_event for event in events if event.dagster_event]
            return {
                "id": run.run_id,
                "status": run.status.value.lower(),
                "ended": _instant(ended) if ended else None,
                "failure": _description(failures[-1]) if failures and run.is_failure else None,
            }
    return None


def _failure(result: dg.JobExecutionResult) -> str | None:
    if result.success:
        return None
    if was_interrupted(result):
        return str(Cancelled())
    for event in result.all_events:
        if event.is_step_failure:
            return _description(event)
    return (
        "; ".join(event.message or "" for event in result.all_events if event.is_failure) or "the run failed"
    )


def _instant(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="seconds")


def _description(event: dg.DagsterEvent) -> str:
    if is_interrupted_step(event):
        return str(Cancelled())
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    return failure.error.message.strip() if failure.error else event.message or "the step failed"
