"""What a database file holds: rows, stored dates, a comparable dump, and a check for half-stored days."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from fx_pipeline.sqlite import sqlite3

_CONTENT = (
    "SELECT date, currency, rate FROM rates ORDER BY 1, 2",
    "SELECT date, base, timestamp, currencies FROM days ORDER BY 1",
    "SELECT date, currency, rate FROM revisions ORDER BY 1, 2, 3",
    "SELECT code, name, first_date, last_date FROM symbols ORDER BY 1",
)
"""Everything except the numbers of the fetches, which differ between two files with the same rates."""

_INCONSISTENT = {
    "a day without rates": "SELECT date FROM days WHERE date NOT IN (SELECT date FROM rates)",
    "rates without a day": "SELECT DISTINCT date FROM rates WHERE date NOT IN (SELECT date FROM days)",
    "a day that counts its rates wrongly": """
        SELECT date FROM days WHERE currencies <> (SELECT count(*) FROM rates WHERE rates.date = days.date)
    """,
    "rates from a fetch that failed or has no response": """
        SELECT DISTINCT rates.date FROM rates JOIN fetches ON fetches.id = rates.fetch_id
        WHERE status <> 'ok' OR fetched_at IS NULL OR body IS NULL
    """,
    "a value that was replaced by the same fetch or an older one": """
        SELECT date, currency FROM revisions WHERE superseded_by <= fetch_id
    """,
    "a fetch that counts fewer rates than it stored": """
        SELECT fetches.id FROM fetches WHERE fetched_at IS NOT NULL AND inserted + updated < (
            SELECT count(*) FROM rates WHERE rates.fetch_id = fetches.id
        )
    """,
    "a currency whose first or last day is not that of its rates": """
        SELECT currency FROM rates JOIN symbols ON code = currency GROUP BY currency
        HAVING first_date <> min(date) OR last_date <> max(date)
    """,
}


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
    """Fail if the file is damaged, a row refers to a missing one, or a day is stored by half."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for check in ("integrity_check", "foreign_key_check"):
        found[check] = [row for row in rows(path, f"PRAGMA {check}") if row != ("ok",)]
    for problem, sql in _INCONSISTENT.items():
        found[problem] = rows(path, sql)
    assert not any(found.values()), {problem: where for problem, where in found.items() if where}
