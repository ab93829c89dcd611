"""The home page: the latest rates, a converter and the trend of the last 30 days."""

import datetime as dt

from fx_pipeline.api.endpoints.days import no_rate_of, read_series, span_of
from fx_pipeline.api.endpoints.parameters import BASE_NAMES, RateQuery
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
    """Return the page of the latest day, or a redirect to the page of the requested day."""
    span = request.span()
    if span is None:
        return Page("empty.html", {"section": "home"})
    base = request.parameters.base() or span.base
    if request.text("date") not in ("", span.newest):
        return Page("", elsewhere=day_path(request.text("date"), span.base_parameter(base)))
    newest = parse_date(span.newest)
    series = read_series(request.queries, newest - TREND, None, RateQuery(base=base))
    dates, rates_by_day = list(series.days), list(series.days.values())
    if dates[-1] != span.newest:
        raise no_rate_of(request.queries, (base,), span_of(newest, None), None, what=f"the base {base}")
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
