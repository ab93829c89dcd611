"""Databases for the benchmarks: years of made-up rates of 170 currencies, in the project's own schema."""

import datetime as dt
import math
from collections.abc import Iterator
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.migrations import migrations

LAST = dt.date(2026, 10, 30)
CODES = sorted(
    {"EUR", "USD", "GBP", "JPY"} | {f"{chr(65 + index // 26)}{chr(65 + index % 26)}Q" for index in range(166)}
)


def build(path: Path, years: int) -> Path:
    """Create a database of `years` years up to LAST, unless it exists."""
    if path.exists():
        return path
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    db = Database(sqlite3.connect(unfinished), execute_plugins=False)
    migrations.apply(db)
    days = [LAST - dt.timedelta(days=back) for back in range(round(years * 365.25))][::-1]
    with db.atomic():
        db.execute(
            "INSERT INTO fetches (endpoint, base, symbols, asked_at, fetched_at, calls, status)"
            " VALUES ('timeseries', 'EUR', '', ?, ?, 1, 'ok')",
            ["2026-10-31T00:00:00.000000Z", "2026-10-31T00:00:01.000000Z"],
        )
        db.conn.executemany("INSERT INTO rates VALUES (?, ?, ?, 1)", _rates(days))
        db.conn.executemany("INSERT INTO days VALUES (?, 'EUR', ?, ?, 1)", _days(days))
        span = (str(days[0]), str(days[-1]))
        db.conn.executemany(
            "INSERT INTO symbols VALUES (?, ?, ?, ?)", [(code, code, *span) for code in CODES]
        )
    db.enable_wal()
    db.close()
    unfinished.replace(path)
    return path


def _rates(days: list[dt.date]) -> Iterator[tuple[str, str, float]]:
    for number, day in enumerate(days):
        for index, code in enumerate(CODES):
            level = 10 ** (index % 7 - 2) * (1 + 0.3 * math.sin(number / 90 + index))
            yield str(day), code, 1.0 if code == "EUR" else float(f"{level:.6g}")


def _days(days: list[dt.date]) -> Iterator[tuple[str, int, int]]:
    for day in days:
        end = dt.datetime.combine(day, dt.time(23, 59, 59), dt.timezone.utc)
        yield str(day), int(end.timestamp()), len(CODES)
