"""The tries of a morning: a scheduled run that an outage has ended is repeated later the same day.

The runs carry tags and their failures metadata, from which the next try knows what is left, and the alerts
know whether there is a next try.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import dagster as dg

from fx_pipeline.dagster_internals import is_interrupted_step

HOURS = (0, 1, 3, 6)
"""When a schedule tries, in hours after midnight (UTC). From the second hour on, only for what is left."""

MORNING = "fx-pipeline/morning"
"""Tag of a run: the day (UTC) that its schedule ran for."""

NEXT_TRY = "fx-pipeline/minutes_to_next_try"
"""Tag of a run: how long after this try the next one is due. The last try of a morning has none."""

TEMPORARY = "temporary"
"""Metadata of a failure: whether nothing failed that another try cannot mend."""

TRY_AGAIN = "try again"
"""Metadata of a failure: the dates that another try may bring."""


@dataclass(frozen=True, slots=True)
class Failed:
    """How a run failed: whether all of it may be mended by another try, and for which dates that is so."""

    temporary: bool
    dates: frozenset[str]


def cron(minute: int) -> str:
    """The cron expression of all tries, at this minute."""
    return f"{minute} {','.join(map(str, HOURS))} * * *"


def is_first(at: dt.datetime) -> bool:
    """Whether the try that is due at this instant is the first of its morning."""
    return at.hour <= HOURS[0]


def tags(at: dt.datetime) -> dict[str, str]:
    """The tags of a run of the try that is due at this instant."""
    later = [hour for hour in HOURS if hour > at.hour]
    next_try = {NEXT_TRY: str(60 * (later[0] - at.hour))} if later else {}
    return {MORNING: at.date().isoformat(), **next_try}


def metadata(*, temporary: bool, dates: Collection[dt.date]) -> dict[str, bool | dg.JsonMetadataValue]:
    """The metadata of a failure; `failure_of` reads it."""
    return {
        TEMPORARY: temporary,
        TRY_AGAIN: dg.MetadataValue.json(sorted(date.isoformat() for date in dates)),
    }


def last_run(instance: dg.DagsterInstance, job: str, morning: str) -> dg.DagsterRun | None:
    """The newest run that a schedule has started for a morning; None if there is none."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags={MORNING: morning}), limit=1)
    return runs[0] if runs else None


def failure_of(instance: dg.DagsterInstance, run_id: str) -> Failed | None:
    """How a run's step failed. None if none did: the run is not over, it succeeded, or it was ended."""
    events = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    if not events or events[-1].dagster_event is None:
        return None
    if is_interrupted_step(events[-1].dagster_event):
        return None
    step = events[-1].dagster_event.step_failure_data
    found = step.user_failure_data.metadata if step.user_failure_data else {}
    temporary, dates = found.get(TEMPORARY), found.get(TRY_AGAIN)
    listed = dates.value if isinstance(dates, dg.JsonMetadataValue) else []
    return Failed(
        temporary=bool(temporary and temporary.value),
        dates=frozenset(map(str, listed)) if isinstance(listed, list) else frozenset(),
    )
