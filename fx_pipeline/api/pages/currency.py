"""The page of one currency: its history against another currency, by year and month, and its revisions."""

import datetime as dt
from bisect import bisect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial

from fx_pipeline.api.endpoints.days import lifespans, read_series
from fx_pipeline.api.endpoints.parameters import (
    BASE_NAMES,
    SYMBOLS_NAMES,
    Parameters,
    RateQuery,
    quoted,
    read_code,
)
from fx_pipeline.api.errors import INVALID_CURRENCY_CODES, NO_RATES_AVAILABLE, ApiError
from fx_pipeline.api.pages import figures, ranges
from fx_pipeline.api.pages.figures import MONTH, YEAR, Point
from fx_pipeline.api.pages.links import api_path, currency_path, day_path
from fx_pipeline.api.pages.page import Page, PageRequest
from fx_pipeline.api.pages.ranges import Range
from fx_pipeline.api.pages.tables import page_context, revision_rows
from fx_pipeline.rates import FIRST_DATE, MOST_TRADED, parse_date

QUERIES = (
    "rate_history",
    "stored_days",
    "latest_date",
    "currencies",
    "currency_revisions",
)
"""The canned queries that the page needs."""
PARAMETERS = (*BASE_NAMES, *SYMBOLS_NAMES, "start_date", "end_date", "range", "indexed")

MOST_LINES = 6
"""Currencies in one chart. More would look too much alike."""

DAY = dt.timedelta(1)
HEADLINE = dt.timedelta(days=30)
"""How far before its last day the two rates of the headline may be."""


def cost(parameters: Parameters) -> int:
    """Estimate the rates that the page reads. The base counts as one more currency."""
    days = ranges.requested(parameters, Range(FIRST_DATE, parameters.now.date())).days
    return days * (2 + len(parameters.symbols() or ()))


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
        choices = (other for other in (span.base, *MOST_TRADED, *names) if other in names and other != code)
        base = next(choices, code)
    others = _others(request.parameters, code, base)
    codes = (code, *others)
    lives = lifespans(request.queries, dict.fromkeys((*codes, base)))
    stored = Range(parse_date(span.oldest), parse_date(span.newest))
    limits = _limits(stored, (lives[one] for one in (code, base) if one in lives))
    wanted = ranges.requested(request.parameters, limits or stored)
    shown = wanted.within(limits) if limits else None
    # The day before the range is read too: the change of its first year or month may count from it.
    read = _read(request, shown._replace(start=shown.start - DAY), base, codes) if shown else {}
    days = {one: [day for day in read[one] if day[0] >= f"{shown.start}"] for one in codes} if shown else {}
    is_indexed = request.parameters.flag("indexed", "100 on the first common day")
    kept = {
        "base": span.base_parameter(base),
        "symbols": ",".join(others),
        "indexed": "1" if is_indexed else "",
    }
    latest = _read(request, Range(limits.end - HEADLINE, limits.end), base, (code,))[code] if limits else []
    context = {
        **page_context(request, span, base),
        "section": "currency",
        "code": code,
        "name": names[code],
        "bases": names,
        "base_name": names.get(base, base),
        "others": ",".join(others),
        "is_indexed": is_indexed,
        "lives": lives,
        "limits": limits,
        "wanted": wanted,
        "shown": shown or wanted,
        "days": days.get(code, []),
        "latest": latest,
        "change": figures.change_percent(latest[-2][1], latest[-1][1]) if len(latest) > 1 else None,
        "presets": _presets(limits, shown, partial(currency_path, code, **kept)) if limits else [],
        "day_path": partial(day_path, base=span.base_parameter(base)),
        "revisions": revision_rows(request.queries.rows("currency_revisions", currency=code)),
        "stored_base": span.base,
    }
    if not shown or not days[code]:
        near = _nearest(request, limits, wanted, base, code) if limits else []
        links = [(str(one), currency_path(code, **kept, **_dates(one))) for one in near]
        return Page("currency.html", {**context, "near": links})
    call = {"base": span.base_parameter(base), "symbols": ",".join(codes)}
    path = f"{shown.start}..{shown.end}"
    return Page(
        "currency.html",
        {
            **context,
            "lines": {one: figures.summary(one, days[one], shown.days) for one in codes if days[one]},
            "codes": codes,
            "index": figures.indexed({one: days[one] for one in codes if days[one]}) if is_indexed else None,
            "years": figures.by_period(read[code], shown.start, YEAR),
            "months": figures.by_period(read[code], shown.start, MONTH),
            "page_of": lambda one: currency_path(one, base=kept["base"], **_dates(shown)),
            "api_call": api_path(path, **call),
            "csv": api_path(f"{path}.csv", **call, wide="1" if others else ""),
        },
    )


def _others(parameters: Parameters, code: str, base: str) -> tuple[str, ...]:
    """Return the currencies to compare with `code`."""
    others = tuple(other for other in parameters.symbols() or () if other not in (code, base))
    if len(others) >= MOST_LINES:
        info = f"Compare {code} with at most {MOST_LINES - 1} other currencies, not {len(others)}."
        raise ApiError(INVALID_CURRENCY_CODES, info)
    return others


def _limits(stored: Range, lives: Iterable[tuple[str, str]]) -> Range | None:
    """Return the stored days on which all of these currencies may have rates; None if there are none."""
    limits: Range | None = stored
    for first, last in lives:
        limits = limits and limits.within(Range(parse_date(first), parse_date(last)))
    return limits


def _read(request: PageRequest, days: Range, base: str, codes: tuple[str, ...]) -> dict[str, list[Point]]:
    """Return the rates of each currency, oldest first."""
    try:
        series = read_series(request.queries, *days, RateQuery(base=base, symbols=codes))
    except ApiError as error:
        if error.kind is not NO_RATES_AVAILABLE:
            raise
        return {code: [] for code in codes}
    points: dict[str, list[Point]] = {code: [] for code in codes}
    for date, rates in request.queries.paced(series.days.items()):
        for code, rate in rates.items():
            points[code].append((date, rate))
    return points


def _presets(limits: Range, shown: Range | None, path: partial[str]) -> list[tuple[str, str, bool]]:
    """Return the label and the link of each preset, and whether it is the range that is shown."""
    keys = ranges.complete_presets(limits)
    # The whole history may be exactly as long as another preset.
    current = next((key for key in reversed(keys) if ranges.preset(key, limits) == shown), None)
    return [(ranges.PRESETS[key][0], path(range=key), key == current) for key in keys]


def _nearest(request: PageRequest, limits: Range, empty: Range, base: str, code: str) -> list[Range]:
    """Return the ranges before and after an empty one that have rates, of the same length if possible."""
    dates = [parse_date(date) for date, _ in _read(request, limits, base, (code,))[code]]
    place = bisect(dates, empty.start)
    length = empty.end - empty.start
    return [
        *(Range(max(limits.start, last - length), last) for last in dates[:place][-1:]),
        *(Range(first, min(limits.end, first + length)) for first in dates[place : place + 1]),
    ]


def _dates(days: Range) -> dict[str, str]:
    return {"start_date": days.start.isoformat(), "end_date": days.end.isoformat()}


def _unknown_currency(code: str, names: Mapping[str, str]) -> Page:
    """Return the page that suggests currencies with a similar code, or with `code` in their name."""
    similar = get_close_matches(code, names, n=6, cutoff=0.6)
    named = [known for known, name in names.items() if len(code) > 2 and code.lower() in name.lower()]
    near = list(dict.fromkeys([*similar, *named]))[:8]
    context = {"section": "currency", "code": code, "near": near, "names": names}
    return Page("no_currency.html", context, 404)
