"""Where things are: the addresses that pages link to, of pages, of the API, and of Dagster."""

import datetime as dt
from collections.abc import Sequence
from urllib.parse import urlencode

MOST_GAPS = 100
"""Gaps that one address of Dagster names: it has to stay short enough to be read."""


def day_path(date: str, base: str = "", as_of: str = "") -> str:
    """The page of a day; an empty base is the stored one."""
    return f"/fx/rates_by_date?{_query(date=date, base=base, as_of=as_of)}"


def api_path(path: str, **parameters: str) -> str:
    """A call of the API: what stands after ``/rates/``, and those of the parameters that are not empty."""
    slash = "" if path.endswith(".csv") or path == "latest" else "/"
    query = _query(**parameters)
    return f"/rates/{path}{slash}{'?' if query else ''}{query}"


def backfill_url(dagster_url: str, gaps: Sequence[tuple[dt.date, dt.date]]) -> str:
    """The page of Dagster on which days are chosen and fetched, with the newest of these gaps chosen."""
    chosen = [f"{first}" if first == last else f"[{first}...{last}]" for first, last in gaps[-MOST_GAPS:]]
    return f"{dagster_url}/assets/rates?{_query(view='partitions', default_range=','.join(chosen))}"


def _query(**parameters: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value}, safe=",:[]")
