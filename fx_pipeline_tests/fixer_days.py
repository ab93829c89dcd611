"""Days as Fixer sends them: a fetch whose body holds the rates that it brings."""

import datetime as dt
import json
from collections.abc import Mapping

from fx_pipeline.clock import end_of_day
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates
from fx_pipeline_tests.fetches import fetch_of


def day_of(date: dt.date, rates: Mapping[str, float]) -> Fetch:
    """Return the fetch of one day with these rates and that of the euro."""
    timestamp = end_of_day(date)
    rates = {"EUR": 1.0, **rates}
    document = {
        "success": True,
        "timestamp": timestamp,
        "historical": True,
        "base": "EUR",
        "date": date.isoformat(),
        "rates": rates,
    }
    day = DayRates(date=date, base="EUR", timestamp=timestamp, rates=rates)
    return fetch_of(day, body=json.dumps(document).encode())
