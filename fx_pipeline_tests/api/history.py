"""Writes a database file as the pipeline does, with the instant of each fetch chosen by the test."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.store.migrations import migrations


class History:
    """A database of days in base EUR.

    `fetch` keeps to the meaning of the schema: the newest value in `rates`, each replaced one in `revisions`
    with the fetch that had brought it and the one that replaced it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = Database(path)
        self.db.enable_wal()
        migrations.apply(self.db)

    def fetch(self, fetched_at: str, days: Mapping[str, Mapping[str, float]]) -> int:
        """Store what a fetch at that instant (UTC, six decimals) brought; returns its number."""
        with self.db.atomic():
            fetch_id = self._insert_fetch(fetched_at, min(days), max(days))
            for date, rates in days.items():
                self._write_day(fetch_id, date, rates)
        return fetch_id

    def name(self, **names: str) -> None:
        """Store the provider's names of codes."""
        self.db.table("symbols").upsert_all(
            [{"code": code, "name": name} for code, name in names.items()], pk="code"
        )

    def close(self) -> None:
        self.db.close()

    def _insert_fetch(self, fetched_at: str, start: str, end: str) -> int:
        row = {
            "endpoint": "historical",
            "start_date": start,
            "end_date": end,
            "base": "EUR",
            "symbols": "",
            "asked_at": fetched_at,
            "fetched_at": fetched_at,
            "calls": 1,
            "status": "ok",
        }
        key = self.db.table("fetches").insert(row).last_pk
        assert isinstance(key, int)
        return key

    def _write_day(self, fetch_id: int, date: str, rates: Mapping[str, float]) -> None:
        stored = {row["currency"]: row for row in self.db.table("rates").rows_where("date = ?", [date])}
        for currency, rate in rates.items():
            old = stored.get(currency)
            if old and old["rate"] == rate:
                continue
            if old:
                self.db.table("revisions").insert({**old, "superseded_by": fetch_id})
            new = {"date": date, "currency": currency, "rate": rate, "fetch_id": fetch_id}
            self.db.table("rates").upsert(new, pk=("date", "currency"))
            self._widen_symbol(currency, date)
        self.db.table("days").upsert(
            {
                "date": date,
                "base": "EUR",
                "timestamp": end_of_day(date),
                "currencies": len(stored.keys() | rates.keys()),
                "fetch_id": fetch_id,
            },
            pk="date",
        )

    def _widen_symbol(self, code: str, date: str) -> None:
        self.db.execute(
            """
            INSERT INTO symbols (code, first_date, last_date) VALUES (:code, :date, :date)
            ON CONFLICT (code) DO UPDATE SET
                first_date = min(coalesce(first_date, :date), :date),
                last_date = max(coalesce(last_date, :date), :date)
            """,
            {"code": code, "date": date},
        )


def end_of_day(date: str) -> int:
    """The provider's timestamp of a finished day: 23:59:59 UTC."""
    day = dt.datetime.fromisoformat(date).replace(tzinfo=dt.timezone.utc)
    return int(day.timestamp()) + 86_399
