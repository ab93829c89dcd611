"""Alerts for failed runs and for new, serious check findings.

One run makes one alert. A finding that a check repeats every night is reported once.
"""

import datetime as dt
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import dagster as dg
from pydantic import TypeAdapter

from fx_pipeline.alerts import Alert, send
from fx_pipeline.dagster_internals.runs import check_results
from fx_pipeline.dagster_internals.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG
from fx_pipeline.dagster_names import prefixed
from fx_pipeline.defs import tries
from fx_pipeline.defs.checks import NEWS
from fx_pipeline.defs.failures import Recovery, has_failed_days, recovery, stored_reason
from fx_pipeline.defs.ours import is_ours
from fx_pipeline.fixer.key import AccessKey
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.frames import RateHistory

KNOWN_FOR = dt.timedelta(days=7)
"""How long the same finding is not reported again."""

EARLIER_RESULTS = 50
"""How many earlier results of a check are searched for the same finding."""

TOO_LATE = dt.timedelta(days=1)
"""Runs that ended longer ago are not reported."""

UNDELIVERED_FOR = dt.timedelta(days=3)
"""How long after the end of its run `status` shows an alert that an address did not accept."""

RESTART_TIMEOUT = dt.timedelta(minutes=10)
"""How long to wait for Dagster to restart a killed run before reporting it."""

NEXT_TRY_TIMEOUT = dt.timedelta(minutes=10)
"""How long after its due time the next try of a morning may start. After that, the failed run is reported."""

RUNS_PER_TICK = 50
SECONDS_PER_TICK = 30.0
"""Dagster allows 60 seconds for a tick."""

_LAST_TRY = "This was the last try of the morning. The next one is after midnight (UTC)."

_REEXECUTE = 'To fetch only the failed days, press "Re-execute all" on the page of the run.'

ENDS = (
    dg.DagsterEventType.RUN_FAILURE,
    dg.DagsterEventType.RUN_SUCCESS,
    dg.DagsterEventType.RUN_CANCELED,
)


class Ended(NamedTuple):
    """A run that has ended."""

    run_id: str
    failed: bool
    at: float
    """Unix seconds."""

    @property
    def too_late(self) -> bool:
        """Whether it ended too long ago to report."""
        return time.time() - self.at > TOO_LATE.total_seconds()


class Undelivered(NamedTuple):
    """An alert that not every address accepted at the last attempt."""

    run_id: str
    title: str
    at: float
    """The end of the run: Unix seconds."""
    failures: tuple[str, ...]
    """Why, for each address that did not accept it."""


class Cursor(NamedTuple):
    """The last event that the sensor has seen, the runs not reported yet, and alerts not accepted."""

    after: int = 0
    pending: tuple[Ended, ...] = ()
    undelivered: tuple[Undelivered, ...] = ()


_cursor = TypeAdapter(Cursor)


def undelivered_alerts(cursor: str | None) -> tuple[Undelivered, ...]:
    """Return the alerts that not every address accepted, from the sensor's cursor."""
    return _recent(_cursor.validate_json(cursor).undelivered) if cursor else ()


def _recent(undelivered: Iterable[Undelivered]) -> tuple[Undelivered, ...]:
    earliest = time.time() - UNDELIVERED_FOR.total_seconds()
    return tuple(alert for alert in undelivered if alert.at >= earliest)


