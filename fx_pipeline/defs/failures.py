"""Why a run failed: the failure that a run raises, and what schedules and alerts read from it.

The metadata of a failure says whether another attempt can help, and for which dates. The schedules read it to
decide on the next try, the alerts to decide whether to wait for it.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import dagster as dg

from fx_pipeline.clock import yesterday
from fx_pipeline.dagster_internals.runs import is_interrupted_step
from fx_pipeline.dagster_names import partitions_url
from fx_pipeline.fixer.errors import (
    BadResponse,
    FixerError,
    LongWaitRequested,
    NoRates,
    ProviderDown,
    Unfinished,
)
from fx_pipeline.ingestion.results import Outcome
from fx_pipeline.rates import contiguous
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.ledger import QuotaReached

STOPPED_BY = "stopped by"
"""Metadata: the kind of error that ended the run before it had tried all its dates."""

LAST_ERROR = "last error"
"""Metadata: after an outage, the kind of the provider's last error."""

TEMPORARY = "temporary"
"""Metadata: whether another attempt can help with everything that failed."""

TRY_AGAIN = "try again"
"""Metadata: the dates that another attempt may fetch."""

REFETCH = "refetch"
"""Metadata: the link to Dagster's dialog "Materialize" with the failed dates selected."""

ATTEMPTS = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
"""How often, and how soon, the step of a run is attempted again."""

CANCELLED = "The run was cancelled. Days that it had stored are kept."

Fatal = FixerError | QuotaReached | StoreError
"""Errors that end a run: no further date can be fetched or stored."""


class Cancelled(dg.DagsterExecutionInterruptedError, dg.DagsterError):
    """Ends a cancelled run.

    A DagsterError too, because Dagster's retry policy treats a plain interrupt as a failure and retries it.
    """

    def __init__(self) -> None:
        super().__init__(CANCELLED)


def run_failure(
    failed: Iterable[Outcome] = (),
    *,
    error: Fatal | None = None,
    missing: Collection[dt.date] = (),
    answered: bool = False,
) -> dg.Failure:
    """Return the failure of a run, with its dates grouped by reason.

    If `error` ended the run early, these dates are `missing`, and of the `failed` dates only those with their
    own error are listed. `answered`: the provider sent other dates.
    """
    by_date = {outcome.date: outcome.error for outcome in failed if outcome.error is not None}
    if error is not None:
        by_date = {date: own for date, own in by_date.items() if own.scope == "date"}
    by_reason: dict[str, set[dt.date]] = defaultdict(set)
    for date, own in by_date.items():
        by_reason[own.reason].add(date)
    lines = [
        f"{len(dates)} {'date' if len(dates) == 1 else 'dates'}: {reason}: {date_ranges(dates)}"
        for reason, dates in by_reason.items()
    ]
    later = {date for date, own in by_date.items() if _may_succeed_later(date, own)}
    allow_retries = any(own.retryable for own in by_date.values())
    can_recover = True
    if error is not None:
        lines.insert(0, str(error))
        allow_retries = isinstance(error, FixerError) and error.retryable
        # An outage is not retryable: repeating the step within seconds would only make more requests. The
        # schedule's next try, hours later, can help.
        can_recover = allow_retries or isinstance(error, ProviderDown | LongWaitRequested)
        if left := set(missing) - by_date.keys():
            by_reason["stopped before"] = left
            lines.append(f"Not fetched: {date_ranges(left)}")
            later |= left if can_recover else set()
    complete = can_recover and later == set().union(*by_reason.values())
    return dg.Failure(
        description="\n".join(lines),
        metadata={
            **{reason: date_ranges(dates) for reason, dates in by_reason.items()},
            **_refetch(set().union(*by_reason.values())),
            **({} if error is None else {STOPPED_BY: type(error).__name__}),
            **({} if answered and error is None else _last_error(by_date.values(), error)),
            **recovery_metadata(complete=complete, dates=later),
        },
        allow_retries=allow_retries,
    )


