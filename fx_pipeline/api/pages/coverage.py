"""The Coverage page: which days are stored, and for token holders the latest fetches and the quota."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.api.errors import INVALID_PARAMETER, ApiError
from fx_pipeline.api.pages.calendar import Calendar
from fx_pipeline.api.pages.links import day_path
from fx_pipeline.api.pages.page import Page, PageRequest
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.rates import DateRange
from fx_pipeline.wanted import WantedDays

QUERIES = ("coverage", "wanted_ranges")
"""The canned queries that the page needs."""
PARAMETERS = ("year",)
PRIVATE_QUERIES = ("last_fetches", "calls_of_month")
"""The canned queries of the part for token holders."""

GAPS_SHOWN = 12


def page(
    request: PageRequest,
    *,
    max_age_days: int,
    backfill_url: Callable[[Sequence[DateRange]], str],
    operations: dict[str, Any] | None,
) -> Page:
    """Return the page for all days that can be fetched. `operations` is for token holders.

    Raise ApiError for a year outside these days.
    """
    start, end = request.start, request.yesterday
    wanted = WantedDays.of_rows(request.queries.rows("wanted_ranges"))
    calendar = Calendar(request.queries.rows("coverage", start_date="", end_date=""), wanted, start, end)
    years = calendar.years()
    numbers = {str(one.number): one.number for one in years}
    requested = request.text("year") or str(end.year)
    if requested not in numbers:
        info = f"The calendar has the years {start.year} to {end.year}, not {quoted(requested)}."
        raise ApiError(INVALID_PARAMETER, info)
    year = numbers[requested]
    age = (request.today - calendar.last).days if calendar.last else None
    return Page(
        "coverage.html",
        {
            "section": "coverage",
            "coverage": calendar,
            "start": start.isoformat(),
            "end": end.isoformat(),
            "age": age,
            "stale": age is not None and age > max_age_days,
            "years": years,
            "year": year,
            "in_calendar": lambda date: start <= date <= end,
            "months": calendar.months(year),
            "gaps": calendar.gaps[::-1][:GAPS_SHOWN],
            "more_gaps": max(0, len(calendar.gaps) - GAPS_SHOWN),
            "backfill": backfill_url(calendar.gaps) if request.can_launch else None,
            "operations": operations,
            "path": lambda date: day_path(date.isoformat()),
        },
    )


def operations(queries: Queries, month_start: dt.date, quota: int | None) -> dict[str, Any]:
    """Return the latest fetches and the calls of a month. `quota` overrides the limit that Fixer sends."""
    ((used, limit),) = queries.rows("calls_of_month", month_start=month_start.isoformat())
    return {
        "fetches": queries.rows("last_fetches", since=""),
        "calls": used,
        "limit": quota or limit,
    }
