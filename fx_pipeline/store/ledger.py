"""The ledger of calls in the table `fetches`, shared by all runs: the quota, and which days are in flight.

A fetch is opened before its first call, so that no two runs fetch the same days concurrently. Each call is
counted before it is made. Calls of a killed process stay counted, because they may have been made. Another
process takes its days over when it needs them.
"""

import datetime as dt
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sqlite_utils import Database

from fx_pipeline.clock import Clock, instant_text, parse_instant, utc_now
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.claim import Claim, is_held, shown
from fx_pipeline.store.database import explained, transaction
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.instants import newest_fetch
from fx_pipeline.store.pace import seconds_per_response

MAX_IN_FLIGHT = dt.timedelta(minutes=15)
"""After this, days are taken over even from a running process."""

OUTAGE_MEMORY = dt.timedelta(minutes=10)
"""How long after an outage the provider is assumed to be down."""

WARN_AT = 0.8
"""A warning is given once this share of the month's quota is used."""

_STILL_OPEN = "fetched_at IS NULL AND status = 'asked' AND process = ?"


class QuotaReached(Exception):
    """One more call would exceed the quota, or use a call reserved for the daily runs. It was not made."""


class AlreadyInFlight(Exception):
    """Another running process is fetching some of the same days."""

    def __init__(self, process: str, since: dt.datetime, start: str, end: str) -> None:
        days = start if start == end else f"{start} to {end}"
        super().__init__(
            f"Waiting for {days}: process {shown(process)} has been fetching this since "
            f"{since:%Y-%m-%d %H:%M:%S} UTC. Its response will be used. If the process ends without one, "
            "this run fetches it."
        )
        self.process = process


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The state of the month (UTC): calls allowed, made, and reserved for the daily runs still to come."""

    limit: int
    used: int
    reserved: int
    renewed_on: dt.date

    def left(self, *, daily: bool = False) -> int:
        """Return the calls left: for the daily run if `daily`, otherwise for any other."""
        return max(0, self.limit - self.used - (0 if daily else self.reserved))

    @property
    def nearly_used(self) -> bool:
        """Whether the operator should be warned."""
        return self.used >= WARN_AT * self.limit

    def __str__(self) -> str:
        return (
            f"{self.used} of the {self.limit} calls of this month are used (FIXER_MONTHLY_QUOTA), "
            f"{self.reserved} are reserved for its daily runs; the count restarts on {self.renewed_on}"
        )


class Ledger:
    """The calls made from one database file. Safe for concurrent use; close it after use.

    `limit` is the number of calls per calendar month (None: no limit). `daily_calls` is the number that one
    daily run needs, and is reserved for each remaining day of the month. `now` is the clock. Without
    `writing`, only `quota` can be read.

    Raises StoreError if the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int | None = None,
        daily_calls: int = 1,
        run_id: str | None = None,
        now: Clock = utc_now,
        writing: bool = True,
    ) -> None:
        self._path = path
        self._writing = writing
        self._limit = limit
        self._daily_calls = daily_calls
        self.run_id = run_id
        self._now = now
        self._claim = Claim(path)
        self._lock = threading.RLock()
        with explained(path):
            uri = f"{path.absolute().as_uri()}?mode={'rwc' if writing else 'ro'}"
            connection = sqlite3.connect(uri, uri=True, timeout=60, check_same_thread=False)
            self._db = Database(connection, execute_plugins=False)
            # No flush per call: a power cut would lose counts here, not rates.
            self._db.execute("PRAGMA synchronous = NORMAL")
            # An id, not an instant: the clock may be set back in the meantime.
            self._opened_after = self._newest_fetch()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and the open fetches of this run."""
        try:
            if self._writing:
                with self._write():
                    self._abandon([self._claim.name])
        finally:
            self._db.close()
            self._claim.release()

    def quota(self) -> Quota | None:
        """Return the state of this month; None without a limit."""
        with self._lock, explained(self._path):
            return self._quota()

    def pace(self, endpoint: str) -> float | None:
        """Return the seconds from one response of an endpoint to the next; None if too few are stored."""
        with self._lock, explained(self._path):
            return seconds_per_response(self._db.conn, endpoint)

    def stored_by_others(self, dates: Collection[dt.date]) -> list[StoredDay]:
        """Return which of `dates` another run has stored since this ledger was opened."""
        if not dates:
            return []
        query = """
            SELECT days.date, days.fetch_id, days.currencies
            FROM days JOIN fetches ON fetches.id = days.fetch_id
            WHERE days.date BETWEEN ? AND ? AND days.fetch_id > ? AND fetches.run_id IS NOT ?
        """
        span = [min(dates).isoformat(), max(dates).isoformat()]
        with self._lock, explained(self._path):
            rows = self._db.execute(query, [*span, self._opened_after, self.run_id]).fetchall()
        days = [StoredDay.unchanged_since(*row) for row in rows]
        return [day for day in days if day.date in dates]

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Write everything inside the block in one transaction. Other threads wait for its end.

        Calls for a fetch opened in it may be made only after it.
        """
        with self._write():
            yield

    def open(
        self,
        endpoint: str,
        start: dt.date | None = None,
        end: dt.date | None = None,
        *,
        base: str,
        symbols: Sequence[str] = (),
    ) -> int:
        """Open a fetch of the days from `start` to `end`, if it is about days. Return the id of its row.

        Raise AlreadyInFlight while another running process has one of these days open. Fetches that ended
        processes left open are closed.
        """
        now = self._now()
        span = [start and start.isoformat(), end and end.isoformat()]
        with self._write():
            self._claim.hold()
            self._take_over(span, now)
            opened = self._db.execute(
                """
                INSERT INTO fetches
                    (endpoint, start_date, end_date, base, symbols, asked_at, run_id, process, status)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'asked')
                """,
                [endpoint, *span, base, ",".join(symbols), instant_text(now), self.run_id, self._claim.name],
            )
            return int(opened.lastrowid)  # type: ignore[arg-type]  # never None after an INSERT

    def spend(self, fetch_id: int, *, daily: bool = False) -> None:
        """Count one more call of a fetch, before it is made.

        Raise QuotaReached, and counts nothing, if it would exceed the quota or, unless `daily`, use a call
        reserved for the daily runs.
        """
        if self._limit is None:
            return  # calls are counted when the fetch is closed
        with self._write():
            quota = self._quota()
            if quota is not None and quota.left(daily=daily) < 1:
                raise QuotaReached(f"{quota}.")
            self._db.execute("UPDATE fetches SET calls = calls + 1 WHERE id = ?", [fetch_id])

    def refund(self, fetch_id: int) -> None:
        """Uncount the last call of a fetch: it did not reach the provider."""
        if self._limit is None:
            return
        with self._write():
            self._db.execute("UPDATE fetches SET calls = calls - 1 WHERE id = ? AND calls > 0", [fetch_id])

    def record_outage(self) -> None:
        """Note, for runs within OUTAGE_MEMORY, that the provider did not respond."""
        with self._write():
            self._db.execute("INSERT OR REPLACE INTO outage VALUES (1, ?)", [instant_text(self._now())])

    def clear_outage(self) -> None:
        """Note that the provider has responded."""
        with self._write():
            self._db.execute("DELETE FROM outage")

    def is_outage(self) -> bool:
        """Return whether the provider has recently not responded, and not responded since."""
        with self._lock, explained(self._path):
            row = self._db.execute("SELECT seen_at FROM outage").fetchone()
        return row is not None and abs(self._now() - parse_instant(row[0])) < OUTAGE_MEMORY

    def close_unanswered(self, fetch_id: int, status: str, calls: int) -> None:
        """Close a fetch without a response, with its status and number of calls. Without calls, delete it."""
        with self._write():
            self._db.execute(
                "UPDATE fetches SET status = ?, calls = max(calls, ?) WHERE id = ?", [status, calls, fetch_id]
            )
            self._db.execute("DELETE FROM fetches WHERE id = ? AND calls = 0", [fetch_id])

    def open_fetches(self) -> set[int]:
        """Return the fetches of this process that are neither stored nor closed."""
        with self._lock, explained(self._path):
            query = f"SELECT id FROM fetches WHERE {_STILL_OPEN}"  # noqa: S608
            return {fetch_id for (fetch_id,) in self._db.execute(query, [self._claim.name])}

    def _take_over(self, span: Sequence[object], now: dt.datetime) -> None:
        """Close what ended processes left open for these days. Raise AlreadyInFlight if one is running."""
        others = self._db.execute(
            """
            SELECT process, asked_at, start_date, end_date FROM fetches
            WHERE fetched_at IS NULL AND status = 'asked' AND end_date >= ? AND start_date <= ?
            AND process <> ? ORDER BY asked_at
            """,
            [*span, self._claim.name],
        ).fetchall()
        held = {process: is_held(self._path, process) for process in {process for process, *_ in others}}
        for process, asked_at, start, end in others:
            since = parse_instant(asked_at)
            # abs: an instant far in the future was written while the clock was wrong.
            if held[process] and abs(now - since) < MAX_IN_FLIGHT:
                raise AlreadyInFlight(process, since, start, end)
        self._abandon([process for process, running in held.items() if not running])

    def _abandon(self, processes: Collection[str]) -> None:
        for process in processes:
            self._db.execute(
                f"UPDATE fetches SET status = 'abandoned' WHERE {_STILL_OPEN}",  # noqa: S608
                [process],
            )

    def _newest_fetch(self) -> int:
        """Return the id of the fetch stored last. Later fetches have higher ids."""
        newest = newest_fetch(self._db.conn)
        return newest.id if newest else 0

    def _quota(self) -> Quota | None:
        if self._limit is None:
            return None
        today = self._now().date()
        start = today.replace(day=1)
        renewed_on = (start + dt.timedelta(days=31)).replace(day=1)
        days_to_come = (renewed_on - today).days - 1
        return Quota(
            limit=self._limit,
            used=self._used(start),
            reserved=min(self._limit, days_to_come * self._daily_calls),
            renewed_on=renewed_on,
        )

    def _used(self, start: dt.date) -> int:
        """Return the calls of this month: the provider's last count, plus calls made since or in flight.

        A provider's count of 0 is ignored: it has not counted our calls, and would reset the count each time.
        """
        counted = self._db.execute(
            """
            SELECT quota_limit - quota_remaining, id, asked_at FROM fetches
            WHERE asked_at >= ? AND quota_remaining BETWEEN 0 AND quota_limit - 1
            ORDER BY fetched_at DESC LIMIT 1
            """,
            [start.isoformat()],
        ).fetchone()
        used, since, asked_at = counted or (0, 0, "")
        (more,) = self._db.execute(
            """
            SELECT coalesce(sum(calls), 0) FROM fetches
            WHERE asked_at >= ? AND (id > ? OR (fetched_at IS NULL AND (asked_at > ? OR status = 'asked')))
            """,
            [start.isoformat(), since, asked_at],
        ).fetchone()
        return int(used + more)

    @contextmanager
    def _write(self) -> Iterator[None]:
        with self._lock, explained(self._path):
            if self._db.conn.in_transaction:  # of `batch`, by this thread
                yield
                return
            with transaction(self._db):
                yield
