"""The range of days that the page of a currency shows: the requested one, cut to the days that have rates."""

import datetime as dt
from calendar import monthrange
from typing import NamedTuple

from fx_pipeline.api.endpoints.parameters import Parameters, quoted, require_ordered
from fx_pipeline.api.errors import INVALID_END_DATE, INVALID_START_DATE, INVALID_TIME_FRAME, ApiError

PRESETS = {"1m": ("1M", 1), "1y": ("1Y", 12), "5y": ("5Y", 60), "all": ("All", None)}
"""The ranges with a name in the URL: the label of the link, and the length in months."""
DEFAULT = "1y"


class Range(NamedTuple):
    """The days from `start` to `end`, both included."""

    start: dt.date
    end: dt.date

    def __str__(self) -> str:
        return f"{self.start} to {self.end}"

    @property
    def days(self) -> int:
        """The number of days."""
        return (self.end - self.start).days + 1

    def within(self, limits: "Range") -> "Range | None":
        """Return the days that are also in `limits`; None if there are none."""
        start, end = max(self.start, limits.start), min(self.end, limits.end)
        return Range(start, end) if start <= end else None


def requested(parameters: Parameters, limits: Range) -> Range:
    """Return the range in `start_date` and `end_date`, or the preset in `range`.

    A missing date leaves that end open. Raise ApiError for a bad date or preset, for both together, or if the
    end is before the start.
    """
    start = parameters.text("start_date", INVALID_START_DATE)
    end = parameters.text("end_date", INVALID_END_DATE)
    key = parameters.text("range")
    if key and key not in PRESETS:
        raise ApiError(
            INVALID_TIME_FRAME, f"'range' is {quoted(key)}, which is none of {', '.join(PRESETS)}."
        )
    if key and (start or end):
        raise ApiError(INVALID_TIME_FRAME, "The request has 'range' and dates. Send one of them.")
    if not start and not end:
        return preset(key or DEFAULT, limits)
    first = parameters.date(start, INVALID_START_DATE) if start else limits.start
    last = parameters.date(end, INVALID_END_DATE) if end else limits.end
    if start and end:
        require_ordered(first, last)
    # An open end reaches the limit, unless the other date is beyond it.
    return Range(first if start else min(first, last), last if end else max(first, last))


def preset(key: str, limits: Range) -> Range:
    """Return the last days of `limits`, as many as the preset has if there are so many."""
    return Range(max(limits.start, _start(key, limits)), limits.end)


def complete_presets(limits: Range) -> list[str]:
    """Return the presets that are as long as their name says."""
    return [key for key in PRESETS if _start(key, limits) >= limits.start]


def _start(key: str, limits: Range) -> dt.date:
    _, months = PRESETS[key]
    return months_before(limits.end, months) if months else limits.start


def months_before(date: dt.date, months: int) -> dt.date:
    """Return the same day `months` earlier, or the last day of that month if it is shorter."""
    year, month = divmod(date.year * 12 + date.month - 1 - months, 12)
    return dt.date(year, month + 1, min(date.day, monthrange(year, month + 1)[1]))
