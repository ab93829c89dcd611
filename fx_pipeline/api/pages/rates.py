"""The pages for people: home, one day, one currency, coverage. Each shows what the API answers.

They read through the functions that the endpoints stand on, in one transaction. Here is what each of them
shows; `page_views` has the requests and responses.
"""

import datetime as dt
from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, NamedTuple

from fx_pipeline.api.endpoints.days import rates_of, read_day, read_series, stored_days
from fx_pipeline.api.endpoints.parameters import AsOf, Wanted, quoted, read_code
from fx_pipeline.api.errors import INVALID_CURRENCY_CODES, ApiError
from fx_pipeline.api.pages import figures
from fx_pipeline.api.pages.calendar import Coverage
from fx_pipeline.api.pages.figures import Point
from fx_pipeline.api.pages.links import api_path, backfill_url, day_path
from fx_pipeline.api.pages.visit import Page, Span, Visit
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.rates import parse_date

SERIES = ("rates_by_range", "rate_history", "stored_days", "latest_date", "symbols", "day_fetches")
DAY = ("rates_by_date", "stored_days", "latest_date", "symbols", "day_fetches", "day_revisions")
CURRENCY = (*SERIES, "currency_revisions")
COVERAGE = ("coverage", "day_fetches")
OPERATIONS = ("last_fetches", "calls_of_month")
"""The canned queries that each page is made from."""

MAJORS = ("USD", "EUR", "JPY", "GBP", "CNY", "AUD", "CAD", "CHF", "HKD", "SGD", "SEK", "KRW", "NOK", "NZD")
"""The most traded currencies, in that order (BIS, Triennial Central Bank Survey 2022)."""

MAJORS_SHOWN = 8
TREND = dt.timedelta(days=30)
GAPS_SHOWN = 12

RANGES = {"1m": ("1M", 1), "1y": ("1Y", 12), "5y": ("5Y", 60), "all": ("All", None)}
"""The ranges of a chart: the name in the address, the one on the button, and the months up to the newest."""
DEFAULT_RANGE = "1y"


class Row(NamedTuple):
    """A currency as a table of rates shows it; the change is in percent."""

    code: str
    name: str
    rate: float
    change: float | None
    trend: Sequence[float]


def home(visit: Visit, *, max_age_days: int) -> Page:
    """The newest day: majors with their last 30 days, a converter, every rate."""
    span = visit.span()
    if span is None:
        return Page("empty.html", {"section": "home"})
    base = visit.parameters.base() or span.base
    if visit.text("date") not in ("", span.newest):
        return Page("", elsewhere=day_path(visit.text("date"), span.asked(base)))
    start = parse_date(span.newest) - TREND
    wanted = Wanted(base=base)
    series = read_series(visit.queries, start, None, wanted)
    names = visit.names()
    dates, rates_by_day = list(series.days), list(series.days.values())
    if dates[-1] != span.newest:
        # The base has no rate on that day, and to say so is all there is: this raises, as the API does.
        read_series(visit.queries, parse_date(span.newest), None, wanted)
    rows = _rows(names, base, rates_by_day)
    by_code = {row.code: row for row in rows}
    age = (visit.today - parse_date(span.newest)).days
    return Page(
        "home.html",
        {
            **_common(visit, span, base),
            "section": "home",
            "date": span.newest,
            "bases": _named(names, rates_by_day[-1]),
            "age": figures.shown_age(age),
            "stale": age > max_age_days,
            "rows": rows,
            "majors": [by_code[code] for code in MAJORS if code in by_code][:MAJORS_SHOWN],
            "before": dates[-2] if len(dates) > 1 else None,
            "api_call": api_path(f"{start}..{span.newest}", base=span.asked(base)),
            "api_day": api_path("latest", base=span.asked(base)),
            "csv": api_path(f"{span.newest}.csv", base=span.asked(base)),
            "made_up": visit.is_made_up(),
        },
    )


