"""A database file with a history, written by RateStore at instants that the test chooses."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from fx_pipeline.clock import end_of_day, parse_instant
from fx_pipeline.rates import DayRates
from fx_pipeline.store.database import open_database
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of


class History:
    """Days in base EUR. `db` is a second connection, for tests that look at the tables or break them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = open_database(path)
        self._now = dt.datetime(2026, 3, 10, 0, 5, tzinfo=dt.timezone.utc)
        self._store = RateStore(path, now=lambda: self._now)

    def fetch(self, fetched_at: str, days: Mapping[str, Mapping[str, float]]) -> int:
        """Want and store these days as one fetch at an instant in UTC, such as 2026-03-10T00:05:00.000000Z.

        Return the number of the fetch.
        """
        self._now = parse_instant(fetched_at)
        given = [_day(dt.date.fromisoformat(date), rates) for date, rates in days.items()]
        self._store.want([day.date for day in given])
        stored, *_ = self._store.record([fetch_of(*given, asked_at=self._now)])
        return stored.fetch_id

    def want(self, *dates: str) -> None:
        """Want these days without storing them, as a run does whose requests fail."""
        self._store.want([dt.date.fromisoformat(date) for date in dates])

    def name(self, **names: str) -> None:
        """Store the provider's names of currencies."""
        self._store.record([fetch_of(endpoint="symbols", asked_at=self._now, names=names)])

    def close(self) -> None:
        self._store.close()
        self.db.close()


def _day(date: dt.date, rates: Mapping[str, float]) -> DayRates:
    return DayRates(date=date, base="EUR", timestamp=end_of_day(date), rates=rates)
