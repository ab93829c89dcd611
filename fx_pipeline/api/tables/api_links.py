"""Links from the table and the queries of rates to the same rates as CSV of the API.

A page has links only if the API returns exactly the days and currencies of its conditions. Without conditions
the API may not return all rates, so the links are then to the last year, and the page says so.
"""

import datetime as dt
import re
from typing import NamedTuple

from datasette import Forbidden, Request
from datasette.filters import Filters
from datasette.utils import tilde_decode

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.days import require_fitting, require_known, stored_days
from fx_pipeline.api.endpoints.inputs import parse_range
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import ApiError
from fx_pipeline.api.pages.links import api_path
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import Size
from fx_pipeline.api.tables.parameters import filters_of, parts
from fx_pipeline.rates import is_code, is_date

PAGES = ("rates", "rates_by_range", "rate_history")
"""The table and the queries with rates of several days."""

DAYS = 365
"""The days of the links of a page without conditions."""

QUERIES = ("latest_date", "stored_days", "currencies", "rates_by_range", "rate_history")
"""The canned queries that the links and the requests to the API need."""

_FIRST_DAY = {"exact": 0, "gte": 0, "gt": 1}
_LAST_DAY = {"exact": 0, "lte": 0, "lt": -1}
"""How far the first and the last day are from the date of a condition."""

_TIME_WITHOUT_ZONE = re.compile(r"^.{10}[Tt ][0-9:.]+$")


class _Chosen(NamedTuple):
    """The days, as ordinals, and the currencies that a page shows. None means all currencies."""

    first: int = 1
    last: int = dt.date.max.toordinal()
    symbols: tuple[str, ...] | None = None
    as_of: str = ""

    def is_all(self) -> bool:
        """Return whether no condition limits the days or the currencies."""
        return self[:3] == _Chosen()[:3]


async def api_links(datasette: FxDatasette, request: Request) -> dict[str, str | int]:
    """Return the links for the page of a table or a query, and `api_days` if they are of the last days."""
    page = tilde_decode(request.url_vars.get("table", ""))
    if page not in PAGES:
        return {}
    now = datasette.clock()

    def read(queries: Queries) -> dict[str, str | int]:
        chosen = _of_table(request) if page == "rates" else _of_query(request, now)
        return _links(queries, chosen, now) if chosen else {}

    try:
        return await datasette.reader.run(request.actor, QUERIES, read, size=Size.SMALL)
    except (Forbidden, ApiError):
        return {}


def _links(queries: Queries, chosen: _Chosen, now: dt.datetime) -> dict[str, str | int]:
    """Return the links. Raise ApiError if the API would refuse the request."""
    ((newest, oldest, _),) = queries.rows("latest_date")
    if not newest:
        return {}
    last = min(chosen.last, _ordinal(newest))
    first = max(1, last - DAYS + 1) if chosen.is_all() else max(chosen.first, _ordinal(oldest))
    if first > last:
        return {}
    start, end = (dt.date.fromordinal(day).isoformat() for day in (first, last))
    call = {"symbols": ",".join(chosen.symbols or ()), "as_of": chosen.as_of}
    parsed = parse_range(Parameters({name: [text] for name, text in call.items()}, now), start=start, end=end)
    require_known(queries, parsed.rates)
    stored = stored_days(queries, parsed.start, parsed.end, parsed.rates.as_of)
    if not stored.days:
        return {}
    require_fitting(stored, parsed.rates)
    path = f"{start}..{end}.csv"
    return {
        "api_csv": api_path(path, **call),
        "api_wide_csv": api_path(path, **call, wide="1"),
        "api_days": DAYS if chosen.is_all() else 0,
    }


def _of_table(request: Request) -> _Chosen | None:
    """Return what the conditions of the table choose; None if the API has no such condition."""
    chosen = _Chosen()
    if "_through" in request.args:
        return None
    for column, lookup, value in Filters(filters_of(request)).selections():
        if column == "date" and is_date(value) and lookup in (*_FIRST_DAY, *_LAST_DAY):
            day = _ordinal(value)
            chosen = chosen._replace(
                first=max(chosen.first, day + _FIRST_DAY[lookup]) if lookup in _FIRST_DAY else chosen.first,
                last=min(chosen.last, day + _LAST_DAY[lookup]) if lookup in _LAST_DAY else chosen.last,
            )
        elif column == "currency" and lookup in ("exact", "in"):
            codes = tuple(parts(value)) if lookup == "in" else (value,)
            if not all(map(is_code, codes)):
                return None
            others = chosen.symbols
            chosen = chosen._replace(
                symbols=tuple(code for code in codes if others is None or code in others)
            )
        else:
            return None
    return None if chosen.symbols == () else chosen


def _of_query(request: Request, now: dt.datetime) -> _Chosen:
    """Return what the parameters of the query choose."""
    parameters = Parameters.parse(request.query_string, now)
    start, end = parameters.text("start_date"), parameters.text("end_date")
    chosen = _Chosen(symbols=parameters.symbols(), as_of=_with_zone(parameters.text("as_of")))
    if start:
        chosen = chosen._replace(first=_ordinal(start))
    return chosen._replace(last=_ordinal(end)) if end else chosen


def _ordinal(date: str) -> int:
    return dt.date.fromisoformat(date).toordinal()


def _with_zone(as_of: str) -> str:
    """Return an instant for the API, which requires a zone. To a query, a time without a zone is UTC."""
    return f"{as_of}Z" if _TIME_WITHOUT_ZONE.search(as_of) else as_of