def day(visit: Visit) -> Page:
    """One day as it is stored or was known: its rates, where they come from, what was revised."""
    span = visit.span()
    if span is None:
        return Page("empty.html", {"section": "day"})
    wanted = Wanted(base=visit.parameters.base(), as_of=visit.parameters.as_of())
    as_of = visit.text("as_of")
    base = wanted.base or span.base
    date = visit.parameters.date(visit.text("date") or _newest(visit, span, wanted.as_of))
    stored = stored_days(visit.queries, date, date, wanted.as_of)
    names = visit.names()
    context = {
        **_common(visit, span, base),
        "section": "day",
        "date": date.isoformat(),
        "bases": names,
        "before": stored.before,
        "after": stored.after,
        "as_of": as_of,
        "path": partial(day_path, base=span.asked(base), as_of=as_of),
        "rows": [],
    }
    if not stored.days:
        return Page("day.html", context, 404)
    read = read_day(visit.queries, date, wanted)
    rates: list[Mapping[str, float]] = [rates_of(visit.queries, read, wanted)]
    if stored.before:
        rates.insert(0, _rates_before(visit.queries, parse_date(stored.before), wanted))
    return Page(
        "day.html",
        {
            **context,
            "rows": _rows(names, base, rates),
            "bases": _named(names, read.rates),
            "timestamp": read.timestamp,
            "fetches": visit.queries.rows("day_fetches", date=read.date),
            "revisions": _revisions(visit.queries.rows("day_revisions", date=read.date)),
            "stored_base": read.base,
            "made_up": visit.is_made_up(read.date),
            "api_call": api_path(read.date, base=span.asked(base), as_of=as_of),
            "csv": api_path(f"{read.date}.csv", base=span.asked(base), as_of=as_of),
        },
    )


def currency(visit: Visit, *, code: str) -> Page:
    """The history of a currency against another: a chart, each year, what was revised."""
    span = visit.span()
    if span is None:
        return Page("empty.html", {"section": "currency"}, 404)
    names = visit.names()
    if code.upper() not in names:
        return Page("no_currency.html", _unknown(code.upper(), names), 404)
    code = read_code(code, quoted(code), INVALID_CURRENCY_CODES)
    base = visit.parameters.base() or span.base
    if base == code:
        others = (other for other in (span.base, *MAJORS, *names) if other in names and other != code)
        base = next(others, code)
    chosen = visit.text("range") if visit.text("range") in RANGES else DEFAULT_RANGE
    series = read_series(visit.queries, parse_date(span.oldest), None, Wanted(base=base, symbols=(code,)))
    days: list[Point] = [(date, rates[code]) for date, rates in series.days.items() if code in rates]
    context = {
        **_common(visit, span, base),
        "section": "currency",
        "code": code,
        "name": names[code],
        "bases": names,
        "base_name": names.get(base, base),
        "ranges": {key: name for key, (name, _) in RANGES.items()},
        "chosen": chosen,
        "days": days,
        "revisions": _revisions(visit.queries.rows("currency_revisions", currency=code)),
        "stored_base": span.base,
        "made_up": visit.is_made_up(),
    }
    if not days:
        return Page("currency.html", context)
    last = parse_date(days[-1][0])
    starts = {
        key: max(days[0][0], months_before(last, months).isoformat()) if months else days[0][0]
        for key, (_, months) in RANGES.items()
    }
    path = f"{starts[chosen]}..{last}"
    return Page(
        "currency.html",
        {
            **context,
            "starts": starts,
            "last": days[-1],
            "change": figures.change_percent(days[-2][1], days[-1][1]) if len(days) > 1 else None,
            "inverse": 1 / days[-1][1],
            "summary": figures.summary(chosen, [point for point in days if point[0] >= starts[chosen]]),
            "years": figures.by_year(days),
            "api_call": api_path(path, base=span.asked(base), symbols=code),
            "csv": api_path(f"{path}.csv", base=span.asked(base), symbols=code),
        },
    )


