"""The result of storing a day."""

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDay:
    """The result of storing one day, in numbers of currencies."""

    date: dt.date
    fetch_id: int
    inserted: int
    updated: int
    unchanged: int
    rejected: int

    @classmethod
    def unchanged_since(cls, date: str, fetch_id: int, currencies: int) -> "StoredDay":
        """Return the result of storing this day again without a change."""
        return cls(
            date=dt.date.fromisoformat(date),
            fetch_id=fetch_id,
            inserted=0,
            updated=0,
            unchanged=currencies,
            rejected=0,
        )
