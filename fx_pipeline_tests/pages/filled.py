"""Database files for the tests of pages: the sandbox's history up to yesterday."""

import datetime as dt
from collections.abc import Collection, Sequence
from pathlib import Path

from fx_pipeline.clock import end_of_day
from fx_pipeline.fixer.sandbox.ecb import EcbHistory
from fx_pipeline.rates import DayRates, RejectedRate, date_range
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of

CHUNK = 365
"""Days in one response."""


def fill(
    path: Path,
    start: dt.date,
    end: dt.date,
    *,
    currencies: int = 0,
    without: Collection[dt.date] = (),
    revised: Sequence[tuple[dt.date, str, float]] = (),
    rejected: Sequence[tuple[dt.date, str, str]] = (),
) -> Path:
    """Store the days from `start` to `end` (inclusive), except those in `without`.

    `currencies` is the parameter of EcbHistory. `revised` has values that were first stored with a factor.
    `rejected` has values that were received with the good values of their day, and were not stored.
    """
    history = EcbHistory(currencies)
    days = [
        DayRates(date=date, base="EUR", timestamp=end_of_day(date), rates=history.rates(date))
        for date in date_range(start, end)
        if date not in without
    ]
    wrong: dict[dt.date, dict[str, float]] = {}
    for date, code, factor in revised:
        wrong.setdefault(date, dict(history.rates(date)))[code] *= factor
    bad: dict[dt.date, list[RejectedRate]] = {}
    for date, code, value in rejected:
        bad.setdefault(date, []).append(RejectedRate(date, code, value, "not above zero"))
    early = {day.date: day for day in days}
    for date, rates in wrong.items():
        early[date] = DayRates(date=date, base="EUR", timestamp=end_of_day(date), rates=rates)
    late = [
        DayRates(
            date=date,
            base="EUR",
            timestamp=end_of_day(date),
            rates=history.rates(date),
            rejected=tuple(bad.get(date, ())),
        )
        for date in sorted({*wrong, *bad})
    ]
    with RateStore(path) as store:
        store.want(list(date_range(start, end)))
        store.record([fetch_of(endpoint="symbols", provider="sandbox", names=history.names)])
        listed = list(early.values())
        for first in range(0, len(listed), CHUNK):
            some = listed[first : first + CHUNK]
            store.record([fetch_of(*some, endpoint="timeseries", provider="sandbox")])
        store.record([fetch_of(day, provider="sandbox") for day in late])
    return path
