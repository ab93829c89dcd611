"""The domain, pure: a day's rates, currency codes, cross rates, rounding, date ranges.

Nothing here reads a file, a clock or a network.
"""

import datetime as dt
import math
import re
from calendar import month_name, monthrange
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

FIRST_DATE = dt.date(1999, 1, 1)
"""Fixer's history begins here (Fixer's documentation)."""

MAX_TIMESERIES_DAYS = 365
"""The most days of one `timeseries` answer, the first and the last included (Fixer's documentation)."""

MAJORS = ("USD", "EUR", "JPY", "GBP", "CNY", "AUD", "CAD", "CHF")
MOST_TRADED = (*MAJORS, "HKD", "SGD", "SEK", "KRW", "NOK", "NZD")
"""The most traded currencies, in this order (BIS, Triennial Central Bank Survey 2022)."""

SMALLEST_RATE, LARGEST_RATE = 1e-100, 1e100
"""What is beyond is no rate, and a cross rate of it may be no number."""

_CODE = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class RejectedRate:
    """A value that came and must not be stored, as text, and the reason."""

    date: dt.date
    currency: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRates:
    """The rates of one day as the provider gave them: units of each currency for one unit of `base`.

    `timestamp` is the provider's own, in Unix seconds.
    """

    date: dt.date
    base: str
    timestamp: int
    rates: Mapping[str, float]
    rejected: tuple[RejectedRate, ...] = ()


@lru_cache(maxsize=1024)  # the same codes come for each day
def is_code(text: str) -> bool:
    """Whether `text` has the form of a currency code: three capital letters (ISO 4217).

    The form is all that counts: Fixer names codes that the standard does not list (BTC, GGP, BYR).
    """
    return _CODE.fullmatch(text) is not None


class NoSuchDate(ValueError):
    """A date in the right form that the calendar does not have; the message says why, without a full stop."""


def parse_date(text: str) -> dt.date:
    """Return the day written `YYYY-MM-DD`, in ASCII digits.

    Raises NoSuchDate where the form is right and the calendar has no such day, ValueError for anything else.
    """
    if _DATE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a date of the form YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise NoSuchDate(f"{text} does not exist: {_what_there_is(text)}") from None


def _what_there_is(text: str) -> str:
    """Say which years, months or days there are, for a date of the right form that does not exist."""
    year, month = int(text[:4]), int(text[5:7])
    if year == 0:
        return "years begin with 0001"
    if not 1 <= month <= 12:
        return "months are 01 to 12"
    return f"{month_name[month]} {text[:4]} has {monthrange(year, month)[1]} days"


def is_date(text: str) -> bool:
    """Whether `text` is a day written `YYYY-MM-DD`."""
    try:
        parse_date(text)
    except ValueError:
        return False
    return True


def read_rates(date: dt.date, raw: Mapping[str, object]) -> tuple[dict[str, float], tuple[RejectedRate, ...]]:
    """Divide what came for a day into what may be stored and what may not, with the reason.

    A rate is a number from SMALLEST_RATE to LARGEST_RATE under a code of three capital letters.
    """
    rates: dict[str, float] = {}
    rejected: list[RejectedRate] = []
    for code, value in raw.items():
        if type(value) is float and SMALLEST_RATE <= value <= LARGEST_RATE and is_code(code):
            rates[code] = value  # nearly all of them
            continue
        reason = _fault(code, value)
        if reason is None:
            rates[code] = float(value)  # type: ignore[arg-type]  # _fault has seen that it is a number
        else:
            rejected.append(RejectedRate(date, code, repr(value) if value is not None else "null", reason))
    return rates, tuple(rejected)


def _fault(code: str, value: object) -> str | None:
    if not is_code(code):
        return "not a currency code of three capital letters"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "not a number"
    try:
        number = float(value)
    except OverflowError:
        return "not finite"
    if not math.isfinite(number):
        return "not finite"
    if number <= 0:
        return "not above zero"
    return None if SMALLEST_RATE <= number <= LARGEST_RATE else "too small or too large to be a rate"


def round_significant(value: float, digits: int = 10) -> float:
    """`value` rounded to `digits` significant digits, the nearest double to that decimal."""
    return float("%.*e" % (digits - 1, value))  # noqa: UP031  # half the time of a format string


def rebase(
    rates: Mapping[str, float], *, stored_base: str, base: str, symbols: Sequence[str] | None = None
) -> dict[str, float] | None:
    """A day's rates for one unit of `base`, from those for one unit of `stored_base`.

    `symbols` chooses the currencies and their order; without it all are given, in alphabetical order.
    One that the day has no rate of is left out. A base costs exactly 1 of itself, stored or not. None where
    the day has no rate of `base`: there is nothing to divide by.
    """
    known = {**rates, stored_base: 1.0}
    if base not in known:
        return None
    wanted = [code for code in (sorted(known) if symbols is None else symbols) if code in known]
    if base == stored_base:
        return {code: known[code] for code in wanted}
    divisor = known[base]
    rebased = {code: round_significant(known[code] / divisor) for code in wanted}
    if base in rebased:
        rebased[base] = 1.0
    return rebased


def convert(amount: Decimal, rate: float) -> float:
    """`amount` at `rate`: their decimal product, the nearest double to it."""
    return float(amount * Decimal(repr(rate)))


def multiplied(rates: Mapping[str, float], amount: Decimal) -> dict[str, float]:
    """Return a day's rates for `amount` units of the base: decimal products, as `convert` makes them."""
    return {code: convert(amount, rate) for code, rate in rates.items()}


def fluctuation(start_rate: float, end_rate: float) -> tuple[float, float]:
    """The change from the first rate to the second, and the same in percent of the first.

    The change is the decimal difference of the two as they are shown; the percentage is rounded once, to 10
    significant digits.
    """
    start, end = Decimal(repr(start_rate)), Decimal(repr(end_rate))
    return float(end - start), round_significant(float((end - start) / start * 100))


def as_number(rate: float) -> int | float:
    """`rate` as JSON should show it: Fixer writes whole numbers without a point (`"EUR": 1`)."""
    return int(rate) if rate.is_integer() and abs(rate) < 2**53 else rate


def date_range(start: dt.date, end: dt.date) -> Iterator[dt.date]:
    """Every day from `start` to `end`, both included; none where `end` is before `start`."""
    for offset in range((end - start).days + 1):
        yield start + dt.timedelta(days=offset)


def calendar(start: dt.date, end: dt.date) -> list[str]:
    """Every day from `start` to `end`, both included, as it is written: `YYYY-MM-DD`."""
    years = [day for year in range(start.year, end.year + 1) for day in _days_of(year)]
    first = start.timetuple().tm_yday - 1
    return years[first : first + (end - start).days + 1]


@lru_cache(maxsize=128)
def _days_of(year: int) -> tuple[str, ...]:
    return tuple(day.isoformat() for day in date_range(dt.date(year, 1, 1), dt.date(year, 12, 31)))


def contiguous(dates: Iterable[dt.date]) -> list[tuple[dt.date, dt.date]]:
    """Return the fewest ranges (first, last) that hold exactly these dates, oldest first."""
    ranges: list[tuple[dt.date, dt.date]] = []
    for date in sorted(set(dates)):
        if ranges and (date - ranges[-1][1]).days == 1:
            ranges[-1] = (ranges[-1][0], date)
        else:
            ranges.append((date, date))
    return ranges
