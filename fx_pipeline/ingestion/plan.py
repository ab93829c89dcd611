"""The calls that a set of dates needs, and whether the quota allows them."""

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from fx_pipeline.rates import MAX_TIMESERIES_DAYS
from fx_pipeline.store.ledger import Quota


@dataclass(frozen=True, slots=True)
class Call:
    """One call for `dates`, newest first. `daily`: it may use the calls reserved for the daily runs."""

    dates: tuple[dt.date, ...]
    daily: bool = False
    series: bool = False

    @property
    def start(self) -> dt.date:
        """The oldest date."""
        return self.dates[-1]

    @property
    def end(self) -> dt.date:
        """The newest date."""
        return self.dates[0]

    @property
    def days(self) -> int:
        """The number of days from the oldest date to the newest."""
        return (self.end - self.start).days + 1


def plan_calls(
    dates: Iterable[dt.date],
    *,
    timeseries: bool = False,
    daily: Collection[dt.date] = (),
    max_days: int = MAX_TIMESERIES_DAYS,
) -> list[Call]:
    """Return the fewest calls for these dates, newest first: one per date, or one per series of `max_days`.

    `daily` are the dates that may use the calls reserved for the daily runs.
    """
    calls: list[Call] = []
    for date in sorted(set(dates), reverse=True):
        last = calls[-1] if calls else None
        if (
            last is not None
            and timeseries
            and (last.end - date).days < max_days
            and last.daily == (date in daily)
        ):
            calls[-1] = replace(last, dates=(*last.dates, date))
        else:
            calls.append(Call((date,), date in daily, timeseries))
    return calls


def split_series(calls: Iterable[Call], max_days: int) -> list[Call]:
    """Return the calls with series of at most `max_days`, newest first. 1: one call per date."""
    calls = list(calls)
    series = [call for call in calls if call.series]
    dates = [date for call in series for date in call.dates]
    daily = {date for call in series if call.daily for date in call.dates}
    shorter = plan_calls(dates, timeseries=max_days > 1, daily=daily, max_days=max_days)
    return newest_first([*(call for call in calls if not call.series), *shorter])


def newest_first(calls: Iterable[Call]) -> list[Call]:
    """Return the calls in the order in which they are made."""
    return sorted(calls, key=lambda call: call.end, reverse=True)


def quota_warning(calls: Sequence[Call], quota: Quota | None) -> str | None:
    """Return the warning that the quota is too small for these calls, or nearly used; None if neither."""
    if quota is None:
        return None
    daily = sum(call.daily for call in calls)
    allowed = min(daily, quota.left(daily=True)) + min(len(calls) - daily, quota.left())
    if allowed < len(calls):
        reach = (
            f"it fetches {calls[0].end} back to {calls[allowed - 1].start}"
            if allowed
            else "it fetches nothing"
        )
        return f"This needs {len(calls)} calls, but only {allowed} may be made: {reach}. {quota}."
    return f"{quota}." if quota.nearly_used else None
