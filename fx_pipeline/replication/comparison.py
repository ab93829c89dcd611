"""Compare a restored database with the live one, as that was at the newest fetch in the restored one."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from fx_pipeline.api.reading.files import one_commit
from fx_pipeline.clock import instant_text
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE
from fx_pipeline.store.instants import newest_fetch

BEHIND = dt.timedelta(minutes=5)
"""A response that was stored this long before the restore must be in the replica."""

_FETCHES = """
    SELECT
        id, endpoint, start_date, end_date, base, symbols, asked_at, run_id, provider, calls,
        quota_limit, quota_remaining, body
    FROM fetches WHERE fetched_at IS NOT NULL AND id <= ?1 ORDER BY id
"""
_REVISIONS = """
    SELECT date, currency, fetch_id, rate, superseded_by FROM revisions WHERE superseded_by <= ?1
    ORDER BY date, currency, fetch_id
"""
_REJECTED = """
    SELECT fetch_id, date, currency, value, reason FROM rejected_rates WHERE fetch_id <= ?1
    ORDER BY fetch_id, date, currency
"""
_RATES = "SELECT date, currency, rate, fetch_id FROM rates ORDER BY date, currency"
_RATES_THEN = """
    SELECT date, currency, rate, fetch_id FROM rates WHERE fetch_id <= ?1
    UNION ALL SELECT date, currency, rate, fetch_id FROM revisions WHERE fetch_id <= ?1 AND superseded_by > ?1
    ORDER BY date, currency
"""

_TABLES = (
    ("fetches", _FETCHES, _FETCHES),
    ("rates", _RATES, _RATES_THEN),
    ("revisions", _REVISIONS, _REVISIONS),
    ("rejected rates", _REJECTED, _REJECTED),
)
"""What is compared: a name, the query on the restored database, and that on the live one. `?1` is the newest
fetch of the restored one. Columns that a later rebuild or correction of the clock changes are left out."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a restored database differs from the live one, and the instant of its newest response."""

    differences: tuple[str, ...]
    newest: str | None


def compare(restored: Path, database: Path, *, current_at: dt.datetime | None) -> Comparison:
    """Compare all rows up to the newest fetch of the restored database. Raise sqlite3.Error.

    `current_at`: the restored one must have what was stored BEHIND before then. None: it may be older.
    """
    with one_commit(restored, timeout=60) as copy, one_commit(database, timeout=60) as live:
        newest = newest_fetch(copy)
        newest_id = newest.id if newest else 0
        found = [*_lost(live, newest_id), *_late(live, newest_id, current_at)]
        if not found:
            found = [*_differences(copy, live, newest_id)]
    return Comparison((*found,), newest.fetched_at if newest else None)


def _lost(live: sqlite3.Connection, newest: int) -> Iterator[str]:
    """Yield that the live database lacks fetches that the restored one has."""
    found = newest_fetch(live)
    last = found.id if found else 0
    if last < newest:
        yield (
            f"The live database ends at fetch {last}, the restored one at {newest}: the live one has lost "
            f"commits. {RESTORE}"
        )


def _late(live: sqlite3.Connection, newest: int, current_at: dt.datetime | None) -> Iterator[str]:
    """Yield that the restored database lacks responses that were stored some time ago."""
    if current_at is None:
        return
    query = "SELECT count(*), min(fetched_at) FROM fetches WHERE id > ? AND fetched_at < ?"
    lacking, oldest = live.execute(query, [newest, instant_text(current_at - BEHIND)]).fetchone()
    if lacking:
        yield (
            f"The replica lacks the last {lacking:,} responses, since {oldest}: it is not kept current. "
            "`fx-pipeline status` shows why."
        )


def _differences(copy: sqlite3.Connection, live: sqlite3.Connection, newest: int) -> Iterator[str]:
    for name, of_copy, of_live in _TABLES:
        restored = copy.execute(of_copy, [newest] if "?1" in of_copy else [])
        for one, other in zip_longest(restored, live.execute(of_live, [newest])):
            if one != other:
                yield f"The {name} differ: restored {_shown(one)}, in the live database {_shown(other)}."
                break


def _shown(row: tuple[object, ...] | None) -> str:
    """Return the start of a row, without its response."""
    return " ".join(str(value) for value in row[:4]) if row else "nothing"
