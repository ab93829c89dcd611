"""The domain: a day's rates, currency codes, conversion, rounding and date ranges.

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
"""The first day of Fixer's history, by its documentation."""

MAX_TIMESERIES_DAYS = 365
"""Maximum days of one `timeseries` call, first and last included, by Fixer's documentation."""

MAJORS = ("USD", "EUR", "JPY", "GBP", "CNY", "AUD", "CAD", "CHF")
MOST_TRADED = (*MAJORS, "HKD", "SGD", "SEK", "KRW", "NOK", "NZD")
"""The most traded currencies, in this order (BIS, Triennial Central Bank Survey 2022)."""

SMALLEST_RATE, LARGEST_RATE = 1e-100, 1e100
"""Values outside these limits are rejected: a cross rate of them may overflow."""

_CODE = re.compile(r"[A-Z]{3}")
CODE_LENGTH = 3
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class RejectedRate:
    """A received value that must not be stored, as text, and the reason."""

    date: dt.date
    currency: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRates:
    """The rates of one day from the provider: units of each currency for one unit of `base`.

    `timestamp` is the provider's own, in Unix seconds.
    """

    date: dt.date
    base: str
    timestamp: int
    rates: Mapping[str, float]
    rejected: tuple[RejectedRate, ...] = ()


def is_code(text: str) -> bool:
    """Return whether `text` has the form of a currency code: three capital letters.

    Only the form counts: Fixer has codes that ISO 4217 does not list (BTC, GGP, BYR).
    """
    # The length first, so that the cache remembers no long text of a client.
    return len(text) == CODE_LENGTH and _is_code(text)


@lru_cache(maxsize=1024)  # the same codes come for each day
def _is_code(text: str) -> bool:
    return _CODE.fullmatch(text) is not None


DateRange = tuple[dt.date, dt.date]
"""The first and the last day of a range, both included."""


class NoSuchDate(ValueError):
    """A well-formed date that does not exist. The message says why, without a full stop."""


def parse_date(text: str) -> dt.date:
    """Return the day written `YYYY-MM-DD`, in ASCII digits.

    Raise NoSuchDate if the form is right but the day does not exist, ValueError for anything else.
    """
    if _DATE.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a date of the form YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise NoSuchDate(f"{text} does not exist: {_valid_dates(text)}") from None


def _valid_dates(text: str) -> str:
    """Say which years, months or days exist, for a well-formed date that does not."""
    year, month = int(text[:4]), int(text[5:7])
    if year == 0:
        return "years begin with 0001"
    if not 1 <= month <= 12:
        return "months are 01 to 12"
    return f"{month_name[month]} {text[:4]} has {monthrange(year, month)[1]} days"


def is_date(text: str) -> bool:
    """Return whether `text` is a day written `YYYY-MM-DD`."""
    try:
        parse_date(text)
    except ValueError:
        return False
    return True


def read_rates(date: dt.date, raw: Mapping[str, object]) -> tuple[dict[str, float], tuple[RejectedRate, ...]]:
    """Split the received values of a day into valid rates and rejected ones, each with the reason.

    A valid rate is a number from SMALLEST_RATE to LARGEST_RATE under a code of three capital letters.
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
    """Return `value` rounded to `digits` significant digits, as the nearest double."""
    return float("%.*e" % (digits - 1, value))  # noqa: UP031  # half the time of a format string


def rebase(
    rates: Mapping[str, float], *, stored_base: str, base: str, symbols: Sequence[str] | None = None
) -> dict[str, float] | None:
    """Return a day's rates for one unit of `base`, from those for one unit of `stored_base`.

    Each rate is divided once and rounded once, to 10 significant digits. Fixed decimals would turn a small
    rate (IDR in gold) into 0.

    `symbols` selects the currencies and their order; by default all, in alphabetical order. Currencies
    without a rate are left out. A base costs exactly 1 of itself, stored or not. Return None if the day has
    no rate for `base`.
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
    """Return the decimal product of `amount` and `rate`, as the nearest double."""
    return float(amount * Decimal(repr(rate)))


def multiplied(rates: Mapping[str, float], amount: Decimal) -> dict[str, float]:
    """Return a day's rates for `amount` units of the base, multiplied by `convert`."""
    return {code: convert(amount, rate) for code, rate in rates.items()}


def fluctuation(start_rate: float, end_rate: float) -> tuple[float, float]:
    """Return the change from the first rate to the second, and the change in percent of the first.

    The change is the decimal difference of the rates as shown. The percentage is rounded once, to 10
    significant digits.
    """
    start, end = Decimal(repr(start_rate)), Decimal(repr(end_rate))
    return float(end - start), round_significant(float((end - start) / start * 100))


def as_number(rate: float) -> int | float:
    """Return `rate` as JSON shows it. Fixer writes whole numbers without a point (`"EUR": 1`)."""
    return int(rate) if rate.is_integer() and abs(rate) < 2**53 else rate


def date_range(start: dt.date, end: dt.date) -> Iterator[dt.date]:
    """Yield every day from `start` to `end`, both included; none if `end` is before `start`."""
    for offset in range((end - start).days + 1):
        yield start + dt.timedelta(days=offset)


def calendar(start: dt.date, end: dt.date) -> list[str]:
    """Return every day from `start` to `end`, both included, written `YYYY-MM-DD`."""
    years = [day for year in range(start.year, end.year + 1) for day in _days_of(year)]
    first = start.timetuple().tm_yday - 1
    return years[first : first + (end - start).days + 1]


@lru_cache(maxsize=128)
def _days_of(year: int) -> tuple[str, ...]:
    return tuple(day.isoformat() for day in date_range(dt.date(year, 1, 1), dt.date(year, 12, 31)))


def contiguous(dates: Iterable[dt.date]) -> list[DateRange]:
    """Return the fewest ranges (first, last) that hold exactly these dates, oldest first."""
    ranges: list[DateRange] = []
    for date in sorted(set(dates)):
        if ranges and (date - ranges[-1][1]).days == 1:
            ranges[-1] = (ranges[-1][0], date)
        else:
            ranges.append((date, date))
    return ranges


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return a number with its noun: 1 day, 2,557 days, 0 gaps. The plural has an s, unless it is given."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"
