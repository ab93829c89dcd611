"""What the database holds: counts, missing days, and how far rates moved from one day to the next."""

import datetime as dt
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from fx_pipeline.store.wanted import wanted_days


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the database holds. `gaps` are the ranges of missing days."""

    first: dt.date | None
    last: dt.date | None
    days: int
    days_by_year: Mapping[int, int]
    rates: int
    revisions: int
    rejected: int
    fetches: int
    calls: int
    gaps: tuple[tuple[dt.date, dt.date], ...]


@dataclass(frozen=True, slots=True)
class Move:
    """How a rate changed from the day before. `change` is relative: 0.01 is one percent."""

    currency: str
    before: float
    rate: float
    change: float


def coverage(db: Database, newest: dt.date) -> Coverage:
    """Count what is stored and find the gaps. `newest` is the newest day that is over."""
    stored = {dt.date.fromisoformat(date) for (date,) in db.execute("SELECT date FROM days")}
    first, last = min(stored, default=None), max(stored, default=None)
    fetches, calls = db.execute("SELECT count(*), coalesce(sum(calls), 0) FROM fetches").fetchone()
    return Coverage(
        first=first,
        last=last,
        days=len(stored),
        days_by_year=Counter(date.year for date in stored),
        rates=db["rates"].count,
        revisions=db["revisions"].count,
        rejected=db["rejected_rates"].count,
        fetches=fetches,
        calls=calls,
        gaps=tuple(wanted_days(db.conn).missing(stored, newest=newest)),
    )


def largest_moves(db: Database, date: dt.date, limit: int = 5) -> list[Move]:
    """Return the largest moves since the day before, largest first; none if that day is not stored."""
    query = """
        SELECT currency, before.rate, now.rate, now.rate / before.rate - 1 AS change
        FROM rates AS now JOIN rates AS before USING (currency)
        WHERE now.date = ? AND before.date = ? AND now.rate <> before.rate
        ORDER BY abs(change) DESC LIMIT ?
    """
    day_before = date - dt.timedelta(days=1)
    return [Move(*row) for row in db.execute(query, [date.isoformat(), day_before.isoformat(), limit])]
