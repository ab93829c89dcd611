"""Scheduled retries: after an outage, a schedule starts up to three more runs on the same morning.

Tags on each run tell the next try which dates are missing, and the alerts whether another try follows.
"""

import datetime as dt

import dagster as dg

HOURS = (0, 1, 3, 6)
"""The hours after midnight (UTC) of the tries. Those after the first fetch only what is left."""

MORNING = "fx-pipeline/morning"
"""Tag of a run: the day (UTC) that its schedule ran for."""

NEXT_TRY = "fx-pipeline/minutes_to_next_try"
"""Tag of a run: minutes until the next try. The last try of a morning does not have it."""


def cron(minute: int) -> str:
    """Return the cron expression of all tries, at this minute of the hour."""
    return f"{minute} {','.join(map(str, HOURS))} * * *"


def is_first(at: dt.datetime) -> bool:
    """Return whether the try due at this instant is the first of its morning."""
    return at.hour <= HOURS[0]


def tags(at: dt.datetime) -> dict[str, str]:
    """Return the tags of a run of the try due at this instant."""
    later = [hour for hour in HOURS if hour > at.hour]
    next_try = {NEXT_TRY: str(60 * (later[0] - at.hour))} if later else {}
    return {MORNING: at.date().isoformat(), **next_try}


def last_run(instance: dg.DagsterInstance, job: str, morning: str) -> dg.DagsterRun | None:
    """Return the newest run that a schedule started for a morning, or None."""
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags={MORNING: morning}), limit=1)
    return runs[0] if runs else None
