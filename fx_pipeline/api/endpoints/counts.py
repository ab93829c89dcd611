"""How much is stored, and how old the content is: read once for each version of the database."""

import datetime as dt
from collections.abc import Callable, Hashable
from typing import TypeVar

from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import Document
from fx_pipeline.content_age import ContentAge, newest_content

T = TypeVar("T")


class Counts:
    """How much is stored. Counting takes milliseconds, so it is done once for each version.

    `version` is that of the database before `queries` were opened, if known.
    """

    def __init__(self) -> None:
        self._known: dict[Callable[[Queries], object], tuple[Hashable, object]] = {}

    def read(self, queries: Queries, version: Hashable) -> Document:
        """Return what is stored."""
        return self._once(_count, queries, version)

    def content_age(self, queries: Queries, version: Hashable) -> ContentAge | None:
        """Return how long the newest rates have been unchanged; None if fewer than two days are stored."""
        return self._once(_read_content_age, queries, version)

    def _once(self, read: Callable[[Queries], T], queries: Queries, version: Hashable) -> T:
        known, found = self._known.get(read, (None, None))
        if version is None or known != version:
            found = read(queries)
            self._known[read] = (version, found)
        return found  # type: ignore[return-value]  # what `read` returned


def _read_content_age(queries: Queries) -> ContentAge | None:
    """Judge how long the newest rates have been unchanged; None if fewer than two days are stored."""
    ((newest, _, _),) = queries.rows("latest_date")
    return newest_content(
        lambda since: queries.rows("content_changes", start_date=since),
        dt.date.fromisoformat(newest) if newest else None,
    )


def _count(queries: Queries) -> Document:
    ((base, first, last, days, rates, _, _),) = queries.rows(
        "stored_days", start_date="", end_date="", as_of=""
    )
    counts = {"days": days, "rates": rates, "symbols": len(queries.rows("currencies"))}
    return {"status": "ok", "base": base, "first_date": first, "latest_date": last, **counts}