def coverage(
    visit: Visit,
    *,
    start: dt.date,
    max_age_days: int,
    dagster_url: str,
    operations: dict[str, Any] | None,
) -> Page:
    """Which days are stored, from `start` to yesterday; and `operations`, for who may see them."""
    end = visit.today - dt.timedelta(days=1)
    stored = Coverage(visit.queries.rows("coverage", start_date="", end_date=""), start, end)
    years = stored.years()
    asked = visit.text("year")
    year = int(asked) if asked in {str(one.number) for one in years} else end.year
    age = (visit.today - stored.last).days if stored.last else None
    return Page(
        "coverage.html",
        {
            "section": "coverage",
            "coverage": stored,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "age": age,
            "stale": age is not None and age > max_age_days,
            "years": years,
            "year": year,
            "months": stored.months(year),
            "gaps": stored.gaps[::-1][:GAPS_SHOWN],
            "more_gaps": max(0, len(stored.gaps) - GAPS_SHOWN),
            "backfill": backfill_url(dagster_url, stored.gaps),
            "operations": operations,
            "made_up": visit.is_made_up(),
            "path": lambda date: day_path(date.isoformat()),
        },
    )


def operations(queries: Queries, month_start: dt.date, quota: int | None) -> dict[str, Any]:
    """The last questions to the provider, and the calls of a month; `quota` is how many may be made."""
    ((used, told),) = queries.rows("calls_of_month", month_start=month_start.isoformat())
    return {"fetches": queries.rows("last_fetches", since=""), "calls": used, "limit": quota or told}


def months_before(date: dt.date, months: int) -> dt.date:
    """The same day so many months earlier, or the last one of that month where it has none."""
    year, month = divmod(date.year * 12 + date.month - 1 - months, 12)
    return dt.date(year, month + 1, min(date.day, monthrange(year, month + 1)[1]))


def _common(visit: Visit, span: Span, base: str) -> dict[str, Any]:
    return {
        "newest": span.newest,
        "oldest": span.oldest,
        "today": visit.today.isoformat(),
        "base": base,
        "base_query": f"?base={base}" if span.asked(base) else "",
    }


def _newest(visit: Visit, span: Span, as_of: AsOf | None) -> str:
    """The newest day, or that which was the newest then."""
    then = stored_days(visit.queries, parse_date(span.oldest), None, as_of).last if as_of else None
    return then or span.newest


def _rows(names: Mapping[str, str], base: str, days: Sequence[Mapping[str, float]]) -> list[Row]:
    """The rates of the last of these days, with their changes since the day before and all their values."""
    before = days[-2] if len(days) > 1 else {}
    return [
        Row(
            code,
            names.get(code, code),
            rate,
            figures.change_percent(before[code], rate) if code in before else None,
            [rates[code] for rates in days if code in rates],
        )
        for code, rate in days[-1].items()
        if code != base
    ]


def _named(names: Mapping[str, str], codes: Iterable[str]) -> dict[str, str]:
    return {code: names.get(code, code) for code in sorted(codes)}


def _rates_before(queries: Queries, date: dt.date, wanted: Wanted) -> Mapping[str, float]:
    """The rates of the day before, to count changes from; none where that has no rate of the base."""
    try:
        return rates_of(queries, read_day(queries, date, wanted), wanted)
    except ApiError:
        return {}


def _revisions(rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    names = ("date", "currency", "was", "became", "known_from", "replaced_at")
    return [
        {**dict(zip(names, row, strict=True)), "change": figures.change_percent(row[2], row[3])}
        for row in rows
    ]


def _unknown(code: str, names: Mapping[str, str]) -> dict[str, Any]:
    """What may have been meant by a code that is not stored."""
    near = get_close_matches(code, names, n=6, cutoff=0.6)
    named = [known for known, name in names.items() if len(code) > 2 and code.lower() in name.lower()]
    return {
        "section": "currency",
        "code": code,
        "near": list(dict.fromkeys([*near, *named]))[:8],
        "names": names,
    }
