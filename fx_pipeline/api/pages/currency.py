"""The page of one currency: its history against another currency, year by year, and its revisions."""

import datetime as dt
from calendar import monthrange
from collections.abc import Mapping
from difflib import get_close_matches

from fx_pipeline.api.endpoints.days import read_series
from fx_pipeline.api.endpoints.parameters import RateQuery, quoted, read_code
from fx_pipeline.api.errors import INVALID_CURRENCY_CODES
from fx_pipeline.api.pages import figures
from fx_pipeline.api.pages.figures import Point
from fx_pipeline.api.pages.links import api_path
from fx_pipeline.api.pages.page import Page, PageRequest, Span
from fx_pipeline.api.pages.tables import page_context, revision_rows
from fx_pipeline.rates import MOST_TRADED, parse_date

QUERIES = (
    "rate_history",
    "stored_days",
    "latest_date",
    "currencies",
    "currency_revisions",
)
"""The canned queries that the page needs."""

RANGES = {"1m": ("1M", 1), "1y": ("1Y", 12), "5y": ("5Y", 60), "all": ("All", None)}
"""The ranges of the chart by their name in the URL: the label of the button, and the length in months."""
DEFAULT_RANGE = "1y"


def page(request: PageRequest, *, code: str) -> Page:
    """Return the page of the currency `code`."""
    span = request.span()
    if span is None:
        return Page("empty.html", {"section": "currency"}, 404)
    names = request.names()
    if code.upper() not in names:
        return _unknown_currency(code.upper(), names)
    code = read_code(code, quoted(code), INVALID_CURRENCY_CODES)
    base = request.parameters.base() or span.base
    if base == code:
        others = (other for other in (span.base, *MOST_TRADED, *names) if other in names and other != code)
        base = next(others, code)
    chosen = request.text("range") if request.text("range") in RANGES else DEFAULT_RANGE
    days = _history(request, span, code, base)
    context = {
        **page_context(request, span, base),
        "section": "currency",
        "code": code,
        "name": names[code],
        "bases": names,
        "base_name": names.get(base, base),
        "ranges": {key: label for key, (label, _) in RANGES.items()},
        "chosen": chosen,
        "days": days,
        "revisions": revision_rows(request.queries.rows("currency_revisions", currency=code)),
        "stored_base": span.base,
    }
    if not days:
        return Page("currency.html", context)
    (first, _), (last, rate) = days[0], days[-1]
    starts = {
        key: max(first, months_before(parse_date(last), months).isoformat()) if months else first
        for key, (_, months) in RANGES.items()
    }
    path = f"{starts[chosen]}..{last}"
    return Page(
        "currency.html",
        {
            **context,
            "starts": starts,
            "last": days[-1],
            "change": figures.change_percent(days[-2][1], rate) if len(days) > 1 else None,
            "inverse": 1 / rate,
            "summary": figures.summary(chosen, [point for point in days if point[0] >= starts[chosen]]),
            "years": figures.by_year(days),
            "api_call": api_path(path, base=span.base_parameter(base), symbols=code),
            "csv": api_path(f"{path}.csv", base=span.base_parameter(base), symbols=code),
        },
    )


def months_before(date: dt.date, months: int) -> dt.date:
    """Return the same day `months` earlier, or the last day of that month if it is shorter."""
    year, month = divmod(date.year * 12 + date.month - 1 - months, 12)
    return dt.date(year, month + 1, min(date.day, monthrange(year, month + 1)[1]))


def _history(request: PageRequest, span: Span, code: str, base: str) -> list[Point]:
    series = read_series(
        request.queries, parse_date(span.oldest), None, RateQuery(base=base, symbols=(code,))
    )
    return [(date, rates[code]) for date, rates in series.days.items() if code in rates]


def _unknown_currency(code: str, names: Mapping[str, str]) -> Page:
    """Return the page that suggests currencies with a similar code, or with `code` in their name."""
    similar = get_close_matches(code, names, n=6, cutoff=0.6)
    named = [known for known, name in names.items() if len(code) > 2 and code.lower() in name.lower()]
    near = list(dict.fromkeys([*similar, *named]))[:8]
    context = {"section": "currency", "code": code, "near": near, "names": names}
    return Page("no_currency.html", context, 404)
