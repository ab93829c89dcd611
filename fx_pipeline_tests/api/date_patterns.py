"""Patterns of the days and instants of a history, which limit the generated requests to stored data."""

import datetime as dt

_TIME = r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
_DAY_OF_MONTH = "0[1-9]|[12][0-9]|3[01]"
_ZONE = "(Z|[+-](0[0-9]|1[0-2]):[0-5][0-9])"


def instants_between(first: dt.date, today: dt.date) -> str:
    """Return a pattern of the instants from the day `first` to the end of `today` (UTC)."""
    # West of Greenwich, an instant of today may be tomorrow in UTC.
    before = days_between(first, max(first, today - dt.timedelta(days=1)))
    return f"({days_between(first, today)}{_TIME}Z|{before}{_TIME}{_ZONE})"


def days_between(first: dt.date, last: dt.date) -> str:
    """Return a pattern of the days from `first` to `last`.

    It accepts a 31st in every month. `format: date` excludes the ones that do not exist.
    """
    whole_years, spans = [], []
    for year in range(first.year, last.year + 1):
        if first <= dt.date(year, 1, 1) and dt.date(year, 12, 31) <= last:
            whole_years.append(f"{year}")
            continue
        from_month = first.month if year == first.year else 1
        to_month = last.month if year == last.year else 12
        for month in range(from_month, to_month + 1):
            from_day = first.day if (year, month) == (first.year, first.month) else 1
            to_day = last.day if (year, month) == (last.year, last.month) else 31
            days = "|".join(f"{day:02}" for day in range(from_day, to_day + 1))
            spans.append(f"{year}-{month:02}-({days if (from_day, to_day) != (1, 31) else _DAY_OF_MONTH})")
    if whole_years:
        spans.append(f"({'|'.join(whole_years)})-(0[1-9]|1[0-2])-({_DAY_OF_MONTH})")
    return f"({'|'.join(spans)})"
