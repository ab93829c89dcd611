"""What a database file holds, in one form that can be compared byte for byte; and what it must never hold."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_CONTENT = (
    "SELECT date, currency, rate FROM rates ORDER BY 1, 2",
    "SELECT date, base, timestamp, currencies FROM days ORDER BY 1",
    "SELECT date, currency, rate FROM revisions ORDER BY 1, 2, 3",
    "SELECT code, name, first_date, last_date FROM symbols ORDER BY 1",
)
"""All but which fetch brought what: that is another each time."""

_BROKEN = {
    "a day without rates": "SELECT date FROM days WHERE date NOT IN (SELECT date FROM rates)",
    "rates without their day": "SELECT DISTINCT date FROM rates WHERE date NOT IN (SELECT date FROM days)",
    "a count that is not that of the rates": """
        SELECT date FROM days WHERE currencies <> (SELECT count(*) FROM rates WHERE rates.date = days.date)
    """,
    "rates of an answer that was none": """
        SELECT DISTINCT rates.date FROM rates JOIN fetches ON fetches.id = rates.fetch_id
        WHERE status <> 'ok' OR fetched_at IS NULL OR body IS NULL
    """,
    "a revision by the answer that it replaces, or an older one": """
        SELECT date, currency FROM revisions WHERE superseded_by <= fetch_id
    """,
    "an answer that counts other rates than it brought": """
        SELECT fetches.id FROM fetches WHERE fetched_at IS NOT NULL AND inserted + updated < (
            SELECT count(*) FROM rates WHERE rates.fetch_id = fetches.id
        )
    """,
    "a currency with other first and last days than its rates": """
        SELECT currency FROM rates JOIN symbols ON code = currency GROUP BY currency
        HAVING first_date <> min(date) OR last_date <> max(date)
    """,
}


def dump(path: Path) -> bytes:
    """All that is stored but where it came from, a row a line."""
    with closing(sqlite3.connect(path)) as connection:
        rows = [row for query in _CONTENT for row in connection.execute(query)]
    return "\n".join(json.dumps(row) for row in rows).encode()


def broken(path: Path) -> Iterator[str]:
    """What is wrong with the file: SQLite's own check, rows that point nowhere, half-written days."""
    with closing(sqlite3.connect(path)) as connection:
        for check in ("PRAGMA integrity_check", "PRAGMA foreign_key_check"):
            for row in connection.execute(check):
                if row != ("ok",):
                    yield f"{check}: {row}"
        for what, query in _BROKEN.items():
            for row in connection.execute(query):
                yield f"{what}: {row}"


def stored_dates(path: Path) -> set[str]:
    """The days that are stored."""
    with closing(sqlite3.connect(path)) as connection:
        return {date for (date,) in connection.execute("SELECT date FROM days")}
