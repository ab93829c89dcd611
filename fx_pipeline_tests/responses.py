"""Responses as the provider sends them, parsed, so that a stored body agrees with its rates."""

import datetime as dt
import json

from fx_pipeline.clock import end_of_day
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.parsing import parse_body
from fx_pipeline.store.store import RateStore


def response_of(date: dt.date, rate: float, currencies: int = 30) -> Fetch:
    """Return the response about one day, in which each currency but the base costs `rate`."""
    codes = [f"{chr(65 + number // 26)}{chr(65 + number % 26)}Q" for number in range(currencies)]
    document = {
        "success": True,
        "timestamp": end_of_day(date),
        "historical": True,
        "base": "EUR",
        "date": str(date),
        "rates": {"EUR": 1, "USD": rate, **dict.fromkeys(codes, rate)},
    }
    return parse_body(
        Fetch(
            endpoint="historical",
            base="EUR",
            symbols=(),
            start_date=date,
            end_date=date,
            asked_at=dt.datetime.combine(date, dt.time(), dt.timezone.utc) + dt.timedelta(days=1),
            status="ok",
            body=json.dumps(document).encode(),
        )
    )


def store_days(store: RateStore, first: dt.date, days: int, rate: float = 1.5) -> None:
    """Store consecutive days, each with a transaction of its own."""
    for number in range(days):
        store.record([response_of(first + dt.timedelta(days=number), rate + number / 100)])
