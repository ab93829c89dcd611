"""What a database file holds: rows, stored dates, a comparable dump, and a check for half-stored days."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from fx_pipeline.quality.integrity import findings
from fx_pipeline.sqlite import sqlite3

_CONTENT = (
    "SELECT date, currency, rate FROM rates ORDER BY 1, 2",
    "SELECT date, base, timestamp, currencies FROM days ORDER BY 1",
    "SELECT date, currency, rate FROM revisions ORDER BY 1, 2, 3",
    "SELECT code, name, first_date, last_date FROM symbols ORDER BY 1",
)
"""Everything except the numbers of the fetches, which differ between two files with the same rates."""


def rows(path: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query, on a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, parameters).fetchall()


def stored_dates(path: Path) -> set[str]:
    """Return the days that are stored."""
    return {date for (date,) in rows(path, "SELECT date FROM days")}


def dump(path: Path) -> bytes:
    """Return all rates, days, revisions and symbols, one row per line."""
    return "\n".join(json.dumps(row) for sql in _CONTENT for row in rows(path, sql)).encode()


def assert_consistent(path: Path) -> None:
    """Fail if the file is damaged, a day is stored by half, or a rate is not as the responses say."""
    assert findings(path, full=True) == []
