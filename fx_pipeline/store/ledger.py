"""The ledger of calls: may one more be made, and for whom. It is the table `fetches`, shared by all runs.

A question is opened before it is asked, so that no two runs ask the same at once, and each call of it is
counted before it is made. What a killed process had opened stays counted: its calls may have been made.
Another process takes such a question over as soon as it wants the same days.
"""

import datetime as dt
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sqlite_utils import Database

from fx_pipeline.clock import instant_text, parse_instant
from fx_pipeline.store.claim import Claim, is_held, shown
from fx_pipeline.store.database import explained, transaction
from fx_pipeline.store.days import StoredDay

MAX_IN_FLIGHT = dt.timedelta(minutes=15)
"""After this a question is taken over even from a process that is still running."""

OUTAGE_MEMORY = dt.timedelta(minutes=10)
"""For so long after an outage, the provider is assumed to be still down."""

WARN_AT = 0.8
"""Share of the month's quota from which its use is worth a warning."""

_STILL_OPEN = "fetched_at IS NULL AND status = 'asked' AND process = ?"


class QuotaReached(Exception):
    """One more call would exceed the quota, or take what is kept for the daily runs. It was not made."""


class AlreadyInFlight(Exception):
    """Another running process has a question open that shares a day with this one."""

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
    """The state of the month (UTC): calls allowed, made, and kept for the daily runs still to come."""

    limit: int
    used: int
    reserved: int
    renewed_on: dt.date

    def left(self, *, daily: bool = False) -> int:
        """Calls that may still be made: by the daily run if `daily`, else by any other."""
        return max(0, self.limit - self.used - (0 if daily else self.reserved))

    @property
    def nearly_used(self) -> bool:
        """Whether so much is used that somebody should know."""
        return self.used >= WARN_AT * self.limit

    def __str__(self) -> str:
        return (
            f"{self.used} of the {self.limit} calls of this month are used (FIXER_MONTHLY_QUOTA), "
            f"{self.reserved} are kept for its daily runs; the count starts again on {self.renewed_on}"
        )


class Ledger:
    """The calls made from one database file. Safe for use by several threads; close it after use.

    `limit` is the calls allowed in a calendar month (None: no limit). `daily_calls` is what one daily run
    needs: for each day of the month still to come so many are kept back from all other runs. `now` is the
    clock.

    Raises StoreError when the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit: int | None = None,
        daily_calls: int = 1,
        run_id: str | None = None,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.timezone.utc),
    ) -> None:
        self._path = path
        self._limit = limit
        self._daily_calls = daily_calls
        self.run_id = run_id
        self._now = now
        self._claim = Claim(path)
        self._lock = threading.RLock()
        with explained(path):
            connection = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._db = Database(connection, execute_plugins=False)
            # Not flushed for each call: what a power cut would lose here are counts, not rates.
            self._db.execute("PRAGMA synchronous = NORMAL")
            # A number, not an instant: the clock may be set back meanwhile.
            self._opened_after = self._newest_fetch()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, and what is still open of this run's questions."""
        try:
            with self._write():
                self._abandon([self._claim.name])
        finally:
            self._db.close()
            self._claim.release()

    def quota(self) -> Quota | None:
        """The state of this month; None where no limit is set."""
        with self._lock, explained(self._path):
            return self._quota()

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
        """Write everything inside the block in one transaction; other threads wait until its end.

        A question opened in it may be asked only after it.
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
        """Open a question, about the days from `start` to `end` if it is about days. Returns its row's id.

        Raises AlreadyInFlight while another running process has one open that shares a day with it; those of
        processes that have ended are closed.
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
            return int(opened.lastrowid)  # type: ignore[arg-type]  # an INSERT always has one

    def spend(self, fetch_id: int, *, daily: bool = False) -> None:
        """Count one more call of a question, before it is made.

        Raises QuotaReached, and counts nothing, when it would exceed the quota or, unless `daily`, use what
        is kept for the daily runs.
        """
        if self._limit is None:
            return  # what was made is counted when the question is closed
        with self._write():
            quota = self._quota()
            if quota is not None and quota.left(daily=daily) < 1:
                raise QuotaReached(f"{quota}.")
            self._db.execute("UPDATE fetches SET calls = calls + 1 WHERE id = ?", [fetch_id])

    def refund(self, fetch_id: int) -> None:
        """Take back the last call counted of a question: it did not reach the provider."""
        if self._limit is None:
            return
        with self._write():
            self._db.execute("UPDATE fetches SET calls = calls - 1 WHERE id = ? AND calls > 0", [fetch_id])

    def record_outage(self) -> None:
        """Let the runs of the next OUTAGE_MEMORY know that the provider did not answer this one."""
        with self._write():
            self._db.execute("INSERT OR REPLACE INTO outage VALUES (1, ?)", [instant_text(self._now())])

    def clear_outage(self) -> None:
        """Note that the provider has answered."""
        with self._write():
            self._db.execute("DELETE FROM outage")

    def is_outage(self) -> bool:
        """Return whether the provider did not answer an earlier run, and has answered none since."""
        with self._lock, explained(self._path):
            row = self._db.execute("SELECT seen_at FROM outage").fetchone()
        return row is not None and abs(self._now() - parse_instant(row[0])) < OUTAGE_MEMORY

    def close_unanswered(self, fetch_id: int, status: str, calls: int) -> None:
        """Close a question that was not answered: why, and how many calls were made. None leaves no trace."""
        with self._write():
            self._db.execute(
                "UPDATE fetches SET status = ?, calls = max(calls, ?) WHERE id = ?", [status, calls, fetch_id]
            )
            self._db.execute("DELETE FROM fetches WHERE id = ? AND calls = 0", [fetch_id])

    def open_fetches(self) -> set[int]:
        """The questions of this run that are opened, and neither stored nor given up."""
        with self._lock, explained(self._path):
            query = f"SELECT id FROM fetches WHERE {_STILL_OPEN}"  # noqa: S608
            return {fetch_id for (fetch_id,) in self._db.execute(query, [self._claim.name])}

    def _take_over(self, span: Sequence[object], now: dt.datetime) -> None:
        """Close what ended processes left open for these days. Raises AlreadyInFlight if one is running."""
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
            # An instant far in the future was written while the clock was wrong.
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
        """The number of the fetch that was stored last: later ones have higher numbers."""
        query = "SELECT coalesce(max(id), 0) FROM fetches WHERE fetched_at IS NOT NULL"
        return int(self._db.execute(query).fetchone()[0])

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
        """Return the calls of this month: the provider's last count, those made since, those under way.

        A provider that has counted no call has not counted ours: its word would reset the count each time.
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
