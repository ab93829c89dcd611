"""The handlers of the operations about rates: parsed input → canned queries → body.

Each runs in one read transaction (see `queries.run`), and returns a `Reply` or raises ApiError.
"""

import datetime as dt
from collections.abc import Mapping
from typing import NamedTuple

from fx_pipeline.api import replies
from fx_pipeline.api.endpoints import bodies
from fx_pipeline.api.endpoints.days import (
    Day,
    Lifespans,
    Series,
    lifespans,
    no_rate_of,
    rates_of,
    read_day,
    read_series,
    require_currency,
    require_ends,
    span_of,
)
from fx_pipeline.api.endpoints.gaps import missing_days
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


def day(context: Context, parsed: DayInput) -> Reply:
    """Return the rates of one day, or of the newest."""
    read = _read_day(context, parsed)
    body = bodies.day_json(
        date=read.day.date,
        base=read.base,
        timestamp=read.day.timestamp,
        rates=read.rates,
        historical=parsed.date is not None,
        as_of=parsed.rates.as_of,
        amount=parsed.amount,
        missing=read.missing,
    )
    return Reply(body, read.cache_control, headers=_headers(read.missing))


def day_csv(context: Context, parsed: DayInput) -> Reply:
    """Return the same as rows."""
    read = _read_day(context, parsed)
    body = _csv(context, parsed, read.base, {read.day.date: read.rates})
    return Reply(body, read.cache_control, replies.CSV, headers=_headers(read.missing))


def series(context: Context, parsed: RangeInput) -> Reply:
    """Return the rates of several days."""
    read = _read_series(context, parsed)
    body = bodies.series_json(
        start=parsed.start.isoformat(),
        end=parsed.end.isoformat() if parsed.end else read.last,
        base=read.base,
        days=read.days,
        as_of=parsed.rates.as_of,
        amount=parsed.amount,
        missing=read.missing,
    )
    absent = missing_days(context.queries, parsed, read)
    cache_control = _cache_control_of_range(context, parsed, absent)
    return Reply(body, cache_control, headers=_headers(read.missing, absent))


def series_csv(context: Context, parsed: RangeInput) -> Reply:
    """Return the same as rows."""
    read = _read_series(context, parsed)
    body = _csv(context, parsed, read.base, read.days)
    absent = missing_days(context.queries, parsed, read)
    cache_control = _cache_control_of_range(context, parsed, absent)
    return Reply(body, cache_control, replies.CSV, headers=_headers(read.missing, absent))


def convert(context: Context, parsed: ConversionInput) -> Reply:
    """Return an amount converted at the rate of one day, or of the newest."""
    queries, as_of = context.queries, parsed.as_of
    stored = read_day(queries, parsed.date, RateQuery(as_of=as_of))
    for code, kind in ((parsed.source, INVALID_FROM_CURRENCY), (parsed.target, INVALID_TO_CURRENCY)):
        if code not in stored.rates:
            require_currency(queries, code, kind)
    rates = rates_of(queries, stored, RateQuery(parsed.source, (parsed.target,), as_of))
    document = bodies.conversion_document(
        source=parsed.source,
        target=parsed.target,
        amount=parsed.amount,
        rate=rates[parsed.target],
        date=stored.date,
        timestamp=stored.timestamp,
        historical=parsed.date is not None,
        as_of=as_of,
    )
    return Reply(as_json(document), _cache_control_of_day(context, parsed.date, stored, as_of))


def fluctuation(context: Context, parsed: FluctuationInput) -> Reply:
    """Return how much each rate changed between two days.

    As with Fixer, the end may be before the start: the change is then from the later day to the earlier.
    """
    queries, wanted = context.queries, parsed.rates
    earlier, later = min(parsed.start, parsed.end), max(parsed.start, parsed.end)
    require_ends(queries, earlier, later, wanted)
    ends = [read_day(queries, date, wanted) for date in (parsed.start, parsed.end)]
    first, last = (rates_of(queries, end, wanted) for end in ends)
    lacking = [code for code in wanted.symbols or () if code not in first or code not in last]
    if wanted.symbols and len(lacking) == len(wanted.symbols):
        span = f"on both {earlier} and {later}"
        raise no_rate_of(queries, lacking, span, wanted.as_of)
    missing = lifespans(queries, lacking)
    document = bodies.fluctuation_document(
        start=parsed.start,
        end=parsed.end,
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
    return {code: name for code, name, *_ in context.queries.rows("currencies")}


def _read_day(context: Context, parsed: DayInput) -> _ReadDay:
    queries, wanted = context.queries, parsed.rates
    stored = read_day(queries, parsed.date, wanted)
    rates = rates_of(queries, stored, wanted)
    missing = lifespans(queries, (code for code in wanted.symbols or () if code not in rates))
    if parsed.amount is not None:
        rates = multiplied(rates, parsed.amount)
    cache_control = _cache_control_of_day(context, parsed.date, stored, wanted.as_of)
    return _ReadDay(stored, wanted.base or stored.base, rates, missing, cache_control)


def _read_series(context: Context, parsed: RangeInput) -> Series:
    """Read the days of a range, multiplied by the amount. Raise ApiError if no rate is left."""
    queries, wanted, amount = context.queries, parsed.rates, parsed.amount
    read = read_series(queries, parsed.start, parsed.end, wanted)
    if read.missing and not read.days:
        # If the base has rates only on other days, the message must name both to say why there are none.
        what = f"{', '.join(wanted.symbols or ())} in {read.base}" if read.base in read.missing else ""
        span = span_of(parsed.start, parsed.end)
        raise no_rate_of(queries, tuple(read.missing), span, wanted.as_of, what=what)
    if amount is None:
        return read
    days = {date: multiplied(rates, amount) for date, rates in queries.paced(read.days.items())}
    return read._replace(days=days)


def _csv(
    context: Context, parsed: DayInput | RangeInput, base: str, days: Mapping[str, Mapping[str, float]]
) -> bytes:
    paced = context.queries.paced
    if not parsed.is_wide:
        return bodies.rates_csv(base, paced(days.items()), parsed.amount)
    codes = parsed.rates.symbols or sorted({code for rates in paced(days.values()) for code in rates})
    return bodies.wide_csv(paced(days.items()), codes)


def _cache_control_of_day(context: Context, date: dt.date | None, stored: Day, as_of: AsOf | None) -> str:
    return context.cache_control(stored.date, as_of) if date else context.cache_control_of_newest(as_of)


def _cache_control_of_range(context: Context, parsed: RangeInput, absent: int) -> str:
    if absent and not parsed.rates.as_of:
        # They may be fetched at any time.
        return replies.recent()
    return context.cache_control(parsed.end.isoformat() if parsed.end else NEVER, parsed.rates.as_of)


def _headers(missing: Lifespans, absent: int = 0) -> dict[str, str]:
    """Return the header that says in a CSV what `missing` says in a document, and that for absent days."""
    spans = ", ".join(f"{code}={first}..{last}" for code, (first, last) in missing.items())
    return {
        **({replies.MISSING: spans} if spans else {}),
        **({replies.MISSING_DAYS: str(absent)} if absent else {}),
    }
