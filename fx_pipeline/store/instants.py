"""The instants at which fetches were stored, correct even if the machine's clock is not.

`as_of` reads them, so they must be in the order of the fetch ids, and none may be in the future. After a
clock that was ahead is corrected, the instants that it gave are moved to just before the present. They stay
after the last correct instant, so no rate is dated earlier than it was known.
"""

import datetime as dt
from dataclasses import dataclass
from typing import NamedTuple

from sqlite_utils import Database

from fx_pipeline.clock import instant_text, parse_instant
from fx_pipeline.sqlite import sqlite3

TOLERANCE = dt.timedelta(minutes=1)
"""If the clock is set back by less, no stored instant moves: the next ones follow the newest directly."""

DISAGREEMENT = dt.timedelta(hours=1)
"""If the clock and the provider's differ by more than this, one of them is wrong."""

_STEP = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Ahead:
    """The number of fetches dated in the future, and the last of their instants."""

    count: int
    newest: dt.datetime | None

    def __str__(self) -> str:
        if not self.newest:
            return "ok"
        return (
            f"{self.count:,} {'fetch is' if self.count == 1 else 'fetches are'} dated in the future, up to "
            f"{self.newest:%Y-%m-%d %H:%M} UTC, so `as_of` leaves them out: the clock was ahead. Correct the "
            "clock; the next fetch or `fx-pipeline rebuild` then corrects them."
        )


NONE_AHEAD = Ahead(0, None)


class StoredFetch(NamedTuple):
    """A fetch that is stored, with its instants as they are in the database."""

    id: int
    asked_at: str
    """By this machine's clock. It never changes."""
    fetched_at: str
    """By the chosen clock. A correction of the clock changes it."""


def newest_fetch(connection: sqlite3.Connection) -> StoredFetch | None:
    """Return the fetch that was stored last, which has the highest number; None if there is none."""
    row = connection.execute(
        "SELECT id, asked_at, fetched_at FROM fetches WHERE fetched_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return StoredFetch(*row) if row else None


def chosen(clock: dt.datetime, provider: dt.datetime | None, newest: dt.datetime | None) -> dt.datetime:
    """Return the current instant, judged by the clock, the provider's clock and the newest stored instant.

    The clock is right if the provider's agrees. It is also right if the newest instant agrees with it and not
    with the provider's, which may come from a cache. Otherwise the provider's is right.
    """
    if provider is None or abs(clock - provider) <= DISAGREEMENT:
        return clock
    if newest is not None and provider < newest - DISAGREEMENT and clock > newest:
        return clock
    return provider


def next_instant(db: Database, clock: dt.datetime, provider: dt.datetime | None) -> dt.datetime:
    """Return the instant for the next fetch, after all others. Move those in its future before it.

    Call this within the transaction that stores the fetch.
    """
    newest = _newest(db.conn)
    now = chosen(clock, provider, newest)
    if newest is None or now > newest:
        return now
    if newest - now <= TOLERANCE:
        return newest + _STEP
    move_back(db, now)
    return now


def move_back(db: Database, now: dt.datetime) -> int:
    """Move instants in the future to just before `now`, in order. Return the number of moved instants."""
    moved, limit = [], now
    rows = db.execute("SELECT id, fetched_at FROM fetches WHERE fetched_at IS NOT NULL ORDER BY id DESC")
    for fetch_id, fetched_at in rows:
        if parse_instant(fetched_at) < limit:
            break
        limit -= _STEP
        moved.append((instant_text(limit), fetch_id))
    db.conn.executemany("UPDATE fetches SET fetched_at = ? WHERE id = ?", moved)
    return len(moved)


def ahead(connection: sqlite3.Connection, now: dt.datetime) -> Ahead:
    """Return the stored instants that are after `now` by more than the tolerance."""
    count, newest = connection.execute(
        "SELECT count(*), max(fetched_at) FROM fetches WHERE fetched_at > ?", [instant_text(now + TOLERANCE)]
    ).fetchone()
    return Ahead(count, parse_instant(newest) if newest else None)


def clock_error(connection: sqlite3.Connection) -> dt.timedelta | None:
    """Return by how much the clock was ahead of the provider's at the newest fetch; None if they agreed."""
    newest = newest_fetch(connection)
    if newest is None:
        return None
    error = parse_instant(newest.asked_at) - parse_instant(newest.fetched_at)
    return error if abs(error) > DISAGREEMENT else None


def _newest(connection: sqlite3.Connection) -> dt.datetime | None:
    (newest,) = connection.execute("SELECT max(fetched_at) FROM fetches").fetchone()
    return parse_instant(newest) if newest else None


def clock_error_text(error: dt.timedelta) -> str:
    """Return what `clock_error` found, and what to do."""
    side = "ahead of" if error > dt.timedelta() else "behind"
    hours = round(abs(error) / dt.timedelta(hours=1))
    shown = f"{round(hours / 24)} days" if hours >= 48 else f"{hours} hour{'s' if hours != 1 else ''}"
    return (
        f"the clock of this machine was {shown} {side} the provider's at the newest fetch. That fetch is "
        "dated by the provider's clock. Correct it, for example with NTP"
    )
