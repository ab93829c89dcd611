"""Counts the days of a range that are not stored. A series leaves them out, so its response says how many."""

import datetime as dt

from fx_pipeline.api.endpoints.days import Series, stored_days
from fx_pipeline.api.endpoints.inputs import RangeInput
from fx_pipeline.api.reading.queries import Queries


def missing_days(queries: Queries, parsed: RangeInput, read: Series) -> int:
    """Return how many days of the range are not stored, or were not known then.

    A range without an end goes to its last stored day. Today and later days count only up to that day: the
    provider has a day's final rates after its end.
    """
    until, as_of = dt.date.fromisoformat(read.last), parsed.rates.as_of
    if parsed.end:
        today = as_of.instant.date() if as_of else parsed.today
        until = min(parsed.end, max(until, today - dt.timedelta(days=1)))
    days = (until - parsed.start).days + 1
    if len(read.days) >= days:
        return 0
    # A day that is stored may have no rate of the requested currencies.
    return days - stored_days(queries, parsed.start, until, as_of).days
