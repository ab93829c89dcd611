"""Instants and days in UTC: what time it is, and how instants are written."""

import datetime as dt
from collections.abc import Callable

Clock = Callable[[], dt.datetime]

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


def utc_now() -> dt.datetime:
    """Return the current instant."""
    return dt.datetime.now(dt.timezone.utc)


def today() -> dt.date:
    """Return the current day."""
    return utc_now().date()


def yesterday() -> dt.date:
    """Return the last day that is over."""
    return today() - dt.timedelta(days=1)


def instant_text(instant: dt.datetime) -> str:
    """Return an instant in the form in which it is stored. With six decimals, such texts sort by time."""
    return instant.astimezone(dt.timezone.utc).strftime(_FORMAT)


def parse_instant(text: str) -> dt.datetime:
    """Return the instant that `instant_text` wrote."""
    return dt.datetime.strptime(text, _FORMAT).replace(tzinfo=dt.timezone.utc)


def end_of_day(date: dt.date) -> int:
    """Return the last second of a day in Unix time: Fixer's timestamp of a finished day."""
    return int(dt.datetime.combine(date, dt.time(23, 59, 59), dt.timezone.utc).timestamp())
