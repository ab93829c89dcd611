"""RateStore: what the pipeline writes to the database, and what it reads back.

A day is written in one transaction with its fetch, its revisions and its row in `days`. So the database never
holds half a day, even if a process is killed.
"""

import datetime as dt
import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType

from fx_pipeline import tracing
from fx_pipeline.clock import Clock, instant_text, utc_now
from fx_pipeline.content_age import ContentAge
from fx_pipeline.fetch import Fetch
from fx_pipeline.store import instants, symbols
from fx_pipeline.store.content import stored_content_age
from fx_pipeline.store.coverage import Coverage, Move, coverage, largest_moves
from fx_pipeline.store.database import explained, open_database, open_for_reading, transaction
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.rows import fetch_of_row
from fx_pipeline.store.source import refuse_other_base, refuse_other_provider
from fx_pipeline.store.wanted import want
from fx_pipeline.store.writing import insert_fetches, write_days

REBUILD_BATCH = 100
"""Responses that a rebuild reads together."""


class RateStore:
    """The database file, open for writing by one thread. Several stores may be open on one file.

    Opening creates the file and migrates its schema, unless `writing` is False. `now` is the clock.

    Raises StoreError, as all its methods do, if the file cannot be used.
    """

    def __init__(self, path: Path, *, now: Clock = utc_now, writing: bool = True) -> None:
        self.path = path
        self._now = now
        self._db = open_database(path) if writing else open_for_reading(path)

    def __enter__(self) -> "RateStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def record(self, fetches: Sequence[Fetch], *, run_id: str | None = None) -> list[StoredDay]:
        """Store fetches in one transaction and return a result for each day, in order.

        A new value is inserted. A changed value replaces the old one, which moves to `revisions`. An equal
        value, and a currency that the response does not name, stay as they are. A day without a valid rate is
        not stored and has no result, but its rejected values are stored. Of an error response only the fetch
        is stored.

        Raise StoreError if nothing could be written: another base, a full disk, a read-only file.
        """
        attributes: tracing.Attributes = {
            "db.system.name": "sqlite",
            "db.namespace": self.path.name,
            "fx.fetches": len(fetches),
            "dagster.run_id": run_id,
        }
        with (
            tracing.span(f"store {self.path.name}", kind="CLIENT", attributes=attributes) as span,
            explained(self.path),
            transaction(self._db),
        ):
            days = self._write(insert_fetches(self._db, fetches, run_id, self._now()))
            span.add({"fx.days": len(days)})
            return days

    def rebuild(
        self, parse: Callable[[Fetch], Fetch], on_progress: Callable[[int], None] = lambda _: None
    ) -> int:
        """Rebuild the tables of rates from the stored bodies, in one transaction, and compact the file.

        `parse` adds days and names to a fetch. If it changes the status, the fetch counts as an error from
        then on. `on_progress` receives the number of fetches read so far. Return the number of all.

        Instants in the future, stored while the clock was ahead, are moved to just before the present.
        """
        with explained(self.path), transaction(self._db):
            for table in ("rates", "days", "revisions", "rejected_rates", "symbols"):
                self._db.table(table).delete_where()
            if instants.ahead(self._db.conn, self._now()).count:
                instants.move_back(self._db, self._now())
            query = "SELECT id FROM fetches WHERE status = 'ok' ORDER BY fetched_at"
            ids = [fetch_id for (fetch_id,) in self._db.execute(query)]
            for start in range(0, len(ids), REBUILD_BATCH):
                batch = ids[start : start + REBUILD_BATCH]
                rows = [self._db.table("fetches").get(fetch_id) for fetch_id in batch]
                fetches = [(row["id"], parse(fetch_of_row(row))) for row in rows]
                self._write([(fetch_id, fetch) for fetch_id, fetch in fetches if fetch.status == "ok"])
                self._db.conn.executemany(
                    """
                    UPDATE fetches SET status = ?, inserted = 0, updated = 0, unchanged = 0, rejected = 0
                    WHERE id = ?
                    """,
                    [(fetch.status, fetch_id) for fetch_id, fetch in fetches if fetch.status != "ok"],
                )
                on_progress(start + len(batch))
            # It counts the rebuilds. After one, the static export compares all files.
            [rebuilds] = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute(f"PRAGMA user_version = {rebuilds + 1}")
        with explained(self.path):
            self._db.execute("VACUUM")  # returns the deleted pages, and fills the others
        return len(ids)

    def check_source(self, base: str, provider: str | None) -> None:
        """Raise StoreError if rates with this base, or from this provider, must not be stored here.

        `provider` is None if it is not known before the first call.
        """
        with explained(self.path):
            refuse_other_base(self._db, self.path, [base])
            refuse_other_provider(self._db, self.path, [provider] if provider else [])

    def want(self, dates: Collection[dt.date]) -> None:
        """Note that these days are wanted. If yesterday is among them, so are all later days."""
        with explained(self.path), transaction(self._db):
            want(self._db, dates, self._newest())

    def stored_dates(self, start: dt.date, end: dt.date) -> set[dt.date]:
        """Return the stored days from `start` to `end`, both included."""
        query = "SELECT date FROM days WHERE date BETWEEN ? AND ?"
        with explained(self.path):
            rows = self._db.execute(query, [start.isoformat(), end.isoformat()])
            return {dt.date.fromisoformat(date) for (date,) in rows}

    def stored_days(
        self, start: dt.date, end: dt.date, fetched_by: Sequence[str] | None = None
    ) -> list[StoredDay]:
        """Return the stored days from `start` to `end`, both included, as if stored again without a change.

        `fetched_by` limits them to the days that one of these runs was the last to fetch.
        """
        query = """
            SELECT days.date, days.fetch_id, days.currencies
            FROM days JOIN fetches ON fetches.id = days.fetch_id
            WHERE days.date BETWEEN ? AND ? AND (? OR run_id IN (SELECT value FROM json_each(?)))
        """
        span = [start.isoformat(), end.isoformat()]
        with explained(self.path):
            rows = self._db.execute(query, [*span, fetched_by is None, json.dumps(fetched_by or [])])
            return [StoredDay.unchanged_since(*row) for row in rows]

    def days_stored_by(self, run_id: str, start: dt.date, end: dt.date) -> list[StoredDay]:
        """Return the days from `start` to `end` that a run was the last to fetch, as it stored them.

        Of the days of a series only their sum is known. They are returned as if stored again.
        """
        query = """
            SELECT
                date, days.fetch_id, currencies, start_date = end_date, inserted, updated, unchanged, rejected
            FROM days JOIN fetches ON fetches.id = days.fetch_id
            WHERE date BETWEEN ? AND ? AND run_id = ?
        """
        with explained(self.path):
            rows = self._db.execute(query, [start.isoformat(), end.isoformat(), run_id]).fetchall()
        return [
            StoredDay(
                date=dt.date.fromisoformat(date),
                fetch_id=fetch_id,
                inserted=counts[0],
                updated=counts[1],
                unchanged=counts[2],
                rejected=counts[3],
            )
            if is_single
            else StoredDay.unchanged_since(date, fetch_id, currencies)
            for date, fetch_id, currencies, is_single, *counts in rows
        ]

    def largest_moves(self, date: dt.date) -> list[Move]:
        """Return the largest moves since the day before, largest first; none if that day is not stored."""
        with explained(self.path):
            return largest_moves(self._db, date)

    def is_empty(self) -> bool:
        """Return whether no day is stored."""
        with explained(self.path):
            return self._db.execute("SELECT 1 FROM days LIMIT 1").fetchone() is None

    def has_names(self) -> bool:
        """Return whether the names of the currencies are stored."""
        query = "SELECT 1 FROM symbols WHERE name IS NOT NULL LIMIT 1"
        with explained(self.path):
            return self._db.execute(query).fetchone() is not None

    def refuse_symbols(self, codes: Collection[str]) -> None:
        """Note that the provider does not know these codes, until it names them."""
        with explained(self.path), transaction(self._db):
            symbols.refuse(self._db, codes, self._now())

    def refused_symbols(self) -> set[str]:
        """Return the codes that the provider is known not to know."""
        with explained(self.path):
            return set(symbols.refused(self._db))

    def missing_symbols(self, codes: Sequence[str]) -> dict[str, str]:
        """Return which of the codes the provider does not send, each with the reason."""
        with explained(self.path):
            return symbols.missing(self._db, codes)

    def ahead(self) -> instants.Ahead:
        """Return the fetches dated in the future because the clock was ahead."""
        with explained(self.path):
            return instants.ahead(self._db.conn, self._now())

    def clock_error(self) -> dt.timedelta | None:
        """Return how far the clock was ahead of the provider's at the newest fetch; None if they agreed."""
        with explained(self.path):
            return instants.clock_error(self._db.conn)

    def newest_run(self, since: dt.datetime) -> str | None:
        """Return the run of the newest fetch; None if it was stored before `since`, or not by a run."""
        query = "SELECT run_id FROM fetches WHERE fetched_at >= ? ORDER BY fetched_at DESC LIMIT 1"
        with explained(self.path):
            row = self._db.execute(query, [instant_text(since)]).fetchone()
        return row[0] if row else None

    def days_fetched_since(self, instant: dt.datetime) -> int:
        """Return the number of days whose newest fetch was stored since then."""
        query = "SELECT count(*) FROM days JOIN fetches ON fetches.id = days.fetch_id WHERE fetched_at >= ?"
        with explained(self.path):
            return int(self._db.execute(query, [instant_text(instant)]).fetchone()[0])

    def coverage(self) -> Coverage:
        """Count what is stored, and find the wanted days that are missing."""
        with explained(self.path):
            return coverage(self._db, self._newest())

    def content_age(self) -> ContentAge | None:
        """Judge how long the newest rates have been unchanged; None if fewer than two days are stored."""
        with explained(self.path):
            return stored_content_age(self._db.conn)

    def _newest(self) -> dt.date:
        """Return the newest day that is over."""
        return self._now().date() - dt.timedelta(days=1)

    def _write(self, fetches: Sequence[tuple[int, Fetch]]) -> list[StoredDay]:
        refuse_other_base(
            self._db, self.path, (day.base for _, fetch in fetches for day in fetch.days if day.rates)
        )
        refuse_other_provider(self._db, self.path, (fetch.provider for _, fetch in fetches if fetch.days))
        return write_days(self._db, fetches)
