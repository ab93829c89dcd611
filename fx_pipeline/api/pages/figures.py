"""How rates are shown to people: rounded, compared, summed up by year, drawn as a line. Pure functions.

The numbers themselves come from what the API answers; nothing is stored or sent on in the form given here.
"""

import datetime as dt
import math
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from fx_pipeline.rates import fluctuation

DIGITS = 6
"""Significant digits of a rate on a page: those of the provider's own values."""

MINUS = "\N{MINUS SIGN}"
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[-+]?[0-9]+)?")

Point = tuple[str, float]
"""A day (YYYY-MM-DD) and its rate."""


class Summary(NamedTuple):
    """What a run of days comes to: its first and last rate, the extremes with their days, mean, change.

    `change` is in percent, from the first rate to the last (for a year: from the last of the year before).
    """

    name: str
    first: Point
    last: Point
    high: Point
    low: Point
    mean: float
    change: float


def shown_rate(rate: float) -> str:
    """A rate with six significant digits and commas between thousands: 1.16500, 19,700.0, 0.000223000."""
    rounded = float(f"{rate:.{DIGITS - 1}e}")
    exponent = math.floor(math.log10(rounded))
    if exponent < -DIGITS:
        return f"{rounded:.{DIGITS - 1}e}".replace("e-0", "e-")
    return f"{rounded:,.{max(0, DIGITS - 1 - exponent)}f}"


def change_percent(earlier: float, later: float) -> float:
    """The change from one rate to a later one, in percent of the first."""
    return fluctuation(earlier, later)[1]


def shown_change(percent: float) -> str:
    """A change with its sign and two decimals: +0.26 %, −1.04 %, 0.00 %."""
    text = f"{abs(percent):,.2f}{NARROW_SPACE}%"
    return f"{_sign(percent)}{text}"


def direction(percent: float) -> str:
    """`up`, `down`, or `flat` where what is shown is 0.00 %."""
    return {"+": "up", MINUS: "down", "": "flat"}[_sign(percent)]


def shown_date(date: str) -> str:
    """A day as people write it: 9 March 2026."""
    day = dt.date.fromisoformat(date)
    return f"{day.day} {day:%B} {day.year}"


def shown_short_date(date: str) -> str:
    """A day without its year: 9 Mar."""
    day = dt.date.fromisoformat(date)
    return f"{day.day} {day:%b}"


def weekday(date: str) -> str:
    """The day of the week: Monday."""
    return f"{dt.date.fromisoformat(date):%A}"


def shown_timestamp(seconds: int) -> str:
    """A Unix time, to the second: 2026-03-09 23:59:59 UTC."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def shown_instant(instant: str) -> str:
    """A stored instant, to the second: 2026-03-10 00:05:00 UTC."""
    return f"{instant[:10]} {instant[11:19]} UTC"


def shown_age(days: int) -> str:
    """How long ago a day was: yesterday, 4 days ago."""
    return {0: "today", 1: "yesterday"}.get(days, f"{days:,} days ago")


def shown_column(name: str) -> str:
    """A column as a heading: `superseded_by` becomes Superseded by, `fetch_id` becomes Fetch."""
    return name.removesuffix("_id").replace("_", " ").capitalize()


def number_columns(rows: Iterable[Iterable[object]]) -> set[int]:
    """Which columns of a table, counted from 0, hold numbers and nothing else, but for what is empty."""
    columns = zip(*([str(cell).strip() for cell in row] for row in rows), strict=True)
    return {
        place
        for place, cells in enumerate(columns)
        if any(cells) and all(cell == "" or _NUMBER.fullmatch(cell) for cell in cells)
    }


def line(values: Sequence[float], width: int, height: int) -> str:
    """The points of an SVG polyline through `values`, scaled to fill a box of whole units."""
    low, high = min(values), max(values)
    step = width / max(1, len(values) - 1)
    span = (high - low) or 1.0
    flat = high == low
    return " ".join(
        f"{round(place * step)},{height // 2 if flat else round((high - value) / span * height)}"
        for place, value in enumerate(values)
    )


def summary(name: str, days: Sequence[Point], before: float | None = None) -> Summary:
    """Sum up a run of days, oldest first and at least one; `before` is what its change is counted from."""
    rates = [rate for _, rate in days]
    # Of equal extremes the earliest is named: it is the day that reached them.
    high, low = max(days, key=lambda day: day[1]), min(days, key=lambda day: day[1])
    change = change_percent(before or rates[0], rates[-1])
    return Summary(name, days[0], days[-1], high, low, math.fsum(rates) / len(rates), change)


def by_year(days: Iterable[Point]) -> list[Summary]:
    """Sum up each year of a history (oldest day first), newest year first."""
    years: list[Summary] = []
    for year, group in groupby(days, key=lambda day: day[0][:4]):
        before = years[-1].last[1] if years else None
        years.append(summary(year, list(group), before))
    return years[::-1]


def _sign(percent: float) -> str:
    rounded = round(percent, 2)
    if rounded == 0:
        return ""
    return "+" if rounded > 0 else MINUS
