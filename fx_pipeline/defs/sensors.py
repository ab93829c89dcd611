"""What is told to people: each run that failed, and each that found something wrong with the rates.

One run is one message. What a check has found is told once, not each night anew.
"""

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import dagster as dg
from pydantic import TypeAdapter

from fx_pipeline.alerts import Alert, send
from fx_pipeline.dagster_internals import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG, check_results
from fx_pipeline.defs import tries
from fx_pipeline.defs.checks import NEWS
from fx_pipeline.fixer.key import AccessKey
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.frames import RateHistory

TOLD_FOR = dt.timedelta(days=7)
"""For so long, what a check has found is no news."""

EARLIER_RESULTS = 50
"""Results of a check that are searched for whether something is news."""

TOO_LATE = dt.timedelta(days=1)
"""A run that ended longer ago is told no more."""

TRIED_AGAIN_WITHIN = dt.timedelta(minutes=10)
"""A killed run that Dagster means to start again, and has not by then, is told as it is."""

NEXT_TRY_WITHIN = dt.timedelta(minutes=10)
"""If the next try of a morning is later than due by this much, the failure of the last one is alerted."""

RUNS_A_TICK = 50
SECONDS_A_TICK = 30.0
"""Dagster allows a tick 60 seconds."""

_LAST_TRY = "This was the last try of the morning; the next one is after midnight (UTC)."

ENDS = (
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_CANCELED,
)


class Ended(NamedTuple):
    """A run that is over."""

    run_id: str
    failed: bool
    at: float
    """Unix seconds."""

    @property
    def too_late(self) -> bool:
        """Whether it ended too long ago to be told."""
        return time.time() - self.at > TOO_LATE.total_seconds()


class Cursor(NamedTuple):
    """Where the last tick stopped: the last end of a run that it saw, and the runs still to be told."""

    after: int = 0
    pending: tuple[Ended, ...] = ()


