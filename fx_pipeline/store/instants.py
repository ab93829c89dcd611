"""The instants at which fetches were stored, kept right although the clock of the machine may be wrong.

What was known when is read from them: their order is that of the numbers of the fetches, and none may lie in
the future. A clock that was ahead is noticed when it has been set right, and the instants that it gave are
moved to just before the present. Until then they lie between the right one before and the present, so nothing
is claimed to have been known earlier than it was.
"""

import datetime as dt
from dataclasses import dataclass
from sqlite3 import Connection

from sqlite_utils import Database

from fx_pipeline.clock import instant_text, parse_instant

TOLERANCE = dt.timedelta(minutes=1)
"""A clock that is set back by less moves no stored instant: the next ones follow the newest directly."""

DISAGREEMENT = dt.timedelta(hours=1)
"""A difference between the clock and the provider's from which one of them must be wrong."""

_STEP = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Ahead:
    """Fetches whose instants lie in the future: how many, and the last of these instants."""

    count: int
    newest: dt.datetime | None

    def __str__(self) -> str:
        if not self.newest:
            return "ok"
        return (
            f"{self.count:,} {'fetch is' if self.count == 1 else 'fetches are'} dated in the future, up to "
            f"{self.newest:%Y-%m-%d %H:%M} UTC, so `as_of` leaves them out: the clock was ahead. Set the "
            "clock right; the next fetch corrects them, or `fx-pipeline rebuild`."
        )


NONE_AHEAD = Ahead(0, None)


def chosen(clock: dt.datetime, provider: dt.datetime | None, newest: dt.datetime | None) -> dt.datetime:
    """Return the present instant, by the clock, by the provider's, and by the newest stored instant.

    The clock is believed where the provider's agrees, or where the newest instant agrees with it and not with
    the provider's, which may come from a cache. In all other cases the provider's is believed.
    """
    if provider is None or abs(clock - provider) <= DISAGREEMENT:
        return clock
    if newest is not None and provider < newest - DISAGREEMENT and clock > newest:
        return clock
    return provider


def next_instant(db: Database, clock: dt.datetime, provider: dt.datetime | None) -> dt.datetime:
    """Return the instant for the next fetch, after all others; those in its future are moved before it.

    To be called within the transaction that stores the fetch.
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
    """Move what lies in the future to just before `now`, in its order. Returns how many instants moved."""
    moved, limit = [], now
    rows = db.execute("SELECT id, fetched_at FROM fetches WHERE fetched_at IS NOT NULL ORDER BY id DESC")
    for fetch_id, fetched_at in rows:
        if parse_instant(fetched_at) < limit:
            break
        limit -= _STEP
        moved.append((instant_text(limit), fetch_id))
    db.conn.executemany("UPDATE fetches SET fetched_at = ? WHERE id = ?", moved)
    return len(moved)


def ahead(connection: Connection, now: dt.datetime) -> Ahead:
    """Return which stored instants lie in the future of `now`, by more than clocks may differ."""
    count, newest = connection.execute(
        "SELECT count(*), max(fetched_at) FROM fetches WHERE fetched_at > ?", [instant_text(now + TOLERANCE)]
    ).fetchone()
    return Ahead(count, parse_instant(newest) if newest else None)


def clock_error(connection: Connection) -> dt.timedelta | None:
    """Return by how much the clock was ahead of the provider's at the newest fetch; None if they agreed.

    It was asked by the clock of this machine, and stored at the instant that was chosen.
    """
    row = connection.execute(
        "SELECT asked_at, fetched_at FROM fetches WHERE fetched_at IS NOT NULL ORDER BY id DESC LIMIT 1"
    ).fetchone()
    error = parse_instant(row[0]) - parse_instant(row[1]) if row else dt.timedelta()
    return error if abs(error) > DISAGREEMENT else None


def _newest(connection: Connection) -> dt.datetime | None:
    (newest,) = connection.execute("SELECT max(fetched_at) FROM fetches").fetchone()
    return parse_instant(newest) if newest else None