@dg.sensor(
    name=prefixed(load_settings(), "alerts"),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sends an alert to the addresses in FX_ALERT_URLS for each failed run and for each new, "
    "serious finding of a check.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Send an alert for each failed run and each new, serious finding of a check.

    If no address accepts an alert, the next ticks send it again, for a day.
    """
    settings = load_settings()
    if not settings.fx_alert_urls:
        return dg.SensorResult(
            skip_reason="FX_ALERT_URLS is not set, so no alerts are sent.", cursor=context.cursor
        )
    before = _cursor.validate_json(context.cursor) if context.cursor else Cursor()
    after, ended = _ended(context.instance, before.after)
    sent: list[Ended] = []
    pending: list[Ended] = []
    waiting: list[Ended] = []
    problems: list[str] = []
    undelivered = {alert.run_id: alert for alert in before.undelivered}
    deadline = time.monotonic() + SECONDS_PER_TICK
    for run in (*before.pending, *ended):
        if time.monotonic() > deadline or _will_be_restarted(context.instance, run):
            pending.append(run)
            continue
        if _waits_for_next_try(context.instance, run):
            waiting.append(run)
            continue
        alert = None if run.too_late else alert_of(context.instance, run, settings)
        if alert is not None:
            delivery = send(alert, settings.fx_alert_urls)
            problems += [f'"{alert.title}" {alert.link}: {failure}.' for failure in delivery.failures]
            (sent if delivery.accepted else pending).append(run)
            undelivered.pop(run.run_id, None)
            if delivery.failures:
                undelivered[run.run_id] = Undelivered(run.run_id, alert.title, run.at, delivery.failures)
        elif run.too_late and run in before.pending:
            problems.append(f"run {run.run_id}: no address accepted the alert for a day, so it is dropped.")
    for problem in problems:
        context.log.error(problem)
    summary = [f"Alerts sent: {len(sent)}; to be retried: {len(pending)}.", *problems]
    if waiting:
        summary.append(f"Failed runs to be retried this morning before an alert is sent: {len(waiting)}.")
    return dg.SensorResult(
        skip_reason="\n".join(summary),
        cursor=_cursor.dump_json(Cursor(after, (*pending, *waiting), _recent(undelivered.values()))).decode(),
    )


def alert_of(instance: dg.DagsterInstance, ended: Ended, settings: Settings) -> Alert | None:
    """Return the alert for a run, or None.

    A cancelled run is not reported, but its findings are. A killed run that was restarted is left to its
    successor, and a run that an outage ended to the next try.
    """
    run = instance.get_run_by_id(ended.run_id)
    if run is None:
        return None
    failed = ended.failed and run.status is not dg.DagsterRunStatus.CANCELED
    if ended.failed and not failed:
        return None  # the event of its cancellation follows
    failed &= AUTO_RETRY_RUN_ID_TAG not in run.tags and not _is_recovered(instance, run, settings)
    checks = _failed_checks(instance, run.run_id)
    if not failed and not any(_is_news(instance, check, run.run_id) for check in checks.values()):
        return None
    # A run from the UI has one of Dagster's own jobs. Its selection says more.
    chosen = run.asset_selection or run.asset_check_selection or ()
    job = ", ".join(sorted(key.to_user_string() for key in chosen)) or run.job_name
    title = f"{job} failed" if failed else f"check failed: {', '.join(checks)}"
    parts = [stored_reason(instance, run.run_id)] if failed else []
    if failed and tries.NEXT_TRY not in run.tags and _recovery(instance, run):
        parts.append(_LAST_TRY)
    parts += [f"Check {name}: {check.description}" for name, check in checks.items()]
    if failed and has_failed_days(instance, run.run_id):
        parts.append(_REEXECUTE)
    return Alert(
        title=f"fx-pipeline: {title}",
        text=_without_key("\n\n".join(parts), settings),
        link=f"{settings.dagster_url}/runs/{run.run_id}",
    )


def _ended(instance: dg.DagsterInstance, after: int) -> tuple[int, list[Ended]]:
    """Return the last event seen, and our next runs that ended after the event `after`, in order."""
    records = [
        record
        for kind in ENDS
        for record in instance.fetch_run_status_changes(
            dg.RunStatusChangeRecordsFilter(kind, after_storage_id=after),  # type: ignore[arg-type]
            limit=RUNS_PER_TICK,
            ascending=True,
        ).records
    ]
    records = sorted(records, key=lambda record: record.storage_id)[:RUNS_PER_TICK]
    ended = [
        Ended(record.run_id, record.event_type is dg.DagsterEventType.RUN_FAILURE, record.timestamp)
        for record in records
        if (run := instance.get_run_by_id(record.run_id)) and is_ours(run)
    ]
    return (records[-1].storage_id if records else after), ended


def _will_be_restarted(instance: dg.DagsterInstance, ended: Ended) -> bool:
    """Return whether Dagster is about to restart a run whose process was killed."""
    run = instance.get_run_by_id(ended.run_id) if ended.failed else None
    return (
        run is not None
        and run.status is dg.DagsterRunStatus.FAILURE
        and run.tags.get(WILL_RETRY_TAG) == "true"
        and AUTO_RETRY_RUN_ID_TAG not in run.tags
        and time.time() - ended.at < RESTART_TIMEOUT.total_seconds()
    )


def _recovery(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Recovery | None:
    """Return how another try can recover everything that a scheduled run failed to do; None if it cannot."""
    if tries.MORNING not in run.tags:
        return None
    found = recovery(instance, run.run_id)
    return found if found and found.complete else None


def _waits_for_next_try(instance: dg.DagsterInstance, ended: Ended) -> bool:
    """Return whether an outage ended a run that its schedule will repeat this morning.

    A run that also has a new finding does not wait.
    """
    run = instance.get_run_by_id(ended.run_id) if ended.failed else None
    if run is None or tries.NEXT_TRY not in run.tags or _recovery(instance, run) is None:
        return False
    due = dt.timedelta(minutes=int(run.tags[tries.NEXT_TRY])) + NEXT_TRY_TIMEOUT
    if time.time() - ended.at > due.total_seconds() or _has_later_try(instance, run):
        return False
    checks = _failed_checks(instance, run.run_id)
    return not any(_is_news(instance, check, run.run_id) for check in checks.values())


def _is_recovered(instance: dg.DagsterInstance, run: dg.DagsterRun, settings: Settings) -> bool:
    """Return whether another try followed the run, or another run fetched what it failed to fetch."""
    found = _recovery(instance, run) if tries.NEXT_TRY in run.tags else None
    if found is None:
        return False
    return _has_later_try(instance, run) or _is_fetched(run, found, settings)


def _has_later_try(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    last = tries.last_run(instance, run.job_name, run.tags[tries.MORNING])
    return last is not None and last.run_id != run.run_id


def _is_fetched(run: dg.DagsterRun, found: Recovery, settings: Settings) -> bool:
    days = sorted(map(dt.date.fromisoformat, found.dates))
    try:
        with RateHistory(settings.fx_database) as history:
            if days:
                return set(days) <= set(history.last_fetched(days[0], days[-1]))
            names_read = history.names_last_fetched()
    except StoreError:
        return False
    return names_read is not None and names_read.date().isoformat() >= run.tags[tries.MORNING]


def _failed_checks(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, dg.AssetCheckEvaluation]:
    """Return a run's serious check failures by name. Of a check that ran twice, the last result counts."""
    last = {
        evaluation.check_name: evaluation
        for event in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        if event.dagster_event
        for evaluation in (event.dagster_event.asset_check_evaluation_data,)
    }
    return {
        name: check
        for name, check in last.items()
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    }


def _is_news(instance: dg.DagsterInstance, check: dg.AssetCheckEvaluation, run_id: str) -> bool:
    """Return whether a check found something that no other run's result has, up to KNOWN_FOR ago."""
    known: set[str] = set()
    for result in check_results(instance, check.asset_check_key, limit=EARLIER_RESULTS):
        recent = time.time() - result.recorded_at < KNOWN_FOR.total_seconds()
        if recent and result.run_id != run_id:
            known.update(_news(result.evaluation))
    return not set(_news(check)) <= known


def _news(check: dg.AssetCheckEvaluation) -> Sequence[str]:
    metadata = check.metadata.get(NEWS)
    value = metadata.value if metadata is not None else []
    return [str(subject) for subject in value] if isinstance(value, list) else []


def _without_key(text: str, settings: Settings) -> str:
    """Return the text without the access key. No message contains it; this guards against one that does."""
    if settings.fixer_access_key is None:
        return text
    return AccessKey(settings.fixer_access_key, "query").redact(text.encode()).decode()