_cursor = TypeAdapter(Cursor)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the addresses in FX_ALERT_URLS of each failed run and each grave finding of a check.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Each run that failed, and each grave finding of a check, once, to the addresses in FX_ALERT_URLS.

    An alert that no address took is tried again at the next ticks, for a day.
    """
    settings = load_settings()
    if not settings.fx_alert_urls:
        return dg.SensorResult(skip_reason="FX_ALERT_URLS is not set: nobody is told.", cursor=context.cursor)
    before = _cursor.validate_json(context.cursor) if context.cursor else Cursor()
    after, ended = _ended(context.instance, before.after)
    sent: list[Ended] = []
    pending: list[Ended] = []
    waiting: list[Ended] = []
    problems: list[str] = []
    until = time.monotonic() + SECONDS_A_TICK
    for run in (*before.pending, *ended):
        if time.monotonic() > until or _is_to_be_tried_again(context.instance, run):
            pending.append(run)
            continue
        if _waits_for_next_try(context.instance, run):
            waiting.append(run)
            continue
        alert = None if run.too_late else alert_of(context.instance, run, settings)
        if alert is not None:
            delivery = send(alert, settings.fx_alert_urls)
            problems += [f'"{alert.title}" {alert.link}: {failure}.' for failure in delivery.failures]
            (sent if delivery.taken else pending).append(run)
        elif run.too_late and run in before.pending:
            problems.append(f"run {run.run_id}: given up after a day; nobody was told of it.")
    for problem in problems:
        context.log.error(problem)
    summary = [f"Alerts sent: {len(sent)}; to be tried again: {len(pending)}.", *problems]
    if waiting:
        summary.append(
            f"Failed runs that are repeated this morning, before anything is alerted: {len(waiting)}."
        )
    return dg.SensorResult(
        skip_reason="\n".join(summary),
        cursor=_cursor.dump_json(Cursor(after, (*pending, *waiting))).decode(),
    )


def alert_of(instance: dg.DagsterInstance, ended: Ended, settings: Settings) -> Alert | None:
    """What is to be told of a run; None if nothing is: it did what it should, or found what is known.

    That it was cancelled is no news: somebody did that. What it had found by then is. Nor is it one that it
    was killed, or ended by an outage, where it was started again: that run tells how it ended.
    """
    run = instance.get_run_by_id(ended.run_id)
    if run is None:
        return None
    failed = ended.failed and run.status is not dg.DagsterRunStatus.CANCELED
    if ended.failed and not failed:
        return None  # its cancellation comes next, as an end of its own
    failed &= AUTO_RETRY_RUN_ID_TAG not in run.tags and not _is_mended(instance, run, settings)
    found = _failed_checks(instance, run.run_id)
    if not failed and not any(_is_news(instance, check, run.run_id) for check in found.values()):
        return None
    # From the UI the job is one of Dagster's own: what it was to do says more.
    chosen = run.asset_selection or run.asset_check_selection or ()
    job = ", ".join(sorted(key.to_user_string() for key in chosen)) or run.job_name
    happened = f"{job} failed" if failed else f"check failed: {', '.join(found)}"
    parts = [_reason(instance, run.run_id)] if failed else []
    if failed and tries.NEXT_TRY not in run.tags and _temporary(instance, run):
        parts.append(_LAST_TRY)
    parts += [f"Check {name}: {check.description}" for name, check in found.items()]
    return Alert(
        title=f"fx-pipeline: {happened}",
        text=_without_key("\n\n".join(parts), settings),
        link=f"{settings.dagster_url}/runs/{run.run_id}",
    )


def _ended(instance: dg.DagsterInstance, after: int) -> tuple[int, list[Ended]]:
    """The next runs that ended after that event, in their order, and the last event seen."""
    records = [
        record
        for kind in ENDS
        for record in instance.fetch_run_status_changes(
            dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after),  # type: ignore[arg-type]
            limit=RUNS_A_TICK,
            ascending=True,
        ).records
    ]
    records = sorted(records, key=lambda record: record.storage_id)[:RUNS_A_TICK]
    ended = [
        Ended(record.run_id, record.event_type is dg.DagsterEventType.RUN_FAILURE, record.timestamp)
        for record in records
    ]
    return (records[-1].storage_id if records else after), ended


def _is_to_be_tried_again(instance: dg.DagsterInstance, ended: Ended) -> bool:
    """Whether Dagster is about to start a run once more, because its process was killed."""
    run = instance.get_run_by_id(ended.run_id) if ended.failed else None
    return (
        run is not None
        and run.status is dg.DagsterRunStatus.FAILURE
        and run.tags.get(WILL_RETRY_TAG) == "true"
        and AUTO_RETRY_RUN_ID_TAG not in run.tags
        and time.time() - ended.at < TRIED_AGAIN_WITHIN.total_seconds()
    )


def _temporary(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tries.Failed | None:
    """How a run of a morning failed, if only for reasons that another try may mend."""
    if tries.MORNING not in run.tags:
        return None
    failure = tries.failure_of(instance, run.run_id)
    return failure if failure and failure.temporary else None


def _waits_for_next_try(instance: dg.DagsterInstance, ended: Ended) -> bool:
    """Whether an outage ended a run and its schedule is to try again this morning: nothing is alerted yet.

    A run that also found something wrong with the rates does not wait.
    """
    run = instance.get_run_by_id(ended.run_id) if ended.failed else None
    if run is None or tries.NEXT_TRY not in run.tags or _temporary(instance, run) is None:
        return False
    due = dt.timedelta(minutes=int(run.tags[tries.NEXT_TRY])) + NEXT_TRY_WITHIN
    if time.time() - ended.at > due.total_seconds() or _has_later_try(instance, run):
        return False
    found = _failed_checks(instance, run.run_id)
    return not any(_is_news(instance, check, run.run_id) for check in found.values())


def _is_mended(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> bool:
    """Whether another try has followed the run, or what it was to fetch has come in another way."""
    failure = _temporary(instance, run) if tries.NEXT_TRY in run.tags else None
    if failure is None:
        return False
    return _has_later_try(instance, run) or _has_come(run, failure, settings)


def _has_later_try(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    last = tries.last_run(instance, run.job_name, run.tags[tries.MORNING])
    return last is not None and last.run_id != run.run_id


def _has_come(run: dg.DagsterRun, failure: tries.Failed, settings: Settings) -> bool:
    days = sorted(map(dt.date.fromisoformat, failure.dates))
    try:
        with RateHistory(settings.fx_database) as history:
            if days:
                return set(days) <= set(history.last_fetched(days[0], days[-1]))
            names_read = history.names_last_fetched()
    except StoreError:
        return False
    return names_read is not None and names_read.date().isoformat() >= run.tags[tries.MORNING]


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, dg.AssetCheckEvaluation]:
    """The checks that a run left red, by name; of a check made at each attempt, the last result counts."""
    last = {
        evaluation.check_name: evaluation
        for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if event.dagster_event
        for evaluation in (event.dagster_event.asset_check_evaluation_data,)
    }
    return {name: check for name, check in last.items() if _is_grave(check)}


def _is_grave(check: dg.AssetCheckEvaluation) -> bool:
    return not check.passed and check.severity is dg.AssetCheckSeverity.ERROR


def _is_news(instance: dg.DagsterInstance, check: dg.AssetCheckEvaluation, run_id: str) -> bool:
    """Whether a check found something that its results of other runs, up to TOLD_FOR ago, did not have."""
    known: set[str] = set()
    for result in check_results(instance, check.asset_check_key, limit=EARLIER_RESULTS):
        recent = time.time() - result.recorded_at < TOLD_FOR.total_seconds()
        if recent and result.run_id != run_id:
            known.update(_news(result.evaluation))
    return not set(_news(check)) <= known


def _news(check: dg.AssetCheckEvaluation) -> Sequence[str]:
    held = check.metadata.get(NEWS)
    value = held.value if held is not None else []
    return [str(subject) for subject in value] if isinstance(value, list) else []


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed: in the words of the step that did, or of Dagster where no step said anything."""
    steps = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    reasons = [
        reason for event in steps if event.dagster_event for reason in _step_reason(event.dagster_event)
    ]
    if not reasons:
        ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        reasons = [event.dagster_event.message or "" for event in ends if event.dagster_event]
    return "\n".join(reasons) or "The run failed."


def _step_reason(event: dg.DagsterEvent) -> Iterator[str]:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        yield failure.user_failure_data.description
    elif failure.error:
        error = failure.error
        while error.cause is not None:
            error = error.cause
        yield error.message.strip()


def _without_key(text: str, settings: Settings) -> str:
    """No message here is made from the key; should one of another's hold it, it goes no further."""
    if settings.fixer_access_key is None:
        return text
    return AccessKey(settings.fixer_access_key, "query").redact(text.encode()).decode()
