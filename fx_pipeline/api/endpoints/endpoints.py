"""One function per endpoint: parameters → canned queries → body.

Each runs within one read transaction (see `queries.run`) and returns a `Reply` or raises an `ApiError`.
`routes` says which path under ``/rates/`` each of them answers.
"""

import datetime as dt
from dataclasses import dataclass

from fx_pipeline.api import replies
from fx_pipeline.api.contract import openapi
from fx_pipeline.api.contract.schemas import Stored
from fx_pipeline.api.endpoints import bodies
from fx_pipeline.api.endpoints.days import (
    Lifespans,
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
from fx_pipeline.api.endpoints.parameters import AsOf, Parameters, Wanted, in_order
from fx_pipeline.api.errors import (
    INVALID_END_DATE,
    INVALID_FROM_CURRENCY,
    INVALID_START_DATE,
    INVALID_TO_CURRENCY,
    NO_TIMEFRAME_SUPPLIED,
    ApiError,
)
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import Reply
from fx_pipeline.rates import multiplied

IN_FLIGHT = dt.timedelta(hours=1)
"""How long a fetch may take from its instant to its commit; what was known before that stays as it was."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What an endpoint answers from: the stored data, the parameters, how many past days may still change."""

    queries: Queries
    parameters: Parameters
    revision_days: int

    def cache_control(self, end: str, as_of: AsOf | None) -> str:
        """Cache-Control of an answer about days up to `end` (YYYY-MM-DD)."""
        now = self.parameters.now
        if as_of:
            return replies.settled() if now - as_of.instant > IN_FLIGHT else replies.recent()
        window = now.date() - dt.timedelta(days=1 + self.revision_days)
        return replies.settled() if end < window.isoformat() else replies.recent()

    def cache_control_of_newest(self, as_of: AsOf | None) -> str:
        """Cache-Control of an answer about the newest day, whichever that is."""
        return (
            self.cache_control("9999-12-31", as_of) if as_of else replies.until_midnight(self.parameters.now)
        )


def index(ask: Ask) -> Reply:
    """What there is: the newest and the oldest day, and a link to each endpoint."""
    ((newest, oldest, base),) = ask.queries.rows("latest_date")
    last, first = newest or "YYYY-MM-DD", oldest or "YYYY-MM-DD"
    span = f"start_date={first}&end_date={last}"
    document = {
        "success": True,
        "name": "fx-pipeline",
        "description": "Daily rates of exchange, in Fixer's own protocol.",
        "base": base,
        "latest_date": newest,
        "first_date": oldest,
        "endpoints": {
            "latest": "/rates/latest",
            "date": f"/rates/{last}/",
            "range": f"/rates/{last}..{last}/",
            "timeseries": f"/rates/timeseries?{span}&symbols=USD",
            "convert": f"/rates/convert?from={base or 'EUR'}&to=USD&amount=25",
            "fluctuation": f"/rates/fluctuation?{span}",
            "symbols": "/rates/symbols",
            "currencies": "/rates/currencies",
            "health": "/-/health",
            "freshness": "/-/health/freshness",
            "openapi": "/rates/openapi.json",
            "docs": "/rates/docs/",
        },
    }
    return Reply(bodies.as_json(document), replies.recent())


def symbols(ask: Ask) -> Reply:
    """Every code that was ever stored, and its name, as Fixer says it."""
    return Reply(bodies.as_json({"success": True, "symbols": _names(ask)}), replies.recent())


def currencies(ask: Ask) -> Reply:
    """The same as a bare object, as other clients expect it."""
    return Reply(bodies.as_json(_names(ask)), replies.recent())


def stored(ask: Ask) -> Stored:
    """What this instance has, as the descriptions of the API need it."""
    ((newest, oldest, _),) = ask.queries.rows("latest_date")
    first, last = (dt.date.fromisoformat(day) if day else None for day in (oldest, newest))
    return Stored(_names(ask).keys(), first, last, ask.parameters.now.date())


def description(ask: Ask) -> Reply:
    """The OpenAPI document of this instance."""
    return Reply(bodies.as_json(openapi.document(stored(ask))), replies.until_midnight(ask.parameters.now))


def date(ask: Ask, *, date: str, csv: str | None) -> Reply:
    """The rates of one day, or of the newest."""
    asked = None if date == "latest" else ask.parameters.date(date)
    wanted, amount = ask.parameters.wanted(), ask.parameters.multiplier()
    day = read_day(ask.queries, asked, wanted)
    rates = rates_of(ask.queries, day, wanted)
    base = wanted.base or day.base
    cache_control = (
        ask.cache_control(day.date, wanted.as_of) if asked else ask.cache_control_of_newest(wanted.as_of)
    )
    missing = lifespans(ask.queries, (code for code in wanted.symbols or () if code not in rates))
    if amount is not None:
        rates = multiplied(rates, amount)
    if csv:
        body = bodies.rates_csv(base, [(day.date, rates)], amount)
        return Reply(body, cache_control, replies.CSV, headers=_headers(missing))
    body = bodies.day_json(
        date=day.date,
        base=base,
        timestamp=day.timestamp,
        rates=rates,
        historical=asked is not None,
        as_of=wanted.as_of,
        amount=amount,
        missing=missing,
    )
    return Reply(body, cache_control, headers=_headers(missing))


def timeseries(ask: Ask) -> Reply:
    """The rates of the days from `start_date` to `end_date`."""
    start, end = ask.parameters.range()
    return _series(ask, start, end, csv=None)


def date_range(ask: Ask, *, start: str, end: str, csv: str | None) -> Reply:
    """The same from a path `<start>..<end>`; without an end, up to the newest day."""
    if not start:
        info = "The range names no start: <start>..<end> or <start>.. is expected."
        raise ApiError(NO_TIMEFRAME_SUPPLIED, info)
    first = ask.parameters.date(start, INVALID_START_DATE)
    return _series(ask, first, ask.parameters.date(end, INVALID_END_DATE) if end else None, csv=csv)


def convert(ask: Ask) -> Reply:
    """An amount converted at the rate of one day, or of the newest."""
    source = ask.parameters.currency("from", INVALID_FROM_CURRENCY)
    target = ask.parameters.currency("to", INVALID_TO_CURRENCY)
    amount = ask.parameters.amount()
    asked, as_of = ask.parameters.conversion_date(), ask.parameters.as_of()
    day = read_day(ask.queries, asked, Wanted(as_of=as_of))
    for code, kind in ((source, INVALID_FROM_CURRENCY), (target, INVALID_TO_CURRENCY)):
        if code not in day.rates:
            require_currency(ask.queries, code, kind)
    rates = rates_of(ask.queries, day, Wanted(source, (target,), as_of))
    document = bodies.conversion_document(
        source=source,
        target=target,
        amount=amount,
        rate=rates[target],
        date=day.date,
        timestamp=day.timestamp,
        historical=asked is not None,
        as_of=as_of,
    )
    cache_control = ask.cache_control(day.date, as_of) if asked else ask.cache_control_of_newest(as_of)
    return Reply(bodies.as_json(document), cache_control)


def fluctuation(ask: Ask) -> Reply:
    """How much each rate changed between the first and the last stored day of a range.

    As at Fixer, the end may lie before the start: the change is then that from the later day to the earlier.
    """
    start, end = ask.parameters.range()
    wanted = ask.parameters.wanted()
    earlier, later = min(start, end), max(start, end)
    stored = stored_days(ask.queries, earlier, later, wanted.as_of)
    if not stored.first or not stored.last:
        require_known(ask.queries, wanted)
        raise nothing_stored(f"from {earlier} to {later}", stored, wanted.as_of)
    ends = [read_day(ask.queries, dt.date.fromisoformat(day), wanted) for day in (stored.first, stored.last)]
    if end < start:
        ends.reverse()
    first, last = (rates_of(ask.queries, day, wanted) for day in ends)
    lacking = [code for code in wanted.symbols or () if code not in first or code not in last]
    if wanted.symbols and len(lacking) == len(wanted.symbols):
        span = f"on both {stored.first} and {stored.last}"
        raise no_rate_of(ask.queries, lacking, span, wanted.as_of)
    missing = lifespans(ask.queries, lacking)
    document = bodies.fluctuation_document(
        start=start,
        end=end,
        base=wanted.base or ends[0].base,
        first=first,
        last=last,
        as_of=wanted.as_of,
        missing=missing,
    )
    cache_control = ask.cache_control(later.isoformat(), wanted.as_of)
    return Reply(bodies.as_json(document), cache_control, headers=_headers(missing))


def _series(ask: Ask, start: dt.date, end: dt.date | None, *, csv: str | None) -> Reply:
    wanted, amount = ask.parameters.wanted(), ask.parameters.multiplier()
    if end:
        in_order(start, end)
    series = read_series(ask.queries, start, end, wanted)
    if series.missing and not series.days:
        codes, span = tuple(series.missing), span_of(start, end)
        # Where the base has rates, but on other days, it takes both to say why there are none.
        what = f"{', '.join(wanted.symbols or ())} in {series.base}" if series.base in codes else ""
        raise no_rate_of(ask.queries, codes, span, wanted.as_of, what=what)
    days = series.days
    if amount is not None:
        days = {date: multiplied(rates, amount) for date, rates in ask.queries.paced(days.items())}
    cache_control = ask.cache_control(end.isoformat() if end else "9999-12-31", wanted.as_of)
    if csv:
        body = bodies.rates_csv(series.base, ask.queries.paced(days.items()), amount)
        return Reply(body, cache_control, replies.CSV, headers=_headers(series.missing))
    body = bodies.series_json(
        start=start.isoformat(),
        end=end.isoformat() if end else series.last,
        base=series.base,
        days=days,
        as_of=wanted.as_of,
        amount=amount,
        missing=series.missing,
    )
    return Reply(body, cache_control, headers=_headers(series.missing))


def _headers(missing: Lifespans) -> dict[str, str]:
    """Return the header that says of rows what the document says by `missing`."""
    spans = ", ".join(f"{code}={first}..{last}" for code, (first, last) in missing.items())
    return {replies.MISSING: spans} if spans else {}


def _names(ask: Ask) -> dict[str, str]:
    return {code: name for code, name, *_ in ask.queries.rows("symbols")}
