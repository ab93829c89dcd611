"""Dates as the tests write them."""

import datetime as dt

from fx_pipeline.rates import date_range


def dates_between(first: str, last: str) -> list[str]:
    """Return all dates from `first` to `last`, both included."""
    return [str(date) for date in date_range(dt.date.fromisoformat(first), dt.date.fromisoformat(last))]
