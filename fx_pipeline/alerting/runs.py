"""Faults that runs show: the newest run of a kind failed, or a run hangs.

A failure is over when a later run of the same kind succeeds. A run that will be repeated shows nothing:
Dagster restarts a killed one, and a schedule repeats one that came before the day was there.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import dagster as dg

from fx_pipeline.alerting.faults import Fault
from fx_pipeline.dagster_internals.runs import ASSET_JOB
from fx_pipeline.dagster_internals.tags import AUTO_RETRY_RUN_ID_TAG, BACKFILL_TAG, WILL_RETRY_TAG
from fx_pipeline.defs import tries
from fx_pipeline.defs.assets import SYMBOLS
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.failures import (
    LAST_ERROR,
    STOPPED_BY,
    Recovery,
    has_failed_days,
    recovery,
    step_failures,
    stored_reason,
)
from fx_pipeline.defs.jobs import rates_job, symbols_job
from fx_pipeline.defs.ours import JOBS, is_ours
from fx_pipeline.rates import counted
from fx_pipeline.settings import Settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.frames import RateHistory

RESTART_TIMEOUT = dt.timedelta(minutes=10)
"""How long to wait for Dagster to restart a killed run before reporting it."""

NEXT_TRY_TIMEOUT = dt.timedelta(minutes=10)
"""How long after its due time the next try of a morning may start. After that, the failed run is reported."""

SILENT = dt.timedelta(minutes=7)
"""How long a run that makes calls may report nothing. A provider that accepts connections and never answers
takes 5 minutes until the run gives up."""

SILENT_CHECKS = dt.timedelta(hours=1)
"""The same for a run that reads or restores the whole database in one step."""

NIGHT = dt.timedelta(days=1)

RUNS = 10
"""How many ended runs of a job are read."""

ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
IN_PROGRESS = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

_LAST_TRY = "This was the last try of the morning. The next one is after midnight (UTC)."

_REEXECUTE = 'To fetch only the failed days, press "Re-execute all" on the page of the run.'

CAUSES = {
    "InvalidKey": "wrong_key",
    "InactiveAccount": "wrong_key",
    "QuotaExhausted": "quota_used",
    "QuotaReached": "quota_used",
    "UntrustedServer": "provider_unreachable",
    "UnknownHost": "provider_unreachable",
    "InsecureConnection": "provider_unreachable",
    **dict.fromkeys(("Unreachable", "ServerTrouble", "RateLimited", "LongWaitRequested"), "provider_down"),
}
"""The kind of fault for the error that ended a run. Any other is `run_failed`, such as a response that cannot
be used. For ProviderDown, the last error decides."""

PROVIDER = {"wrong_key", "quota_used", "provider_unreachable", "provider_down"}
"""Faults outside this machine: any later run that succeeds shows that they are over."""


def run_faults(
    instance: dg.DagsterInstance, ended: Iterable[dg.RunRecord], settings: Settings, now: dt.datetime
) -> Iterator[Fault]:
    """Yield what the newest `ended_runs` of the instance show."""
    by_work: dict[str, list[dg.RunRecord]] = defaultdict(list)
    for record in ended:
        by_work[_work(record.dagster_run)].append(record)
    good = [
        _end(record)
        for work in ("rates", "symbols")
        for record in by_work[work]
        if record.dagster_run.is_success
    ]
    for work, records in by_work.items():
        for record in sorted(records, key=_end, reverse=True):
            run = record.dagster_run
            if run.is_success:
                break
            if not _is_final(instance, record, now):
                continue
            if not _is_fetched(instance, run, settings):
                kind = _cause(instance, run)
                if kind in PROVIDER and good and max(good) > _end(record):
                    break
                if kind == "run_failed" and BACKFILL_TAG in run.tags:
                    continue  # its days are shown as failed, and days_missing reports them
                yield _fault(instance, run, kind, work, settings)
            break


def hung_runs(instance: dg.DagsterInstance, settings: Settings, now: dt.datetime) -> Iterator[Fault]:
    """Yield the runs in progress that have reported nothing for too long."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=IN_PROGRESS), limit=50):
        run = record.dagster_run
        if not is_ours(run):
            continue
        newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
        last = newest[0].timestamp if newest else record.create_timestamp.timestamp()
        silent = dt.timedelta(seconds=now.timestamp() - last)
        if silent > (SILENT if _work(run) in ("rates", "symbols") else SILENT_CHECKS):
            minutes = counted(int(silent.total_seconds() // 60), "minute")
            yield Fault(
                kind="run_hung",
                subject=run.run_id,
                text=f"{named(run)} has reported nothing for {minutes}.",
                link=page_of(run.run_id, settings),
            )


def runs_of_the_night(ended: Iterable[dg.RunRecord], now: dt.datetime) -> dict[str, int]:
    """Return how many of the `ended_runs` ended in the last 24 hours, by status."""
    counts = dict.fromkeys((status.value.lower() for status in ENDED), 0)
    for record in ended:
        if now.timestamp() - _end(record) < NIGHT.total_seconds():
            counts[record.dagster_run.status.value.lower()] += 1
    return counts


def ended_runs(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    """Yield our newest ended runs: RUNS of each job."""
    for job in sorted({*JOBS, ASSET_JOB}):
        limit = RUNS if job in JOBS else 3 * RUNS
        for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=ENDED), limit=limit):
            if is_ours(record.dagster_run):
                yield record


def page_of(run_id: str, settings: Settings) -> str:
    """Return the address of the page of a run."""
    return f"{settings.dagster_url}/runs/{run_id}"


def named(run: dg.DagsterRun) -> str:
    """Return what a run is about. One from the UI has a job of Dagster's own: its selection says more."""
    chosen = run.asset_selection or run.asset_check_selection or ()
    return ", ".join(sorted(key.to_user_string() for key in chosen)) or run.job_name


def _work(run: dg.DagsterRun) -> str:
    """Return what a run does, by which a later one can repair it."""
    assets = run.asset_selection or ()
    for work, asset, job in (("rates", RATES, rates_job), ("symbols", SYMBOLS, symbols_job)):
        if asset in assets or run.job_name == job.name:
            return work
    return named(run)


def _end(record: dg.RunRecord) -> float:
    return record.end_time or record.update_timestamp.timestamp()


def _is_final(instance: dg.DagsterInstance, record: dg.RunRecord, now: dt.datetime) -> bool:
    """Return whether a failed run is left to the operator: not cancelled, restarted or repeated soon."""
    run = record.dagster_run
    if run.status is dg.DagsterRunStatus.CANCELED or AUTO_RETRY_RUN_ID_TAG in run.tags:
        return False
    age = dt.timedelta(seconds=now.timestamp() - _end(record))
    if run.tags.get(WILL_RETRY_TAG) == "true" and age < RESTART_TIMEOUT:
        return False
    if tries.NEXT_TRY in run.tags and _recovery(instance, run) and _cause(instance, run) == "run_failed":
        due = dt.timedelta(minutes=int(run.tags[tries.NEXT_TRY])) + NEXT_TRY_TIMEOUT
        return age > due
    return True


def _recovery(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Recovery | None:
    """Return how another try can recover everything that a scheduled run failed to do; None if it cannot."""
    if tries.MORNING not in run.tags:
        return None
    found = recovery(instance, run.run_id)
    return found if found and found.complete else None


def _is_fetched(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> bool:
    """Return whether another run has fetched what a scheduled run failed to fetch."""
    found = _recovery(instance, run)
    if found is None:
        return False
    days = sorted(map(dt.date.fromisoformat, found.dates))
    try:
        with RateHistory(settings.fx_database) as history:
            if days:
                return set(days) <= set(history.last_fetched(days[0], days[-1]))
            names_read = history.names_last_fetched()
    except StoreError:
        return False
    return names_read is not None and names_read.date().isoformat() >= run.tags[tries.MORNING]


def _cause(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    """Return the kind of fault that ended a run."""
    for event in reversed(step_failures(instance, run.run_id)):
        failure = event.step_failure_data.user_failure_data
        metadata = failure.metadata if failure else {}
        for name in (LAST_ERROR, STOPPED_BY):
            if name in metadata and str(metadata[name].value) in CAUSES:
                return CAUSES[str(metadata[name].value)]
    return "run_failed"


def _fault(
    instance: dg.DagsterInstance, run: dg.DagsterRun, kind: str, work: str, settings: Settings
) -> Fault:
    parts: Sequence[str] = [f"{named(run)}: {stored_reason(instance, run.run_id)}"]
    if _recovery(instance, run):
        if tries.NEXT_TRY not in run.tags:
            parts = [*parts, _LAST_TRY]
        elif kind != "run_failed":
            parts = [*parts, f"The next try is {run.tags[tries.NEXT_TRY]} minutes after this one."]
    if has_failed_days(instance, run.run_id):
        parts = [*parts, _REEXECUTE]
    return Fault(
        kind=kind,
        subject=work if kind == "run_failed" else "",
        text="\n\n".join(parts),
        event=run.run_id,
        link=page_of(run.run_id, settings),
    )
