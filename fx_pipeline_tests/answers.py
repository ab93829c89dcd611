"""An answer to store, for tests that need one and not what brought it."""

import datetime as dt
from collections.abc import Mapping

from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates


def answer_with(
    *days: DayRates,
    endpoint: str = "historical",
    asked_at: dt.datetime | None = None,
    provider: str = "fixer",
    body: bytes = b"{}",
    names: Mapping[str, str] | None = None,
) -> Fetch:
    """What the provider has just answered, or at `asked_at`, about these days, oldest first."""
    return Fetch(
        endpoint=endpoint,
        base=days[0].base if days else "EUR",
        symbols=(),
        start_date=days[0].date if days else None,
        end_date=days[-1].date if days else None,
        asked_at=asked_at or dt.datetime.now(dt.timezone.utc),
        status="ok",
        body=body,
        provider=provider,
        days=days,
        names=names or {},
    )
