"""The table of wanted days."""

import datetime as dt
from collections.abc import Collection

from sqlite_utils import Database

from fx_pipeline.sqlite import sqlite3
from fx_pipeline.wanted import WantedDays

RANGES = "SELECT first_date, last_date FROM wanted_ranges ORDER BY first_date"


def wanted_days(connection: sqlite3.Connection) -> WantedDays:
    """Return the wanted days."""
    return WantedDays.of_rows(connection.execute(RANGES))


def want(db: Database, dates: Collection[dt.date], newest: dt.date) -> None:
    """Add these dates. If `newest`, the newest day that is over, is among them, all later days are wanted."""
    before = wanted_days(db.conn)
    after = before.with_dates(dates, newest=newest)
    if after.ranges == before.ranges:
        return
    db.table("wanted_ranges").delete_where()
    db.conn.executemany(
        "INSERT INTO wanted_ranges VALUES (?, ?)",
        [(first.isoformat(), last and last.isoformat()) for first, last in after.ranges],
    )
