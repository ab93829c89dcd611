"""Parses a body from Fixer into validated days or names, or raises the error that says why it cannot.

Pure functions of the body and the request, so that the same rules apply to stored bodies and new ones.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import replace

from fx_pipeline.clock import end_of_day
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.bases import PROVIDER_BASE, check_base
from fx_pipeline.fixer.document import Document, integer, successful_document
from fx_pipeline.fixer.errors import BadResponse, MislabelledBase, Unfinished
from fx_pipeline.rates import (
    LARGEST_RATE,
    SMALLEST_RATE,
    DayRates,
    is_code,
    parse_date,
    read_rates,
    rebase,
)


def parse_historical(
    body: bytes, date: dt.date, base: str, *, asked_at: dt.datetime, symbols: Collection[str] = ()
) -> tuple[DayRates, ...]:
    """Return the one day in a response of `/<date>`.

    `date` must have been over at `asked_at`, and the timestamp must be the end of that day, 23:59:59 UTC:
    earlier rates are provisional. Rates in EUR are converted to `base`. `symbols` are the requested
    currencies, empty for all.

    Raise the FixerError that the body names; BadResponse if it is not JSON, for another day or base, or
    without a valid rate; MislabelledBase if its rates are not in the base it names (`check_base`); Unfinished
    for a provisional day.
    """
    requested = date.isoformat()
    if date >= _day_of(asked_at):
        raise Unfinished("the day is not over (UTC)", requested)
    document = successful_document(body, requested)
    _expect(document, "date", date.isoformat(), requested)
    timestamp = integer(document.get("timestamp"))
    if timestamp is None:
        raise BadResponse("the response has no timestamp", requested)
    end = end_of_day(date)
    if end - 86_399 <= timestamp < end:
        provisional = Unfinished("the response was made before the day was over", requested)
        provisional.retryable = True
        raise provisional
    if timestamp < end:
        raise BadResponse(
            "the response's timestamp is from an earlier day, so its rates may be old", requested
        )
    if timestamp > end + 86_400:
        raise BadResponse("the response's timestamp is from a later day", requested)
    day = _day(date, _base(document, base, requested), timestamp, document.get("rates"))
    if day is None:
        raise BadResponse("the response has no valid rate", requested)
    check_base([day], symbols, requested)
    return (_in_base(day, base, requested),)


def parse_timeseries(
    body: bytes,
    start: dt.date,
    end: dt.date,
    base: str,
    *,
    asked_at: dt.datetime,
    symbols: Collection[str] = (),
) -> tuple[DayRates, ...]:
    """Return the days in a response of `/timeseries`, oldest first, without days that have no valid rate.

    The caller finds the missing days: Fixer may have none for some. The response has no timestamps, so each
    day gets its end, as `/<date>` sends it. Raise as `parse_historical` does.
    """
    requested = f"{start} to {end}"
    if end >= _day_of(asked_at):
        raise Unfinished("the last day is not over (UTC)", requested)
    document = successful_document(body, requested)
    _expect(document, "start_date", start.isoformat(), requested)
    _expect(document, "end_date", end.isoformat(), requested)
    found = _base(document, base, requested)
    series = document.get("rates")
    days: list[DayRates] = []
    for text, rates in sorted(series.items()) if isinstance(series, dict) else ():
        try:
            date = parse_date(text)
        except ValueError:
            raise BadResponse("the response has rates under a key that is not a date", requested) from None
        if not start <= date <= end:
            raise BadResponse("the response has rates for days that were not requested", requested)
        day = _day(date, found, end_of_day(date), rates)
        if day is not None:
            days.append(day)
    if not days:
        raise BadResponse("the response has no valid rate", requested)
    check_base(days, symbols, requested)
    return tuple(_in_base(day, base, requested) for day in days)


def parse_symbols(body: bytes) -> Mapping[str, str]:
    """Return the names of the currencies in a response of `/symbols`, without invalid codes and names.

    Raise the FixerError that the body names, and BadResponse if it is not JSON or has no name.
    """
    symbols = successful_document(body, "symbols").get("symbols")
    names = {
        code: name
        for code, name in (symbols.items() if isinstance(symbols, dict) else ())
        if is_code(code) and isinstance(name, str) and name.strip() and name.isprintable()
    }
    if not names:
        raise BadResponse("the response has no names", "symbols")
    return names


def parse_body(fetch: Fetch) -> Fetch:
    """Return the fetch with the days and names in its body.

    Raise the FixerError of the parsers above, and ValueError for an endpoint without a parser.
    """
    start, end = fetch.start_date, fetch.end_date
    if fetch.endpoint == "symbols":
        return replace(fetch, names=parse_symbols(fetch.body))
    if start is not None and end is not None and fetch.endpoint == "historical":
        days = parse_historical(fetch.body, start, fetch.base, asked_at=fetch.asked_at, symbols=fetch.symbols)
    elif start is not None and end is not None and fetch.endpoint == "timeseries":
        days = parse_timeseries(
            fetch.body, start, end, fetch.base, asked_at=fetch.asked_at, symbols=fetch.symbols
        )
    else:
        raise ValueError(f"no parser for a response of {fetch.endpoint!r} for {start} to {end}")
    return replace(fetch, days=days)


def parse_stored(fetch: Fetch) -> Fetch:
    """Parse a fetch from the database, as `parse_body` does.

    An earlier version stored responses with a mislabelled base. Such a fetch has no days, and the reason as
    its status.
    """
    try:
        return parse_body(fetch)
    except MislabelledBase as wrong:
        return replace(fetch, status=wrong.reason)


def _day_of(instant: dt.datetime) -> dt.date:
    return instant.astimezone(dt.timezone.utc).date()


def _expect(document: Document, name: str, value: str, requested: str) -> None:
    if document.get(name) != value:
        raise BadResponse(f"the response has another {name.replace('_', ' ')} than requested", requested)


def _base(document: Document, base: str, requested: str) -> str:
    found = document.get("base")
    if isinstance(found, str) and found in {base, PROVIDER_BASE}:
        return found
    raise BadResponse("the response has another base than requested", requested)


def _day(date: dt.date, base: str, timestamp: int, raw: object) -> DayRates | None:
    try:
        rates, rejected = read_rates(date, raw) if isinstance(raw, dict) else ({}, ())
    except RecursionError:  # a value nested just deeply enough to be read, but not to be printed
        return None
    if not rates:
        return None
    return DayRates(date=date, base=base, timestamp=timestamp, rates=rates, rejected=rejected)


def _in_base(day: DayRates, base: str, requested: str) -> DayRates:
    if day.base == base:
        return day
    rates = rebase(day.rates, stored_base=day.base, base=base, symbols=[*day.rates])
    if rates is None or not all(SMALLEST_RATE <= rate <= LARGEST_RATE for rate in rates.values()):
        raise BadResponse(f"the response is in {day.base} and has no rate to convert it to {base}", requested)
    return replace(day, base=base, rates=rates)
