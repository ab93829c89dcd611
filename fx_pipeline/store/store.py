"""What is written to the database file: answers, days, revisions, rejects; and what of it the pipeline reads.

The guarantee: a day is written in one transaction with its fetch, its revisions and its row in `days`, so
that there is never half a day, whoever is killed and whenever.
"""

import datetime as dt
import json
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
from sqlite_utils.db import Table

from fx_pipeline.clock import Clock, instant_text, parse_instant, utc_now
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates, contiguous, date_range
from fx_pipeline.store import instants, symbols
from fx_pipeline.store.database import StoreError, explained, open_database, transaction

REBUILD_BATCH = 100
"""Answers that are read together when the tables are made again."""

LONGEST_TEXT = 200
"""Characters kept of what a provider sent where a code or a number should have been."""

_PROVIDERS = {"sandbox": "the sandbox", "fixer": "Fixer"}

Row = tuple[str, str, float, int]
"""A row of `rates`: date, currency, rate, fetch_id."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A stored value that a newer answer replaced."""

    date: dt.date
    currency: str
    old: float
    new: float

    @property
    def change(self) -> float:
        """The relative change, unsigned: 0.01 is one percent."""
        return abs(self.new / self.old - 1)


@dataclass(frozen=True, slots=True)
class Move:
    """How a rate changed from the day before: `change` is relative, 0.01 is one percent."""

    currency: str
    before: float
    rate: float
    change: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDay:
    """What storing one day did: counts of currencies, and the values that were replaced."""

    date: dt.date
    fetch_id: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int
    revisions: tuple[Revision, ...] = ()

    @classmethod
    def unchanged_since(cls, date: str, fetch_id: int, currencies: int) -> "StoredDay":
        """Return the result of storing this day again without a change."""
        return cls(
            date=dt.date.fromisoformat(date),
            fetch_id=fetch_id,
            inserted=0,
            updated=0,
            unchanged=currencies,
            rejected=0,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the file holds. `gaps` are the ranges missing between the first and the last stored day."""

    first: dt.date | None
    last: dt.date | None
    days: int
    rates: int
    revisions: int
    rejected: int
    fetches: int
    calls: int
    gaps: tuple[tuple[dt.date, dt.date], ...]


class RateStore:
    """The database file, opened to be written by one thread; several stores may be open on one file at once.

    Opening creates the file and brings its schema up to date. Raises StoreError when that cannot be done.
    `now` is the clock.
    """

    def __init__(self, path: Path, *, now: Clock = utc_now) -> None:
        self.path = path
        self._now = now
        self._db = open_database(path)

    def __enter__(self) -> "RateStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def record(self, answers: Sequence[Fetch], *, run_id: str | None = None) -> list[StoredDay]:
        """Store what was answered, in one transaction, and return a result for each day, in the order given.

        A new value is inserted; a changed one replaces the old, which moves to `revisions`; an equal one is
        left alone, and so is a currency that the answer does not name. A day without one good rate is not
        stored, and has no result; its rejects are. An answer that was an error has no days: only its fetch is
        recorded.

        Raises StoreError when nothing could be written: another base, a full disk, a read-only file.
        """
        with explained(self.path), transaction(self._db):
            return self._write(self._insert_fetches(answers, run_id))

    def rebuild(self, read: Callable[[Fetch], Fetch], told: Callable[[int], None] = lambda _: None) -> int:
        """Make the tables of rates again from the stored bodies alone, in one transaction, and pack the file.

        Instants that lie in the future, because the clock was ahead, are moved to just before the present.

        `read` gives an answer, as it was received and without days and names, those that are in its body. An
        answer that it returns with a status other than `ok` is an error from then on. `told` is called with
        the number of answers read so far. Returns the number of all.
        """
        with explained(self.path), transaction(self._db):
            for table in ("rates", "days", "revisions", "rejected_rates", "symbols"):
                self._table(table).delete_where()
            if instants.ahead(self._db.conn, self._now()).count:
                instants.move_back(self._db, self._now())
            ids = [
                id_
                for (id_,) in self._db.execute(
                    "SELECT id FROM fetches WHERE status = 'ok' ORDER BY fetched_at"
                )
            ]
            for start in range(0, len(ids), REBUILD_BATCH):
                batch = [self._table("fetches").get(id_) for id_ in ids[start : start + REBUILD_BATCH]]
                answers = [(row["id"], read(_as_received(row))) for row in batch]
                self._write([(id_, answer) for id_, answer in answers if answer.status == "ok"])
                self._refuse([(answer.status, id_) for id_, answer in answers if answer.status != "ok"])
                told(start + len(batch))
        with explained(self.path):
            self._db.execute("VACUUM")  # what was deleted is given back, and pages are filled whole
        return len(ids)

    def check_source(self, base: str, provider: str | None) -> None:
        """Raise StoreError where nothing with this base, or of this provider if it is known who answers, may
        be stored here. To be asked before a call is made for it."""
        with explained(self.path):
            self._refuse_other_base([base])
            self._refuse_other_provider([provider] if provider else [])

    def stored_dates(self, start: dt.date, end: dt.date) -> set[dt.date]:
        """The days from `start` to `end`, both included, that are stored."""
        with explained(self.path):
            rows = self._db.execute(
                "SELECT date FROM days WHERE date BETWEEN ? AND ?", [start.isoformat(), end.isoformat()]
            )
            return {dt.date.fromisoformat(date) for (date,) in rows}

    def stored_days(
        self, start: dt.date, end: dt.date, fetched_by: Sequence[str] | None = None
    ) -> list[StoredDay]:
        """The days from `start` to `end`, both included, as if they had been read again without a change.

        `fetched_by` names runs: only the days that one of them was the last to fetch.
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

    def largest_moves(self, date: dt.date, most: int = 5) -> list[Move]:
        """What changed most since the day before, the largest move first; none if that day is not stored."""
        query = """
            SELECT currency, before.rate, now.rate, now.rate / before.rate - 1 AS change
            FROM rates AS now JOIN rates AS before USING (currency)
            WHERE now.date = ? AND before.date = ? AND now.rate <> before.rate
            ORDER BY abs(change) DESC LIMIT ?
        """
        day_before = date - dt.timedelta(days=1)
        with explained(self.path):
            return [
                Move(*row)
                for row in self._db.execute(query, [date.isoformat(), day_before.isoformat(), most])
            ]

    def has_names(self) -> bool:
        """Whether the names of the currencies are stored."""
        with explained(self.path):
            return (
                self._db.execute("SELECT 1 FROM symbols WHERE name IS NOT NULL LIMIT 1").fetchone()
                is not None
            )

    def refuse_symbols(self, codes: Collection[str]) -> None:
        """Note that the provider does not know these codes, until it names them."""
        with explained(self.path), transaction(self._db):
            symbols.refuse(self._db, codes, dt.datetime.now(dt.timezone.utc))

    def refused_symbols(self) -> set[str]:
        """Return the codes that the provider does not know, as far as it has been asked for them."""
        with explained(self.path):
            return set(symbols.refused(self._db))

    def missing_symbols(self, codes: Sequence[str]) -> dict[str, str]:
        """Return those of the codes that the provider does not send, each with the reason."""
        with explained(self.path):
            return symbols.missing(self._db, codes)

    def ahead(self) -> instants.Ahead:
        """Return which fetches lie in the future: the clock was ahead when they were stored."""
        with explained(self.path):
            return instants.ahead(self._db.conn, self._now())

    def days_fetched_since(self, instant: dt.datetime) -> int:
        """How many days an answer has been stored for since then."""
        query = "SELECT count(*) FROM days JOIN fetches ON fetches.id = days.fetch_id WHERE fetched_at >= ?"
        with explained(self.path):
            return int(self._db.execute(query, [instant_text(instant)]).fetchone()[0])

    def coverage(self) -> Coverage:
        """Count what is stored and find the gaps."""
        with explained(self.path):
            first, last, days = self._db.execute("SELECT min(date), max(date), count(*) FROM days").fetchone()
            start, end = (dt.date.fromisoformat(text) if text else None for text in (first, last))
            missing = set(date_range(start, end)) - self.stored_dates(start, end) if start and end else set()
            fetches, calls = self._db.execute(
                "SELECT count(*), coalesce(sum(calls), 0) FROM fetches"
            ).fetchone()
            return Coverage(
                first=start,
                last=end,
                days=days,
                rates=self._db["rates"].count,
                revisions=self._db["revisions"].count,
                rejected=self._db["rejected_rates"].count,
                fetches=fetches,
                calls=calls,
                gaps=tuple(contiguous(missing)),
            )

    def _write(self, fetched: Sequence[tuple[int, Fetch]]) -> list[StoredDay]:
        """Write the days of answers whose fetches are there."""
        return [result for batch in _without_repeats(fetched) for result in self._write_batch(batch)]

    def _write_batch(self, fetched: Sequence[tuple[int, Fetch]]) -> list[StoredDay]:
        given = [(fetch_id, day) for fetch_id, answer in fetched for day in answer.days]
        days = [(fetch_id, day) for fetch_id, day in given if day.rates]
        self._refuse_other_base(day.base for _, day in days)
        self._refuse_other_provider(answer.provider for _, answer in fetched if answer.days)
        new, changed = self._compare(days)
        # The many rows: upsert_all looks into each value for lists and dicts, longer than the storing takes.
        self._many(
            """
            INSERT INTO rates (date, currency, rate, fetch_id) VALUES (?, ?, ?, ?)
            ON CONFLICT (date, currency) DO UPDATE SET rate = excluded.rate, fetch_id = excluded.fetch_id
            """,
            [*new, *(came for came, _ in changed)],
        )
        self._upsert(
            "revisions",
            ("date", "currency", "fetch_id", "rate", "superseded_by"),
            [(date, code, by, was, id_) for (date, code, _, id_), (_, _, was, by) in changed],
        )
        self._upsert("rejected_rates", ("fetch_id", "date", "currency", "value", "reason"), _rejected(given))
        self._upsert("days", ("date", "base", "timestamp", "currencies", "fetch_id"), self._days(days))
        for _, answer in fetched:
            self._upsert("symbols", ("code", "name"), list(answer.names.items()))
            symbols.accept(self._db, answer.names.keys())
        self._widen_symbols(new)
        results = _results(days, new, changed)
        self._count(results, given)
        return results

    def _refuse_other_base(self, coming: Iterable[str]) -> None:
        held, other = self._held_and_other("SELECT base FROM days LIMIT 1", coming)
        if other is not None:
            raise StoreError(
                f"{self.path} holds rates with base {held}, not {other}: "
                f"set FX_BASE back to {held}, or FX_DATABASE to another file."
            )

    def _refuse_other_provider(self, coming: Iterable[str]) -> None:
        held, other = self._held_and_other(
            "SELECT provider FROM fetches WHERE id = (SELECT fetch_id FROM days LIMIT 1)", coming
        )
        if other is not None:
            remedy = "Remove the demo's data folder" if held == "sandbox" else "Set FIXER_ACCESS_KEY again"
            raise StoreError(
                f"{self.path} holds rates of {_PROVIDERS[held]}, to which none of {_PROVIDERS[other]} are "
                f"added: the sandbox's, some of them made up, are kept apart. {remedy}, or set FX_DATABASE "
                "and DAGSTER_HOME to new places."
            )

    def _held_and_other(self, query: str, coming: Iterable[str]) -> tuple[str, str | None]:
        """What is stored (or, where nothing is, comes first), and what comes and is another, if any is."""
        stored = [value for (value,) in self._db.execute(query)]
        held, *others = [*dict.fromkeys([*stored, *coming]), None]
        return str(held), others[0] if others else None

    def _insert_fetches(self, answers: Sequence[Fetch], run_id: str | None) -> list[tuple[int, Fetch]]:
        told = [answer.provider_at for answer in answers if answer.provider_at]
        now = instants.next_instant(self._db, self._now(), max(told, default=None))
        # Their numbers are new, also where a question was opened before: the order of the numbers of stored
        # answers is that of the commits, by which the API reads what was known at an instant.
        first = int(self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM fetches").fetchone()[0])
        fetched = list(enumerate(answers, first))
        self._many("DELETE FROM fetches WHERE id = ?", [(answer.fetch_id,) for answer in answers])
        self._table("fetches").insert_all(
            {
                "id": fetch_id,
                "endpoint": answer.endpoint,
                "start_date": answer.start_date and answer.start_date.isoformat(),
                "end_date": answer.end_date and answer.end_date.isoformat(),
                "base": answer.base,
                "symbols": ",".join(answer.symbols),
                "asked_at": instant_text(answer.asked_at),
                "fetched_at": instant_text(now + dt.timedelta(microseconds=fetch_id - first)),
                "run_id": run_id,
                "provider": answer.provider,
                "calls": answer.calls,
                "quota_limit": answer.quota_limit,
                "quota_remaining": answer.quota_remaining,
                "status": answer.status,
                "body": zlib.compress(answer.body, 4),  # half the time of level 6, and 2 % more
            }
            for fetch_id, answer in fetched
        )
        return fetched

    def _compare(self, days: Sequence[tuple[int, DayRates]]) -> tuple[list[Row], list[tuple[Row, Row]]]:
        """The rows that came and are new, and those with another value than is stored, each with that row."""
        # In the order of the table's key, in which SQLite fills its pages whole: newest dates first would
        # leave them nearly half empty.
        came = sorted(
            (date, code, rate, id_)
            for id_, day in days
            for date in [day.date.isoformat()]
            for code, rate in day.rates.items()
        )
        query = "SELECT date, currency, rate, fetch_id FROM rates WHERE date = ?"
        stored: list[Row] = [
            row for _, day in days for row in self._db.execute(query, [day.date.isoformat()])
        ]
        if not stored:
            return came, []
        places = _keys(stored).get_indexer(_keys(came))  # where each is among the stored; -1: nowhere
        beside = [
            (row, stored[place] if place >= 0 else None) for row, place in zip(came, places, strict=True)
        ]
        return (
            [row for row, known in beside if known is None],
            [(row, known) for row, known in beside if known is not None and known[2] != row[2]],
        )

    def _days(self, days: Sequence[tuple[int, DayRates]]) -> list[tuple[object, ...]]:
        query = "SELECT count(*) FROM rates WHERE date = ?"
        counts = [self._db.execute(query, [day.date.isoformat()]).fetchone()[0] for _, day in days]
        return [
            (day.date.isoformat(), day.base, day.timestamp, count, fetch_id)
            for (fetch_id, day), count in zip(days, counts, strict=True)
        ]

    def _widen_symbols(self, new: Sequence[Row]) -> None:
        """Make the first and the last date of each code span these rows too, which are sorted by date."""
        first = {code: date for date, code, *_ in reversed(new)}
        last = {code: date for date, code, *_ in new}
        self._many(
            """
            INSERT INTO symbols (code, first_date, last_date) VALUES (?, ?, ?)
            ON CONFLICT (code) DO UPDATE SET
                first_date = min(coalesce(first_date, excluded.first_date), excluded.first_date),
                last_date = max(coalesce(last_date, excluded.last_date), excluded.last_date)
            WHERE first_date IS NULL OR excluded.first_date < first_date OR excluded.last_date > last_date
            """,
            [(code, first[code], last[code]) for code in first],
        )

    def _count(self, results: Sequence[StoredDay], given: Sequence[tuple[int, DayRates]]) -> None:
        """Write into each fetch what it did."""
        did: dict[int, list[int]] = {fetch_id: [0, 0, 0, 0] for fetch_id, _ in given}
        for result in results:
            for place, count in enumerate((result.inserted, result.updated, result.unchanged)):
                did[result.fetch_id][place] += count
        for fetch_id, day in given:
            did[fetch_id][3] += len(day.rejected)
        self._many(
            "UPDATE fetches SET inserted = ?, updated = ?, unchanged = ?, rejected = ? WHERE id = ?",
            [(*counts, fetch_id) for fetch_id, counts in did.items()],
        )

    def _refuse(self, fetched: Sequence[tuple[str, int]]) -> None:
        """Give fetches that were stored as `ok` the status that says why they must not be."""
        self._many(
            """
            UPDATE fetches SET status = ?, inserted = 0, updated = 0, unchanged = 0, rejected = 0 WHERE id = ?
            """,
            fetched,
        )

    def _many(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.conn.executemany(statement, rows)

    def _upsert(self, name: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        if rows:
            table = self._table(name)
            table.upsert_all([columns, *rows], pk=tuple(table.pks))

    def _table(self, name: str) -> Table:
        return self._db.table(name)


def _as_received(row: Mapping[str, Any]) -> Fetch:
    start, end = (row[name] and dt.date.fromisoformat(row[name]) for name in ("start_date", "end_date"))
    return Fetch(
        endpoint=row["endpoint"],
        base=row["base"],
        symbols=tuple(row["symbols"].split(",")) if row["symbols"] else (),
        start_date=start,
        end_date=end,
        asked_at=parse_instant(row["asked_at"]),
        status=row["status"],
        body=zlib.decompress(row["body"]),
        calls=row["calls"],
        provider=row["provider"],
        fetch_id=row["id"],
    )


def _without_repeats(fetched: Sequence[tuple[int, Fetch]]) -> list[list[tuple[int, Fetch]]]:
    """The answers in their order, cut so that no part holds a day twice."""
    batches: list[list[tuple[int, Fetch]]] = [[]]
    seen: set[dt.date] = set()
    for fetch_id, answer in fetched:
        dates = {day.date for day in answer.days}
        if dates & seen:
            batches.append([])
            seen = set()
        batches[-1].append((fetch_id, answer))
        seen |= dates
    return batches


def _keys(rows: Sequence[Row]) -> "pd.Index[str]":
    # Objects: to copy the texts into a dtype of their own takes longer than to compare them once.
    return pd.Index([date + code for date, code, _, _ in rows], dtype=object)


def _rejected(given: Sequence[tuple[int, DayRates]]) -> list[tuple[object, ...]]:
    return [
        (fetch_id, bad.date.isoformat(), bad.currency[:LONGEST_TEXT], bad.value[:LONGEST_TEXT], bad.reason)
        for fetch_id, day in given
        for bad in day.rejected
    ]


def _results(
    days: Sequence[tuple[int, DayRates]], new: Sequence[Row], changed: Sequence[tuple[Row, Row]]
) -> list[StoredDay]:
    inserted = Counter(date for date, _, _, _ in new)
    revisions: dict[str, list[Revision]] = {}
    for (date, code, rate, _), (_, _, old, _) in changed:
        revisions.setdefault(date, []).append(Revision(dt.date.fromisoformat(date), code, old, rate))
    results = []
    for fetch_id, day in days:
        date = day.date.isoformat()
        fresh, replaced = inserted[date], tuple(revisions.get(date, ()))
        results.append(
            StoredDay(
                date=day.date,
                fetch_id=fetch_id,
                inserted=fresh,
                updated=len(replaced),
                unchanged=len(day.rates) - fresh - len(replaced),
                rejected=len(day.rejected),
                revisions=replaced,
            )
        )
    return results
