"""What a supervisor asks: does the API work (`/-/health`), and is its data current (`/-/health/freshness`).

They are two questions, because a restart brings no data: only the first may lead to one.
"""

import datetime as dt
import logging
from collections.abc import Hashable

from fx_pipeline.api.endpoints.bodies import Document, as_json
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import NO_STORE, Reply

logger = logging.getLogger(__name__)

QUERIES = ("latest_date", "stored_days", "symbols")


class Counts:
    """How much is stored. Counting takes milliseconds, so it is done once for each state of the database."""

    def __init__(self) -> None:
        self._version: Hashable = None
        self._facts: Document = {}

    def read(self, queries: Queries, version: Hashable) -> Document:
        """Return what is stored. `version` is that of the database before `queries` were opened, if known."""
        if version is None or version != self._version:
            self._facts, self._version = _count(queries), version
        return self._facts


def health(
    queries: Queries,
    *,
    closed: str | None = None,
    counts: Counts | None = None,
    version: Hashable = None,
) -> Reply:
    """200, with what is stored, and why every other request is refused, if it is.

    A restart would not end that, so it is no reason for 503.
    """
    queries.rows("latest_date")  # it is read each time, whatever is known already
    facts = counts.read(queries, version) if counts else _count(queries)
    return _reply(200, {**facts, "closed": closed} if closed else facts)


def _count(queries: Queries) -> Document:
    ((base, first, last, days, rates, _, _),) = queries.rows(
        "stored_days", start_date="", end_date="", as_of=""
    )
    counts = {"days": days, "rates": rates, "symbols": len(queries.rows("symbols"))}
    return {"status": "ok", "base": base, "first_date": first, "latest_date": last, **counts}


def freshness(queries: Queries, *, today: dt.date, max_age_days: int) -> Reply:
    """200 where the newest stored day is at most `max_age_days` days old, else 503."""
    ((newest, _, _),) = queries.rows("latest_date")
    age = (today - dt.date.fromisoformat(newest)).days if newest else None
    fresh = age is not None and age <= max_age_days
    facts = {"latest_date": newest, "age_days": age, "max_age_days": max_age_days}
    return _reply(200 if fresh else 503, {"status": "fresh" if fresh else "stale", **facts})


def unreadable(error: Exception) -> Reply:
    """503: the process is up, and the database cannot be read."""
    logger.error("the database cannot be read: %s", error or type(error).__name__)
    return _reply(503, {"status": "error", "message": "The database cannot be read."})


def _reply(status: int, document: Document) -> Reply:
    return Reply(as_json(document), NO_STORE, status=status)
