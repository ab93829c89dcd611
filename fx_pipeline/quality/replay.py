"""Compare the stored rates with the stored responses, one response after the other.

A response must agree with the values that were current after it was stored. Each value must be in the
response of its fetch. Together with unbroken revisions, the tables are then those that a rebuild would make.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.fixer.parsing import parse_stored
from fx_pipeline.quality.invariants import REBUILD
from fx_pipeline.rates import DayRates
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE, StoreError
from fx_pipeline.store.rows import fetch_of_row
from fx_pipeline.store.writing import MAX_TEXT

_CURRENT = """
    SELECT currency, rate, fetch_id FROM rates WHERE date = ?1 AND fetch_id <= ?2
    UNION ALL SELECT currency, rate, fetch_id FROM revisions
    WHERE date = ?1 AND fetch_id <= ?2 AND superseded_by > ?2
"""
_OWN = """
    SELECT fetch_id, count(*) FROM (SELECT fetch_id FROM rates UNION ALL SELECT fetch_id FROM revisions)
    GROUP BY fetch_id
"""
_REPLACED = "SELECT superseded_by, count(*) FROM revisions GROUP BY superseded_by"
_REJECTED = "SELECT date, currency, value, reason FROM rejected_rates WHERE fetch_id = ?"


@dataclass(frozen=True, slots=True)
class _Newest:
    """The newest response about a day."""

    fetch_id: int
    base: str
    timestamp: int


class Replay:
    """A comparison within one read transaction. `responses` counts those that were read."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.responses = 0
        self._newest: dict[str, _Newest] = {}
        self._names: dict[str, str] = {}
        self._all_read = True
        self._unseen: Counter[int] = Counter()
        self._replaced: Counter[int] = Counter()

    def differences(self) -> Iterator[str]:
        """Yield a line for each response that cannot be read or that differs from the tables."""
        self._unseen = Counter(dict(self._connection.execute(_OWN)))
        self._replaced = Counter(dict(self._connection.execute(_REPLACED)))
        cursor = self._connection.cursor()
        cursor.row_factory = sqlite3.Row
        for row in cursor.execute("SELECT * FROM fetches WHERE body IS NOT NULL ORDER BY id"):
            self.responses += 1
            if line := self._judge(row):
                yield line
        yield from self._others()
        if self._all_read:
            yield from self._totals()

    def _judge(self, row: sqlite3.Row) -> str | None:
        what = f"The response of fetch {row['id']} ({row['endpoint']} {_dates(row)})"
        try:
            fetch = fetch_of_row(dict(row))
            if fetch.status != "ok":
                return None
            fetch = parse_stored(fetch)
        except StoreError as error:
            self._all_read = False
            return str(error)
        except (FixerError, ValueError) as error:
            self._all_read = False
            return f"{what} cannot be read: {error} {RESTORE}"
        finally:
            own = self._unseen.pop(row["id"], 0) if row["status"] == "ok" else 0
        if fetch.status != "ok":
            return f"{what} must not be used: {fetch.status}. {REBUILD}"
        differs = [*self._compare(fetch, row, own)]
        return f"{what} differs from the tables: {'; '.join(differs[:3])}. {REBUILD}" if differs else None

    def _compare(self, fetch: Fetch, row: sqlite3.Row, stored: int) -> Iterator[str]:
        """Yield how a response differs from the tables, which have `stored` values of it."""
        fetch_id: int = row["id"]
        own = received = 0
        for day in fetch.days:
            brought, wrong = self._compare_day(fetch_id, day)
            own += brought
            received += len(day.rates)
            if wrong:
                yield wrong
            self._newest[day.date.isoformat()] = _Newest(fetch_id, day.base, day.timestamp)
        if stored > own:
            yield f"{stored - own:,} stored values are for days that it does not have"
        self._names.update(fetch.names)
        rejected = {
            (bad.date.isoformat(), bad.currency[:MAX_TEXT]): (bad.value[:MAX_TEXT], bad.reason)
            for day in fetch.days
            for bad in day.rejected
        }
        rows = self._connection.execute(_REJECTED, [fetch_id])
        if {(date, code): tuple(rest) for date, code, *rest in rows} != rejected:
            yield "other values were rejected"
        updated = self._replaced[fetch_id]
        counts = (own - updated, updated, received - own, sum(len(day.rejected) for day in fetch.days))
        if counts != tuple(row[name] for name in ("inserted", "updated", "unchanged", "rejected")):
            yield "its counts are wrong"

    def _compare_day(self, fetch_id: int, day: DayRates) -> tuple[int, str | None]:
        """Return how many stored values the response brought, and how they differ from it."""
        current: dict[str, float] = {}
        brought = set()
        date = day.date.isoformat()
        for code, rate, origin in self._connection.execute(_CURRENT, [date, fetch_id]):
            current[code] = rate
            if origin == fetch_id:
                brought.add(code)
        if day.rates.items() <= current.items() and brought <= day.rates.keys():
            return len(brought), None
        wrong = sorted(
            {code for code, rate in day.rates.items() if current.get(code) != rate}
            | brought - day.rates.keys()
        )
        code = wrong[0]
        return len(brought), (
            f"{date}: {len(wrong)} of {len(day.rates)} rates, such as {code}, stored {current.get(code)}, "
            f"received {day.rates.get(code)}"
        )

    def _others(self) -> Iterator[str]:
        for fetch_id, count in sorted(self._unseen.items()):
            yield f"{count:,} stored values are from fetch {fetch_id}, which has no good response. {REBUILD}"

    def _totals(self) -> Iterator[str]:
        """Compare what only all responses together say."""
        wrong = [
            date
            for date, base, timestamp, fetch_id in self._connection.execute(
                "SELECT date, base, timestamp, fetch_id FROM days"
            )
            if self._newest.get(date) != _Newest(fetch_id, base, timestamp)
        ]
        if wrong:
            yield f"{len(wrong):,} days are not as their newest response says, such as {wrong[0]}. {REBUILD}"
        names = dict(self._connection.execute("SELECT code, name FROM symbols WHERE name IS NOT NULL"))
        if names != self._names:
            yield f"The names of the currencies are not as the responses say. {REBUILD}"


def _dates(row: sqlite3.Row) -> str:
    start, end = row["start_date"], row["end_date"]
    return str(start) if start == end else f"{start} to {end}"
