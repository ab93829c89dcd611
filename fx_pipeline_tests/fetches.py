"""Fetches to store, for tests that start from stored rates."""

import datetime as dt
from collections.abc import Mapping

from fx_pipeline.clock import utc_now
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates


def fetch_of(
    *days: DayRates,
    endpoint: str = "historical",
    asked_at: dt.datetime | None = None,
    provider: str = "fixer",
    body: bytes = b"{}",
    names: Mapping[str, str] | None = None,
) -> Fetch:
    """Return a good fetch of these days, oldest first, made now or at `asked_at`."""
    return Fetch(
        endpoint=endpoint,
        base=days[0].base if days else "EUR",
        symbols=(),
        start_date=days[0].date if days else None,
        end_date=days[-1].date if days else None,
        asked_at=asked_at or utc_now(),
        status="ok",
        body=body,
        provider=provider,
        days=days,
        names=names or {},
    )
