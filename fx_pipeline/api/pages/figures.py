"""Formats rates, dates and changes for pages, and sums up histories. Pure functions.

Pages show values in this form. The API sends the unrounded numbers.
"""

import datetime as dt
import math
import re
from calendar import isleap, monthrange
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from fx_pipeline.rates import fluctuation

DIGITS = 6
"""Significant digits of a rate on a page: as many as the provider's values have."""

MINUS = "\N{MINUS SIGN}"
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")

Point = tuple[str, float]
"""A day (YYYY-MM-DD) and its rate."""


YEAR, MONTH = len("2026"), len("2026-03")
"""The length of the name of a year and of a month: the start of a day's text."""


class Summary(NamedTuple):
    """The first, last, highest and lowest rate of a period, the mean of all, and the change in percent.

    `days` of the `of_days` days of the period have a rate. The change is from the first day to the last; None
    if there is only one. That of a year or month is from the day before it; None if that day has no rate.
    """

    name: str
    first: Point
    last: Point
    high: Point
    low: Point
    mean: float
    days: int
    of_days: int
    change: float | None


def shown_rate(rate: float) -> str:
    """Return a rate with six significant digits: 1.16500, 19,700.0, 0.000223000."""
    rounded = float(f"{rate:.{DIGITS - 1}e}")
    exponent = math.floor(math.log10(rounded))
    if exponent < -DIGITS:
        return f"{rounded:.{DIGITS - 1}e}".replace("e-0", "e-")
    return f"{rounded:,.{max(0, DIGITS - 1 - exponent)}f}"


def change_percent(earlier: float, later: float) -> float:
    """Return the change between two rates, in percent of the first."""
    return fluctuation(earlier, later)[1]


def shown_change(percent: float) -> str:
    """Return a change with its sign and two decimals: +0.26 %, −1.04 %, 0.00 %."""
    text = f"{abs(percent):,.2f}{NARROW_SPACE}%"
    return f"{_sign(percent)}{text}"


def direction(percent: float) -> str:
    """Return `up` or `down`, or `flat` for a change that is shown as 0.00 %."""
    return {"+": "up", MINUS: "down", "": "flat"}[_sign(percent)]


def shown_date(date: str) -> str:
    """Return a day in words: 9 March 2026."""
    day = dt.date.fromisoformat(date)
    return f"{day.day} {day:%B} {day.year}"


def weekday(date: str) -> str:
    """Return the day of the week: Monday."""
    return f"{dt.date.fromisoformat(date):%A}"


def shown_timestamp(seconds: int) -> str:
    """Return a Unix time as text: 2026-03-09 23:59:59 UTC."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def shown_instant(instant: str) -> str:
    """Return a stored instant without its fraction: 2026-03-10 00:05:00 UTC."""
    return f"{instant[:10]} {instant[11:19]} UTC"


def shown_age(days: int) -> str:
    """Return how long ago a day was: yesterday, 4 days ago."""
    return {0: "today", 1: "yesterday"}.get(days, f"{days:,} days ago")


def shown_column(name: str) -> str:
    """Return the heading of a column: Superseded by for `superseded_by`, Fetch for `fetch_id`."""
    return name.removesuffix("_id").replace("_", " ").capitalize()


def number_columns(rows: Iterable[Iterable[object]]) -> set[int]:
    """Return the columns, counted from 0, in which all cells are numbers or empty."""
    columns = zip(*([str(cell).strip() for cell in row] for row in rows), strict=True)
    return {
        place
        for place, cells in enumerate(columns)
        if any(cells) and all(cell == "" or _NUMBER.fullmatch(cell) for cell in cells)
    }


def line(values: Sequence[float | None], width: int, height: int) -> str:
    """Return an SVG path through the values of consecutive days, in a box of `width` and `height`.

    A missing day (None) breaks the line. Fewer than two values make no line.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step = width / (len(values) - 1)
    parts: list[str] = []
    around = zip([None, *values], values, [*values[1:], None], strict=False)
    for place, (before, value, after) in enumerate(around):
        if value is None:
            continue
        y = height // 2 if high == low else round((high - value) / (high - low) * height)
        # A day between two missing ones is a dot.
        dot = "h0" if before is None and after is None else ""
        parts.append(f"{'M' if before is None else 'L'}{round(place * step)},{y}{dot}")
    return "".join(parts)


def summary(name: str, days: Sequence[Point], of_days: int) -> Summary:
    """Sum up the days of a period that have a rate, oldest first. The period has `of_days` days."""
    rates = [rate for _, rate in days]
    # Of several days with an extreme, take the first.
    high, low = max(days, key=lambda day: day[1]), min(days, key=lambda day: day[1])
    mean = math.fsum(rates) / len(rates)
    change = change_percent(rates[0], rates[-1]) if len(rates) > 1 else None
    return Summary(name, days[0], days[-1], high, low, mean, len(days), of_days, change)


def by_period(days: Sequence[Point], start: dt.date, length: int) -> list[Summary]:
    """Sum up each period from `start` on, newest first. `length` is YEAR or MONTH.

    The days are oldest first. Those before `start` only count as the day from which a change is.
    """
    rates = dict(days)
    first = start.isoformat()
    periods = []
    for name, group in groupby((day for day in days if day[0] >= first), key=lambda day: day[0][:length]):
        begin = dt.date.fromisoformat(f"{name}-01-01"[:10])
        of_days = monthrange(begin.year, begin.month)[1] if length == MONTH else 365 + isleap(begin.year)
        one = summary(name, list(group), of_days)
        before = rates.get((begin - dt.timedelta(1)).isoformat())
        periods.append(one._replace(change=change_percent(before, one.last[1]) if before else None))
    return periods[::-1]


def indexed(days: Mapping[str, Sequence[Point]]) -> tuple[str, dict[str, float]] | None:
    """Return the first day on which all these currencies have a rate, and their last rates if it is 100.

    None if there is no such day.
    """
    rates = {code: dict(of_code) for code, of_code in days.items()}
    common = min(set.intersection(*map(set, rates.values())), default=None) if rates else None
    if common is None:
        return None
    return common, {code: of_code[-1][1] / rates[code][common] * 100 for code, of_code in days.items()}


def _sign(percent: float) -> str:
    rounded = round(percent, 2)
    if rounded == 0:
        return ""
    return "+" if rounded > 0 else MINUS
