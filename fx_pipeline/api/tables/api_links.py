"""Links from the table and the queries of rates to the same rates as CSV of the API."""

import datetime as dt
import re

from datasette import Forbidden, Request
from datasette.utils import tilde_decode

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.errors import ApiError
from fx_pipeline.api.pages.links import api_path
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import Size

PAGES = ("rates", "rates_by_range", "rate_history")
"""The table and the queries with rates of several days."""

DAYS = 365
"""The days of a link without a start."""

_TIME_WITHOUT_ZONE = re.compile(r"^.{10}[Tt ][0-9:.]+$")


async def api_links(datasette: FxDatasette, request: Request) -> dict[str, str]:
    """Return the links for the page of a table or a query: of what it shows, by default of the last year."""
    if tilde_decode(request.url_vars.get("table", "")) not in PAGES:
        return {}

    def newest_of(queries: Queries) -> str | None:
        newest: str | None
        ((newest, _, _),) = queries.rows("latest_date")
        return newest

    try:
        newest = await datasette.reader.run(request.actor, ("latest_date",), newest_of, size=Size.SMALL)
    except (Forbidden, ApiError):
        return {}
    if not newest:
        return {}
    last = _text(request, "end_date") or newest
    first = _text(request, "start_date") or _days_before(last)
    chosen = {
        "symbols": _text(request, "symbols") or _text(request, "currency"),
        "as_of": _with_zone(_text(request, "as_of")),
    }
    path = f"{first}..{last}.csv"
    return {"api_csv": api_path(path, **chosen), "api_wide_csv": api_path(path, **chosen, wide="1")}


def _days_before(last: str) -> str:
    return str(dt.date.fromordinal(max(1, dt.date.fromisoformat(last).toordinal() - DAYS + 1)))


def _with_zone(as_of: str) -> str:
    """Return an instant for the API, which requires a zone. To a query, a time without a zone is UTC."""
    return f"{as_of}Z" if _TIME_WITHOUT_ZONE.search(as_of) else as_of


def _text(request: Request, name: str) -> str:
    return str(request.args.get(name, "")).strip()
