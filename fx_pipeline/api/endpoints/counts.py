"""How much is stored, counted once for each version of the database."""

from collections.abc import Hashable

from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import Document


class Counts:
    """How much is stored. Counting takes milliseconds, so it is done once for each version."""

    def __init__(self) -> None:
        self._known: tuple[Hashable, Document] = (None, {})

    def read(self, queries: Queries, version: Hashable) -> Document:
        """Return what is stored. `version` is that of the database before `queries` were opened, if known."""
        if version is None:
            return _count(queries)
        known, facts = self._known
        if known != version:
            facts = _count(queries)
            self._known = (version, facts)
        return facts


def _count(queries: Queries) -> Document:
    ((base, first, last, days, rates, _, _),) = queries.rows(
        "stored_days", start_date="", end_date="", as_of=""
    )
    counts = {"days": days, "rates": rates, "symbols": len(queries.rows("currencies"))}
    return {"status": "ok", "base": base, "first_date": first, "latest_date": last, **counts}
