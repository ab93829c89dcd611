"""The page of one day: its rates, their sources and revisions, as stored now or as known at an instant.

A day without rates, or without a rate of the base, says why and links to the nearest days that have some.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from functools import partial

from fx_pipeline.api.endpoints.days import lifespans, rates_of, read_day, stored_days
from fx_pipeline.api.endpoints.parameters import AsOf, RateQuery
from fx_pipeline.api.errors import NO_RATES_AVAILABLE, ApiError
from fx_pipeline.api.pages.fetchable import why_not_fetchable
from fx_pipeline.api.pages.links import api_path, day_path
from fx_pipeline.api.pages.page import Page, PageRequest, Span
from fx_pipeline.api.pages.tables import currency_names, page_context, rate_rows, revision_rows
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.rates import parse_date

QUERIES = ("rates_by_date", "stored_days", "latest_date", "currencies", "day_fetches", "day_revisions")
"""The canned queries that the page needs."""


def page(request: PageRequest, *, fetch_url: Callable[[dt.date], str]) -> Page:
    """Return the page of the requested day, by default the latest. `fetch_url` returns where to fetch it."""
    span = request.span()
    if span is None:
        return Page("empty.html", {"section": "day"})
    wanted = RateQuery(base=request.parameters.base(), as_of=request.parameters.as_of())
    as_of = request.text("as_of")
    base = wanted.base or span.base
    date = request.parameters.date(request.text("date") or _latest_date(request, span, wanted.as_of))
    stored = stored_days(request.queries, date, date, wanted.as_of)
    names = request.names()
    context = {
        **page_context(request, span, base),
        "section": "day",
        "date": date.isoformat(),
        "bases": names,
        "before": stored.before,
        "after": stored.after,
        "as_of": as_of,
        "now": day_path(date.isoformat(), base=span.base_parameter(base)),
        "path": partial(day_path, base=span.base_parameter(base), as_of=as_of),
        "rows": [],
    }
    if not stored.days:
        why_not = why_not_fetchable(date, request.start, request.today)
        can_be_fetched = not (wanted.as_of or why_not)
        missing = {
            "why_not": why_not,
            # The calendar of Coverage has the years from the first day to yesterday.
            "in_calendar": request.start.year <= date.year <= request.yesterday.year,
            "fetch": fetch_url(date) if can_be_fetched and request.can_launch else None,
            "can_be_fetched": can_be_fetched,
        }
        return Page("day.html", {**context, **missing}, 404)
    read = read_day(request.queries, date, wanted)
    try:
        rates = rates_of(request.queries, read, wanted)
    except ApiError as error:
        if error.kind is not NO_RATES_AVAILABLE:
            raise
        without_base = {
            "life": lifespans(request.queries, (base,)).get(base),
            "in_stored_base": day_path(date.isoformat(), as_of=as_of),
            "stored_base": read.base,
            "base_query": "",
        }
        return Page("day.html", {**context, **without_base}, 404)
    before = _previous_rates(request.queries, parse_date(stored.before), wanted) if stored.before else {}
    return Page(
        "day.html",
        {
            **context,
            "rows": rate_rows(names, base, rates, before),
            "bases": currency_names(names, read.rates),
            "timestamp": read.timestamp,
            "values": len(read.rates),
            "has_base": read.base in read.rates,
            "fetches": request.queries.rows("day_fetches", date=read.date),
            "revisions": revision_rows(request.queries.rows("day_revisions", date=read.date)),
            "stored_base": read.base,
            "api_call": api_path(read.date, base=span.base_parameter(base), as_of=as_of),
            "csv": api_path(f"{read.date}.csv", base=span.base_parameter(base), as_of=as_of),
        },
    )


def _latest_date(request: PageRequest, span: Span, as_of: AsOf | None) -> str:
    """Return the latest day that was known at `as_of`; the latest of all if there is none."""
    known = stored_days(request.queries, parse_date(span.oldest), None, as_of).last if as_of else None
    return known or span.newest


def _previous_rates(queries: Queries, date: dt.date, wanted: RateQuery) -> Mapping[str, float]:
    """Return the rates of the previous day; none if it has no rate of the base."""
    try:
        return rates_of(queries, read_day(queries, date, wanted), wanted)
    except ApiError:
        return {}
