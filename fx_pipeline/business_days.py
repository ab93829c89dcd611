"""Business days: the days on which every provider has new rates.

They are Monday to Friday without the closing days of TARGET, the payment system of the European Central Bank
(ecb.europa.eu, "Long-term calendar for TARGET closing days"). In 27 years the bank has published its rates
on each of them.
"""

import datetime as dt
from functools import lru_cache

from dateutil.easter import easter

from fx_pipeline.rates import date_range

_DAY = dt.timedelta(days=1)

_CLOSED = {(1, 1), (5, 1), (12, 25), (12, 26)}
_CLOSED_ONCE = {dt.date(1999, 12, 31), dt.date(2001, 12, 31)}
"""For the year 2000, and for the change to euro notes."""


def is_business_day(date: dt.date) -> bool:
    """Return whether new rates can be expected for this day."""
    if date.weekday() >= 5 or (date.month, date.day) in _CLOSED or date in _CLOSED_ONCE:
        return False
    return date not in _around_easter(date.year)


@lru_cache
def _around_easter(year: int) -> tuple[dt.date, dt.date]:
    """Return Good Friday and Easter Monday."""
    sunday = easter(year)
    return sunday - 2 * _DAY, sunday + _DAY


def business_days(first: dt.date, last: dt.date) -> int:
    """Return the number of business days from `first` to `last`, both included."""
    return sum(map(is_business_day, date_range(first, last)))