def _last_error(own: Collection[FixerError], error: Fatal | None) -> "dict[str, dg.RawMetadataValue]":
    """Return the metadata about an outage: its last error, even if it did not end the run early.

    A response that cannot be used is none: the provider responds.
    """
    if isinstance(error, ProviderDown):
        return {LAST_ERROR: error.last}
    if error is None and own and all(one.retryable and not isinstance(one, BadResponse) for one in own):
        return {LAST_ERROR: type([*own][-1]).__name__}
    return {}


def next_attempt(failure: dg.Failure, retry_number: int) -> dg.RetryRequested | None:
    """Return the request for another attempt after an attempt that failed, or None if there is no other.

    Dagster's policy would make the same request. But it would also end the last attempt with its own message,
    "Exceeded max_retries", before the reason, and show a stack with each attempt.
    """
    if not failure.allow_retries or retry_number >= ATTEMPTS.max_retries:
        return None
    request = dg.RetryRequested(ATTEMPTS.max_retries, ATTEMPTS.calculate_delay(retry_number + 1))
    request.__cause__ = failure
    return request


def _refetch(dates: Collection[dt.date]) -> "dict[str, dg.RawMetadataValue]":
    if not dates:
        return {}
    return {REFETCH: dg.MetadataValue.url(partitions_url(load_settings(), contiguous(dates)))}


def _may_succeed_later(date: dt.date, error: FixerError) -> bool:
    """Return whether Fixer may have the date later today: after an outage, or because it publishes late."""
    return error.retryable or (date == yesterday() and isinstance(error, NoRates | Unfinished))


def recovery_metadata(*, complete: bool, dates: Collection[dt.date]) -> "dict[str, dg.RawMetadataValue]":
    """Return the metadata that `recovery` reads."""
    return {
        TEMPORARY: complete,
        TRY_AGAIN: dg.MetadataValue.json(sorted(date.isoformat() for date in dates)),
    }


def date_ranges(dates: Iterable[dt.date]) -> str:
    """Return the dates as text, consecutive ones as a range."""
    return ", ".join(
        f"{first}" if first == last else f"{first} to {last}" for first, last in contiguous(dates)
    )


@dataclass(frozen=True, slots=True)
class Recovery:
    """What another attempt can do about a failed run."""

    complete: bool
    """Whether it may fetch everything that failed."""
    dates: frozenset[str]
    """The dates that it may fetch."""


def recovery(instance: dg.DagsterInstance, run_id: str) -> Recovery | None:
    """Return what another attempt can do about a run.

    None if no step failed: the run succeeded, is still running, or was ended from outside.
    """
    events = step_failures(instance, run_id)
    if not events or is_interrupted_step(events[-1]):
        return None
    failure = events[-1].step_failure_data.user_failure_data
    metadata = failure.metadata if failure else {}
    complete, dates = metadata.get(TEMPORARY), metadata.get(TRY_AGAIN)
    listed = dates.value if isinstance(dates, dg.JsonMetadataValue) else []
    return Recovery(
        complete=bool(complete and complete.value),
        dates=frozenset(map(str, listed)) if isinstance(listed, list) else frozenset(),
    )


def step_failures(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    """Return the stored events of a run's failed steps."""
    records = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return [record.dagster_event for record in records if record.dagster_event]


def has_failed_days(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run failed because of days that a re-execution fetches."""
    data = [event.step_failure_data.user_failure_data for event in step_failures(instance, run_id)]
    return any(failure is not None and REFETCH in failure.metadata for failure in data)


def stored_reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return why a stored run failed, from its events."""
    if steps := step_failures(instance, run_id):
        return run_reason(steps)
    records = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return run_reason(record.dagster_event for record in records if record.dagster_event)


def run_reason(events: Iterable[dg.DagsterEvent]) -> str:
    """Return why a run failed: as its steps say, or as Dagster does if no step failed."""
    failures = [event for event in events if event.is_failure]
    reasons = [step_reason(event) for event in failures if event.is_step_failure]
    return "\n".join(reasons or [event.message or "" for event in failures]) or "The run failed."


def step_reason(event: dg.DagsterEvent) -> str:
    """Return why a step failed: what its failure says, or the message of the first error."""
    if is_interrupted_step(event):
        return CANCELLED
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    while error and error.cause:
        error = error.cause
    return error.message.strip() if error else event.message or "The step failed."
