"""The parsed input of each operation, made from the text of a request without reading any data."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from fx_pipeline.api.endpoints.parameters import AsOf, Parameters, RateQuery, require_ordered
from fx_pipeline.api.errors import (
    INVALID_END_DATE,
    INVALID_FROM_CURRENCY,
    INVALID_START_DATE,
    INVALID_TO_CURRENCY,
    NO_TIMEFRAME_SUPPLIED,
    ApiError,
)

RATES_PER_DAY = 200
"""An estimate of the rates of one day without `symbols`: Fixer has about 170 currencies."""

PAGE_COST = 5_000
"""The cost of a request that takes as long as a page."""


@dataclass(frozen=True, slots=True)
class NoInput:
    """The input of an operation that takes none."""


@dataclass(frozen=True, slots=True)
class DayInput:
    """One day, or the newest, and which of its rates."""

    date: dt.date | None
    rates: RateQuery
    amount: Decimal | None
    is_wide: bool


@dataclass(frozen=True, slots=True)
class RangeInput:
    """The days from `start` to `end`, or to the newest, and which of their rates."""

    start: dt.date
    end: dt.date | None
    rates: RateQuery
    amount: Decimal | None
    is_wide: bool
    today: dt.date


@dataclass(frozen=True, slots=True)
class ConversionInput:
    """An amount of one currency to convert to another, at the rate of one day or of the newest."""

    source: str
    target: str
    amount: Decimal
    date: dt.date | None
    as_of: AsOf | None


@dataclass(frozen=True, slots=True)
class FluctuationInput:
    """Two days, in either order, and which of their rates to compare."""

    start: dt.date
    end: dt.date
    rates: RateQuery


def parse_nothing(_: Parameters) -> NoInput:
    """Return the input of an operation that takes none."""
    return NoInput()


def parse_day(parameters: Parameters, *, date: str | None = None) -> DayInput:
    """Parse a request for one day; without `date`, for the newest."""
    day = None if date is None else parameters.date(date)
    return DayInput(day, parameters.rate_query(), parameters.multiplier(), parameters.is_wide())


def parse_range(parameters: Parameters, *, start: str, end: str = "") -> RangeInput:
    """Parse a request for a range that the path names; without an end, up to the newest day."""
    if not start:
        info = "The range has no start. Write <start>..<end> or <start>.. instead."
        raise ApiError(NO_TIMEFRAME_SUPPLIED, info)
    first = parameters.date(start, INVALID_START_DATE)
    return _range(parameters, first, parameters.date(end, INVALID_END_DATE) if end else None)


def parse_timeseries(parameters: Parameters) -> RangeInput:
    """Parse a request for the range from `start_date` to `end_date`."""
    return _range(parameters, *parameters.range())


def parse_conversion(parameters: Parameters) -> ConversionInput:
    """Parse a request to convert an amount."""
    return ConversionInput(
        source=parameters.currency("from", INVALID_FROM_CURRENCY),
        target=parameters.currency("to", INVALID_TO_CURRENCY),
        amount=parameters.amount(),
        date=parameters.conversion_date(),
        as_of=parameters.as_of(),
    )


def parse_fluctuation(parameters: Parameters) -> FluctuationInput:
    """Parse a request to compare two days."""
    return FluctuationInput(*parameters.range(), parameters.rate_query())


def page_cost(_: object) -> int:
    """Return the cost of a request that takes as long as a page."""
    return PAGE_COST


def range_cost(parsed: RangeInput) -> int:
    """Estimate the rates in a range. The base counts as one more symbol."""
    days = ((parsed.end or parsed.today) - parsed.start).days + 1
    return days * (len(parsed.rates.symbols) + 1 if parsed.rates.symbols else RATES_PER_DAY)


def _range(parameters: Parameters, start: dt.date, end: dt.date | None) -> RangeInput:
    rates, amount = parameters.rate_query(), parameters.multiplier()
    if end:
        require_ordered(start, end)
    return RangeInput(start, end, rates, amount, parameters.is_wide(), parameters.now.date())
