"""The canned queries of ``datasette_config/metadata.yaml``, by name. The API has no other SQL."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from fx_pipeline import tracing
from fx_pipeline.api.reading.lanes import DAYS, Effort
from fx_pipeline.rates import calendar
from fx_pipeline.sqlite import sqlite3

DATABASE = "fx"
"""The name under which Datasette serves the file, regardless of the file's own name."""

T = TypeVar("T")


class Queries:
    """The canned queries on one connection, by name."""

    def __init__(self, connection: sqlite3.Connection, sql: Mapping[str, str], effort: Effort) -> None:
        self._connection = connection
        self._sql = sql
        self._effort = effort

    def paced(self, items: Iterable[T], every: int = DAYS) -> Iterator[T]:
        """Yield the items, with pauses that let other requests go first. For loops over many days."""
        return self._effort.paced(items, every)

    def rows(self, name: str, **parameters: str) -> list[tuple[Any, ...]]:
        """Return all rows of a canned query. An empty parameter counts as not given."""
        return self._connection.execute(self._sql[name], parameters).fetchall()

    def select(self, sql: str, parameters: Mapping[str, str]) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Return the columns and rows of a canned query, or of the SQL that Datasette makes for a table."""
        cursor = self._connection.execute(sql, parameters)
        return [name for name, *_ in cursor.description], cursor

    def history(self, symbol: str, **parameters: str) -> tuple[Sequence[str], list[float]]:
        """Return the dates and rates of one currency's `rate_history`, oldest first.

        If no day is missing, the dates are computed: reading them takes longer than reading the rates.
        """

        def read(column: str, order: str) -> list[Any]:
            sql = f"SELECT {column} FROM ({self._sql['rate_history']}) ORDER BY {order}"  # noqa: S608
            return [value for (value,) in self._connection.execute(sql, {"symbols": symbol, **parameters})]

        rates = read("rate", "currency, date")
        if not rates:
            return [], rates
        [first], [last] = (read("date", f"currency {way}, date {way} LIMIT 1") for way in ("ASC", "DESC"))
        dates = calendar(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
        return dates if len(dates) == len(rates) else read("date", "currency, date"), rates


class TracedQueries(Queries):
    """The canned queries, each with a span. That of `select` ends before its rows are read."""

    def rows(self, name: str, **parameters: str) -> list[tuple[Any, ...]]:
        """Return all rows of a canned query."""
        with _span(name) as span:
            rows = super().rows(name, **parameters)
            span.add({"db.response.returned_rows": len(rows)})
            return rows

    def history(self, symbol: str, **parameters: str) -> tuple[Sequence[str], list[float]]:
        """Return the dates and rates of one currency's `rate_history`."""
        with _span("rate_history") as span:
            dates, rates = super().history(symbol, **parameters)
            span.add({"db.response.returned_rows": len(rates)})
            return dates, rates

    def select(self, sql: str, parameters: Mapping[str, str]) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Return the columns and rows of some SQL."""
        with _span("select"):
            return super().select(sql, parameters)


def _span(query: str) -> AbstractContextManager[tracing.Span]:
    # Its parameters are in the URL of the request, which is an attribute of the span above.
    attributes = {"db.system.name": "sqlite", "db.namespace": DATABASE, "db.query.summary": query}
    return tracing.span(query, kind="CLIENT", attributes=attributes)
