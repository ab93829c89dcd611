"""How fetches and their days are written to the tables, inside the caller's transaction."""

import datetime as dt
import zlib
from collections import Counter
from collections.abc import Sequence

from sqlite_utils import Database

from fx_pipeline.clock import instant_text
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates
from fx_pipeline.store import instants, symbols
from fx_pipeline.store.days import StoredDay

MAX_TEXT = 200
"""Characters stored of what a provider sent in place of a code or a number."""

Row = tuple[str, str, float, int]
"""A row of `rates`: date, currency, rate, fetch_id."""


def insert_fetches(
    db: Database, fetches: Sequence[Fetch], run_id: str | None, now: dt.datetime
) -> list[tuple[int, Fetch]]:
    """Write the rows of `fetches`, in place of those that the ledger opened. Return each fetch with its id.

    Every row gets a new id, even if the ledger had opened one: the API reads what was known at an instant
    from the ids, so their order must be the order of the commits.
    """
    provider_times = [fetch.provider_at for fetch in fetches if fetch.provider_at]
    instant = instants.next_instant(db, now, max(provider_times, default=None))
    first = int(db.execute("SELECT coalesce(max(id), 0) + 1 FROM fetches").fetchone()[0])
    with_ids = list(enumerate(fetches, first))
    _many(db, "DELETE FROM fetches WHERE id = ?", [(fetch.fetch_id,) for fetch in fetches])
    db.table("fetches").insert_all(
        {
            "id": fetch_id,
            "endpoint": fetch.endpoint,
            "start_date": fetch.start_date and fetch.start_date.isoformat(),
            "end_date": fetch.end_date and fetch.end_date.isoformat(),
            "base": fetch.base,
            "symbols": ",".join(fetch.symbols),
            "asked_at": instant_text(fetch.asked_at),
            "fetched_at": instant_text(instant + dt.timedelta(microseconds=fetch_id - first)),
            "run_id": run_id,
            "provider": fetch.provider,
            "calls": fetch.calls,
            "quota_limit": fetch.quota_limit,
            "quota_remaining": fetch.quota_remaining,
            "status": fetch.status,
            "body": zlib.compress(fetch.body, 4),  # half the time of level 6, for 2 % more bytes
        }
        for fetch_id, fetch in with_ids
    )
    return with_ids


def write_days(db: Database, fetches: Sequence[tuple[int, Fetch]]) -> list[StoredDay]:
    """Write the days of fetches whose rows exist. Return a result per day, in order."""
    return [result for batch in _without_repeats(fetches) for result in _write_batch(db, batch)]


def _without_repeats(fetches: Sequence[tuple[int, Fetch]]) -> list[list[tuple[int, Fetch]]]:
    """Split the fetches, in order, into batches in which no day is repeated."""
    batches: list[list[tuple[int, Fetch]]] = [[]]
    seen: set[dt.date] = set()
    for fetch_id, fetch in fetches:
        dates = {day.date for day in fetch.days}
        if dates & seen:
            batches.append([])
            seen = set()
        batches[-1].append((fetch_id, fetch))
        seen |= dates
    return batches


def _write_batch(db: Database, fetches: Sequence[tuple[int, Fetch]]) -> list[StoredDay]:
    received = [(fetch_id, day) for fetch_id, fetch in fetches for day in fetch.days]
    days = [(fetch_id, day) for fetch_id, day in received if day.rates]
    new, changed = _compare(db, days)
    # executemany: upsert_all searches every value for lists and dicts, which takes longer than storing it.
    _many(
        db,
        """
        INSERT INTO rates (date, currency, rate, fetch_id) VALUES (?, ?, ?, ?)
        ON CONFLICT (date, currency) DO UPDATE SET rate = excluded.rate, fetch_id = excluded.fetch_id
        """,
        [*new, *(row for row, _ in changed)],
    )
    _upsert(
        db,
        "revisions",
        ("date", "currency", "fetch_id", "rate", "superseded_by"),
        [(date, code, old_id, old, new_id) for (date, code, _, new_id), (_, _, old, old_id) in changed],
    )
    _upsert(db, "rejected_rates", ("fetch_id", "date", "currency", "value", "reason"), _rejected(received))
    _upsert(db, "days", ("date", "base", "timestamp", "currencies", "fetch_id"), _day_rows(db, days))
    for _, fetch in fetches:
        _upsert(db, "symbols", ("code", "name"), list(fetch.names.items()))
        symbols.accept(db, fetch.names.keys())
    _extend_symbols(db, new)
    results = _results(days, new, changed)
    _count(db, results, received)
    return results


