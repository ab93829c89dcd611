"""The handlers of the operations about rates: parsed input → canned queries → body.

Each runs in one read transaction (see `queries.run`), and returns a `Reply` or raises ApiError.
"""

import datetime as dt
from typing import NamedTuple

from fx_pipeline.api import replies
from fx_pipeline.api.endpoints import bodies
from fx_pipeline.api.endpoints.days import (
    Day,
    Lifespans,
    Series,
    lifespans,
    no_rate_of,
    nothing_stored,
    rates_of,
    read_day,
    read_series,
    require_currency,
    require_known,
    span_of,
    stored_days,
)
from fx_pipeline.api.endpoints.inputs import (
    ConversionInput,
    DayInput,
    FluctuationInput,
    NoInput,
    RangeInput,
)
from fx_pipeline.api.endpoints.operation import NEVER, Context
from fx_pipeline.api.endpoints.parameters import AsOf, RateQuery
from fx_pipeline.api.errors import INVALID_FROM_CURRENCY, INVALID_TO_CURRENCY
from fx_pipeline.api.replies import Reply, as_json
from fx_pipeline.rates import multiplied


class _ReadDay(NamedTuple):
    """One day as a response needs it."""

    day: Day
    base: str
    rates: dict[str, float]
    missing: Lifespans
    cache_control: str


def symbols(context: Context, _: NoInput) -> Reply:
    """Return every code that was ever stored, and its name as Fixer spells it."""
    return Reply(as_json({"success": True, "symbols": names(context)}), replies.recent())


def currencies(context: Context, _: NoInput) -> Reply:
    """Return the same as a bare object, as clients of other services expect it."""
    return Reply(as_json(names(context)), replies.recent())


def day(context: Context, asked: DayInput) -> Reply:
    """Return the rates of one day, or of the newest."""
    read = _read_day(context, asked)
    body = bodies.day_json(
        date=read.day.date,
        base=read.base,
        timestamp=read.day.timestamp,
        rates=read.rates,
        historical=asked.date is not None,
        as_of=asked.rates.as_of,
        amount=asked.amount,
        missing=read.missing,
    )
    return Reply(body, read.cache_control, headers=_headers(read.missing))


def day_csv(context: Context, asked: DayInput) -> Reply:
    """Return the same as rows."""
    read = _read_day(context, asked)
    body = bodies.rates_csv(read.base, [(read.day.date, read.rates)], asked.amount)
    return Reply(body, read.cache_control, replies.CSV, headers=_headers(read.missing))


def series(context: Context, asked: RangeInput) -> Reply:
    """Return the rates of several days."""
    read = _read_series(context, asked)
    body = bodies.series_json(
        start=asked.start.isoformat(),
        end=asked.end.isoformat() if asked.end else read.last,
        base=read.base,
        days=read.days,
        as_of=asked.rates.as_of,
        amount=asked.amount,
        missing=read.missing,
    )
    return Reply(body, _cache_control_of_range(context, asked), headers=_headers(read.missing))


def series_csv(context: Context, asked: RangeInput) -> Reply:
    """Return the same as rows."""
    read = _read_series(context, asked)
    body = bodies.rates_csv(read.base, context.queries.paced(read.days.items()), asked.amount)
    cache_control = _cache_control_of_range(context, asked)
    return Reply(body, cache_control, replies.CSV, headers=_headers(read.missing))


def convert(context: Context, asked: ConversionInput) -> Reply:
    """Return an amount converted at the rate of one day, or of the newest."""
    queries, as_of = context.queries, asked.as_of
    stored = read_day(queries, asked.date, RateQuery(as_of=as_of))
    for code, kind in ((asked.source, INVALID_FROM_CURRENCY), (asked.target, INVALID_TO_CURRENCY)):
        if code not in stored.rates:
            require_currency(queries, code, kind)
    rates = rates_of(queries, stored, RateQuery(asked.source, (asked.target,), as_of))
    document = bodies.conversion_document(
        source=asked.source,
        target=asked.target,
        amount=asked.amount,
        rate=rates[asked.target],
        date=stored.date,
        timestamp=stored.timestamp,
        historical=asked.date is not None,
        as_of=as_of,
    )
    return Reply(as_json(document), _cache_control_of_day(context, asked.date, stored, as_of))


