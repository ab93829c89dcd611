"""The home page: the latest rates, a converter and the trend of the last 30 days."""

import datetime as dt

from fx_pipeline.api.endpoints.days import Series, read_series
from fx_pipeline.api.endpoints.parameters import BASE_NAMES, RateQuery
from fx_pipeline.api.errors import NO_RATES_AVAILABLE, ApiError
from fx_pipeline.api.pages import figures
from fx_pipeline.api.pages.links import api_path, day_path
from fx_pipeline.api.pages.page import Page, PageRequest
from fx_pipeline.api.pages.tables import currency_names, page_context, rate_rows
from fx_pipeline.rates import MOST_TRADED, calendar, parse_date

QUERIES = ("rates_by_range", "stored_days", "latest_date", "currencies")
"""The canned queries that the page needs."""
PARAMETERS = (*BASE_NAMES, "date")

MAJORS_SHOWN = 8
TREND = dt.timedelta(days=30)


def page(request: PageRequest, *, max_age_days: int) -> Page:
    """Return the page of the latest day, or a redirect to the page of the requested day.

    A latest day without a rate of the base redirects to its page, too.
    """
    span = request.span()
    if span is None:
        return Page("empty.html", {"section": "home"})
    base = request.parameters.base() or span.base
    if request.text("date") not in ("", span.newest):
        return Page("", elsewhere=day_path(request.text("date"), span.base_parameter(base)))
    newest = parse_date(span.newest)
    series = _latest(request, newest, base)
    if series is None or list(series.days)[-1] != span.newest:
        # The page of the day says when this base has rates.
        return Page("", elsewhere=day_path(span.newest, base))
    dates, rates_by_day = list(series.days), list(series.days.values())
    names = request.names()
    before = dates[-2] if len(dates) > 1 else None
    window = [series.days.get(date, {}) for date in calendar(newest - TREND, newest)]
    rows = rate_rows(names, base, rates_by_day[-1], series.days[before] if before else {}, window)
    by_code = {row.code: row for row in rows}
    age = (request.today - newest).days
    return Page(
        "home.html",
        {
            **page_context(request, span, base),
            "section": "home",
            "date": span.newest,
            "bases": currency_names(names, rates_by_day[-1]),
            "age": figures.shown_age(age),
            "stale": age > max_age_days,
            "rows": rows,
            "majors": [by_code[code] for code in MOST_TRADED if code in by_code][:MAJORS_SHOWN],
            "before": before,
            "api_call": api_path(f"{newest - TREND}..{newest}", base=span.base_parameter(base)),
            "api_day": api_path("latest", base=span.base_parameter(base)),
            "csv": api_path(f"{newest}.csv", base=span.base_parameter(base)),
        },
    )


def _latest(request: PageRequest, newest: dt.date, base: str) -> Series | None:
    """Return the latest days; None if none of them has a rate of the base."""
    try:
        return read_series(request.queries, newest - TREND, None, RateQuery(base=base))
    except ApiError as error:
        if error.kind is not NO_RATES_AVAILABLE:
            raise
        return None
