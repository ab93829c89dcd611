"""What changed in the database since the last export."""

from importlib.metadata import version
from typing import NamedTuple

from pydantic import BaseModel

from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.instants import StoredFetch, newest_fetch


class Mark(BaseModel):
    """A state of the database. Two with the same version and number of rebuilds differ by fetches only.

    Another version of fx-pipeline may write other bytes.
    """

    version: str
    rebuilds: int
    fetch: int
    fetched_at: str

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> "Mark":
        """Return the mark of the database that the connection sees."""
        [rebuilds] = connection.execute("PRAGMA user_version").fetchone()
        newest = newest_fetch(connection) or StoredFetch(0, "", "")
        return cls(
            version=version("fx-pipeline"), rebuilds=rebuilds, fetch=newest.id, fetched_at=newest.fetched_at
        )


class State(BaseModel):
    """What the last export was made from."""

    mark: Mark
    newest: str
    """The latest day."""
    days: dict[str, int]
    """The number of days in each year."""
    lifespans: dict[str, tuple[str, str]]
    """The first and the last day of each currency."""
    incomplete: list[str]
    """The files that contain these days, because their currency has no rate on some day of the year."""


class Changes(NamedTuple):
    """The days that were fetched since an export, and the currencies of each year with a new value."""

    days: list[str]
    codes: dict[str, set[str]]


def changes_since(connection: sqlite3.Connection, mark: Mark, now: Mark) -> Changes | None:
    """Return what was fetched since a mark; None if anything may have changed.

    The fetch of the mark must still be there. In a restored or another database, it may be another one.
    """
    row = connection.execute("SELECT fetched_at FROM fetches WHERE id = ?", [mark.fetch]).fetchone()
    is_same = (mark.version, mark.rebuilds) == (now.version, now.rebuilds)
    if not is_same or row != (mark.fetched_at,):
        return None
    rows = connection.execute(
        """
        SELECT days.date, currency FROM days
        LEFT JOIN rates ON rates.date = days.date AND rates.fetch_id > :fetch WHERE days.fetch_id > :fetch
        """,
        {"fetch": mark.fetch},
    ).fetchall()
    codes: dict[str, set[str]] = {}
    for date, code in rows:
        codes.setdefault(date[:4], set()).add(code)
    return Changes(sorted({date for date, _ in rows}), codes)
