"""A day and a series as Fixer sends them, with changes, and how they are parsed."""

import datetime as dt
import json
from typing import Any

from fx_pipeline.fixer.parsing import (
    parse_historical,
    parse_timeseries,
)
from fx_pipeline.rates import DayRates

DATE = dt.date(2000, 1, 3)
NOW = dt.datetime(2026, 11, 20, 0, 0, tzinfo=dt.timezone.utc)

DAY: dict[str, Any] = {
    "success": True,
    "timestamp": 946943999,
    "historical": True,
    "base": "EUR",
    "date": "2000-01-03",
    "rates": {"EUR": 1, "USD": 1.020124, "GBP": 0.627016, "BTC": 3.9823669e-05},
}
SERIES: dict[str, Any] = {
    "success": True,
    "timeseries": True,
    "start_date": "2012-05-01",
    "end_date": "2012-05-03",
    "base": "EUR",
    "rates": {
        "2012-05-02": {"EUR": 1, "USD": 1.315066, "AUD": 1.274202},
        "2012-05-01": {"EUR": 1, "USD": 1.322891, "AUD": 1.278047},
    },
}
START, END = dt.date(2012, 5, 1), dt.date(2012, 5, 3)


def changed(document: dict[str, Any], **changes: Any) -> bytes:
    """Return the document with other values, or without the names whose value is `...`."""
    document = {name: value for name, value in {**document, **changes}.items() if value is not ...}
    return json.dumps(document).encode()


def historical(body: bytes, base: str = "EUR") -> DayRates:
    (day,) = parse_historical(body, DATE, base, asked_at=NOW)
    return day


def timeseries(body: bytes, base: str = "EUR") -> tuple[DayRates, ...]:
    return parse_timeseries(body, START, END, base, asked_at=NOW)