def _compare(db: Database, days: Sequence[tuple[int, DayRates]]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """Return the new rows, and the rows whose value differs from the stored row's, each with that stored row.

    They are in the order of the table's key: SQLite then fills its pages. Newest dates first would leave them
    nearly half empty.
    """
    new: list[Row] = []
    changed: list[tuple[Row, Row]] = []
    for fetch_id, day in sorted(days, key=lambda item: item[1].date):
        date = day.date.isoformat()
        rows = db.execute("SELECT date, currency, rate, fetch_id FROM rates WHERE date = ?", [date])
        stored: dict[str, Row] = {row[1]: row for row in rows}
        for code, rate in sorted(day.rates.items()):
            known = stored.get(code)
            if known is None:
                new.append((date, code, rate, fetch_id))
            elif known[2] != rate:
                changed.append(((date, code, rate, fetch_id), known))
    return new, changed


def _rejected(received: Sequence[tuple[int, DayRates]]) -> list[tuple[object, ...]]:
    return [
        (fetch_id, bad.date.isoformat(), bad.currency[:MAX_TEXT], bad.value[:MAX_TEXT], bad.reason)
        for fetch_id, day in received
        for bad in day.rejected
    ]


def _day_rows(db: Database, days: Sequence[tuple[int, DayRates]]) -> list[tuple[object, ...]]:
    query = "SELECT count(*) FROM rates WHERE date = ?"
    return [
        (date, day.base, day.timestamp, db.execute(query, [date]).fetchone()[0], fetch_id)
        for fetch_id, day in days
        for date in [day.date.isoformat()]
    ]


def _extend_symbols(db: Database, new: Sequence[Row]) -> None:
    """Extend the first and the last date of each code to these rows, which are sorted by date."""
    first = {code: date for date, code, *_ in reversed(new)}
    last = {code: date for date, code, *_ in new}
    _many(
        db,
        """
        INSERT INTO symbols (code, first_date, last_date) VALUES (?, ?, ?)
        ON CONFLICT (code) DO UPDATE SET
            first_date = min(coalesce(first_date, excluded.first_date), excluded.first_date),
            last_date = max(coalesce(last_date, excluded.last_date), excluded.last_date)
        WHERE first_date IS NULL OR excluded.first_date < first_date OR excluded.last_date > last_date
        """,
        [(code, first[code], last[code]) for code in first],
    )


def _results(
    days: Sequence[tuple[int, DayRates]], new: Sequence[Row], changed: Sequence[tuple[Row, Row]]
) -> list[StoredDay]:
    inserted = Counter(date for date, *_ in new)
    updated = Counter(date for (date, *_), _ in changed)
    return [
        StoredDay(
            date=day.date,
            fetch_id=fetch_id,
            inserted=inserted[date],
            updated=updated[date],
            unchanged=len(day.rates) - inserted[date] - updated[date],
            rejected=len(day.rejected),
        )
        for fetch_id, day in days
        for date in [day.date.isoformat()]
    ]


def _count(db: Database, results: Sequence[StoredDay], received: Sequence[tuple[int, DayRates]]) -> None:
    """Write the counts of each fetch into its row."""
    counts: dict[int, list[int]] = {fetch_id: [0, 0, 0, 0] for fetch_id, _ in received}
    for result in results:
        for place, count in enumerate((result.inserted, result.updated, result.unchanged)):
            counts[result.fetch_id][place] += count
    for fetch_id, day in received:
        counts[fetch_id][3] += len(day.rejected)
    _many(
        db,
        "UPDATE fetches SET inserted = ?, updated = ?, unchanged = ?, rejected = ? WHERE id = ?",
        [(*numbers, fetch_id) for fetch_id, numbers in counts.items()],
    )


def _many(db: Database, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    db.conn.executemany(statement, rows)


def _upsert(db: Database, name: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        table = db.table(name)
        table.upsert_all([columns, *rows], pk=tuple(table.pks))