def fluctuation(context: Context, asked: FluctuationInput) -> Reply:
    """Return how much each rate changed between the first and the last stored day of a range.

    As with Fixer, the end may be before the start: the change is then from the later day to the earlier.
    """
    queries, wanted = context.queries, asked.rates
    earlier, later = min(asked.start, asked.end), max(asked.start, asked.end)
    stored = stored_days(queries, earlier, later, wanted.as_of)
    if not stored.first or not stored.last:
        require_known(queries, wanted)
        raise nothing_stored(span_of(earlier, later), stored, wanted.as_of)
    ends = [read_day(queries, dt.date.fromisoformat(date), wanted) for date in (stored.first, stored.last)]
    if asked.end < asked.start:
        ends.reverse()
    first, last = (rates_of(queries, end, wanted) for end in ends)
    lacking = [code for code in wanted.symbols or () if code not in first or code not in last]
    if wanted.symbols and len(lacking) == len(wanted.symbols):
        span = f"on both {stored.first} and {stored.last}"
        raise no_rate_of(queries, lacking, span, wanted.as_of)
    missing = lifespans(queries, lacking)
    document = bodies.fluctuation_document(
        start=asked.start,
        end=asked.end,
        base=wanted.base or ends[0].base,
        first=first,
        last=last,
        as_of=wanted.as_of,
        missing=missing,
    )
    cache_control = context.cache_control(later.isoformat(), wanted.as_of)
    return Reply(as_json(document), cache_control, headers=_headers(missing))


def names(context: Context) -> dict[str, str]:
    """Return every code and its name."""
    return {code: name for code, name, *_ in context.queries.rows("symbols")}


def _read_day(context: Context, asked: DayInput) -> _ReadDay:
    queries, wanted = context.queries, asked.rates
    stored = read_day(queries, asked.date, wanted)
    rates = rates_of(queries, stored, wanted)
    missing = lifespans(queries, (code for code in wanted.symbols or () if code not in rates))
    if asked.amount is not None:
        rates = multiplied(rates, asked.amount)
    cache_control = _cache_control_of_day(context, asked.date, stored, wanted.as_of)
    return _ReadDay(stored, wanted.base or stored.base, rates, missing, cache_control)


def _read_series(context: Context, asked: RangeInput) -> Series:
    """Read the days of a range, multiplied by the amount. Raises ApiError if no rate is left."""
    queries, wanted, amount = context.queries, asked.rates, asked.amount
    read = read_series(queries, asked.start, asked.end, wanted)
    if read.missing and not read.days:
        # If the base has rates, but on other days, the message needs both to say why there are none.
        what = f"{', '.join(wanted.symbols or ())} in {read.base}" if read.base in read.missing else ""
        span = span_of(asked.start, asked.end)
        raise no_rate_of(queries, tuple(read.missing), span, wanted.as_of, what=what)
    if amount is None:
        return read
    days = {date: multiplied(rates, amount) for date, rates in queries.paced(read.days.items())}
    return read._replace(days=days)


def _cache_control_of_day(context: Context, date: dt.date | None, stored: Day, as_of: AsOf | None) -> str:
    return context.cache_control(stored.date, as_of) if date else context.cache_control_of_newest(as_of)


def _cache_control_of_range(context: Context, asked: RangeInput) -> str:
    return context.cache_control(asked.end.isoformat() if asked.end else NEVER, asked.rates.as_of)


def _headers(missing: Lifespans) -> dict[str, str]:
    """Return the header that says in a CSV what `missing` says in a document."""
    spans = ", ".join(f"{code}={first}..{last}" for code, (first, last) in missing.items())
    return {replies.MISSING: spans} if spans else {}
