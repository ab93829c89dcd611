"""The URLs that pages link to: other pages, the API and Dagster."""

import datetime as dt
from collections.abc import Sequence
from urllib.parse import urlencode

MOST_GAPS = 100
"""Gaps in one link to Dagster. More would make the URL too long."""


def day_path(date: str, base: str = "", as_of: str = "") -> str:
    """Return the link to the page of a day. An empty base means the stored base."""
    return f"/fx/rates_by_date?{_query(date=date, base=base, as_of=as_of)}"


def api_path(path: str, **parameters: str) -> str:
    """Return the link to a path under ``/rates/``, with the parameters that are not empty."""
    slash = "" if path.endswith(".csv") or path == "latest" else "/"
    query = _query(**parameters)
    return f"/rates/{path}{slash}{'?' if query else ''}{query}"


def backfill_url(dagster_url: str, gaps: Sequence[tuple[dt.date, dt.date]]) -> str:
    """Return the link to Dagster's page for backfills, with the newest of these gaps selected."""
    chosen = [f"{first}" if first == last else f"[{first}...{last}]" for first, last in gaps[-MOST_GAPS:]]
    return f"{dagster_url}/assets/rates?{_query(view='partitions', default_range=','.join(chosen))}"


def _query(**parameters: str) -> str:
    return urlencode({name: value for name, value in parameters.items() if value}, safe=",:[]")
