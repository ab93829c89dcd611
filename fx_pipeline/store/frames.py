"""Stored data for the checks: frames of rates by day and currency, revisions, rejected values, gaps.

The file is opened read-only, and one reader sees a single commit.
"""

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd

from fx_pipeline.clock import parse_instant, utc_now
from fx_pipeline.content_age import ContentAge
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store import instants
from fx_pipeline.store.content import stored_content_age
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.wanted import RANGES
from fx_pipeline.wanted import WantedDays

_RUNS = "SELECT value FROM json_each(?)"


class RateHistory:
    """The database file, open read-only. Raises StoreError, as all its methods do, if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
            )
            self._connection.execute("BEGIN")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be read: {error}. Run `fx-pipeline ingest` once.") from error

    def __enter__(self) -> "RateHistory":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def rates(self, start: dt.date, end: dt.date) -> pd.DataFrame:
        """Return the stored days from `start` to `end`, both included, oldest first: a column per currency.

        A currency without a rate on a day is NaN.
        """
        days = [
            date
            for (date,) in self._rows(
                "SELECT date FROM days WHERE date BETWEEN ? AND ? ORDER BY date", start, end
            )
        ]
        codes = [code for (code,) in self._rows("SELECT code FROM symbols ORDER BY code")]
        row_of = {date: row for row, date in enumerate(days)}
        column_of = {code: column for column, code in enumerate(codes)}
        values = np.full((len(days), len(codes)), np.nan)
        cursor = self._execute(
            "SELECT date, currency, rate FROM rates WHERE date BETWEEN ? AND ?", start, end
        )
        # In chunks, so that little memory is used besides the frame's.
        while part := cursor.fetchmany(10_000):
            places, columns, rates = zip(
                *((row_of[date], column_of[code], rate) for date, code, rate in part), strict=True
            )
            values[places, columns] = rates
        frame = pd.DataFrame(values, index=pd.DatetimeIndex(days), columns=codes)
        return frame.dropna(axis="columns", how="all")

    def rates_around(self, first: dt.date, last: dt.date, *, learn: int, reach: int) -> pd.DataFrame:
        """Return the rates from `first` to `last`, with `learn` stored days before and `reach` days after.

        If there are fewer stored days before, more days after are returned instead.
        """
        start, before = self._nth(first, learn, "<", "DESC")
        end = last + dt.timedelta(days=reach)
        if before < learn:
            furthest, _ = self._nth(last, learn - before, ">", "ASC")
            end = max(end, furthest)
        return self.rates(start, end)

    def _nth(self, date: dt.date, count: int, side: str, order: str) -> tuple[dt.date, int]:
        """Return the furthest of the `count` stored days next to `date` on one side, and their number."""
        rows = self._rows(
            f"SELECT date FROM days WHERE date {side} ? ORDER BY date {order} LIMIT ?",  # noqa: S608  # constants
            date,
            count,
        )
        return (dt.date.fromisoformat(rows[-1][0]) if rows else date), len(rows)

    def currency(self, code: str) -> pd.Series:
        """Return the whole history of a currency, oldest first."""
        rows = self._rows("SELECT date, rate FROM rates WHERE currency = ? ORDER BY date", code)
        return pd.Series(
            [rate for _, rate in rows],
            index=pd.DatetimeIndex([date for date, _ in rows]),
            dtype=float,
            name=code,
        )

    def span(self) -> tuple[dt.date, dt.date] | None:
        """Return the first and the last stored day; None if none is stored."""
        ((first, last),) = self._rows("SELECT min(date), max(date) FROM days")
        return (dt.date.fromisoformat(first), dt.date.fromisoformat(last)) if first else None

    def last_dates(self) -> dict[str, str]:
        """Return the last stored day of each currency."""
        return dict(self._rows("SELECT code, last_date FROM symbols WHERE last_date IS NOT NULL"))  # type: ignore[arg-type]

    def refused_symbols(self) -> set[str]:
        """Return the codes that the provider is known not to know."""
        return {code for (code,) in self._rows("SELECT code FROM refused_symbols")}

    def gaps(self) -> list[tuple[dt.date, dt.date]]:
        """Return the ranges of missing days before the last stored day. `freshness` is about later ones."""
        stored = {dt.date.fromisoformat(date) for (date,) in self._rows("SELECT date FROM days")}
        return self.wanted().missing(stored)

    def wanted(self) -> WantedDays:
        """Return the days that runs were asked for, and those that follow the newest."""
        return WantedDays.of_rows(self._rows(RANGES))  # type: ignore[arg-type]

    def last_fetched(self, first: dt.date, last: dt.date) -> dict[dt.date, dt.datetime]:
        """Return the stored days from `first` to `last`, both included, and when each was last fetched."""
        rows = self._rows(
            """
            SELECT days.date, fetched_at FROM days JOIN fetches ON fetches.id = days.fetch_id
            WHERE days.date BETWEEN ? AND ?
            """,
            first,
            last,
        )
        return {dt.date.fromisoformat(date): parse_instant(fetched_at) for date, fetched_at in rows}

    def names_last_fetched(self) -> dt.datetime | None:
        """Return when the names of the currencies were last fetched; None if never."""
        ((last,),) = self._rows(
            "SELECT max(fetched_at) FROM fetches WHERE endpoint = 'symbols' AND status = 'ok'"
        )
        return parse_instant(last) if last else None

    def last_run(self) -> str | None:
        """Return the run that was the last to store a day; None if there is none."""
        rows = self._rows("SELECT run_id FROM fetches WHERE id = (SELECT max(fetch_id) FROM days)")
        return rows[0][0] if rows else None

    def stored_by(self, runs: Sequence[str]) -> set[dt.date]:
        """Return the days that one of these runs was the last to store."""
        rows = self._rows(
            f"SELECT date FROM days JOIN fetches ON fetches.id = days.fetch_id WHERE run_id IN ({_RUNS})",  # noqa: S608
            json.dumps(runs),
        )
        return {dt.date.fromisoformat(date) for (date,) in rows}

    def revisions(self, runs: Sequence[str]) -> pd.DataFrame:
        """Return the values that the runs replaced. Columns: date, currency, old, new."""
        return self._frame(
            f"""
            SELECT old.date, old.currency, old.rate AS old, coalesce(later.rate, rates.rate) AS new
            FROM fetches
            JOIN revisions AS old ON old.superseded_by = fetches.id
            JOIN rates ON rates.date = old.date AND rates.currency = old.currency
            LEFT JOIN revisions AS later
                ON later.date = old.date AND later.currency = old.currency AND later.fetch_id = fetches.id
            WHERE fetches.run_id IN ({_RUNS}) ORDER BY old.date, old.currency
            """,  # noqa: S608
            json.dumps(runs),
        )

    def rejects(self, runs: Sequence[str]) -> pd.DataFrame:
        """Return the values that the runs rejected. Columns: date, currency, value, reason."""
        return self._frame(
            f"""
            SELECT date, currency, value, reason FROM fetches
            JOIN rejected_rates ON rejected_rates.fetch_id = fetches.id
            WHERE run_id IN ({_RUNS}) ORDER BY date, currency
            """,  # noqa: S608
            json.dumps(runs),
        )

    def rejects_without_value(self, start: dt.date) -> pd.DataFrame:
        """Return the rejected values from `start` on for which no later fetch brought a rate.

        Columns: date, currency, value, reason.
        """
        return self._frame(
            """
            SELECT date, currency, value, reason FROM rejected_rates
            WHERE date >= ? AND fetch_id = (
                SELECT max(fetch_id) FROM rejected_rates AS newer
                WHERE newer.date = rejected_rates.date AND newer.currency = rejected_rates.currency
            ) AND NOT EXISTS (
                SELECT 1 FROM rates WHERE rates.date = rejected_rates.date
                AND rates.currency = rejected_rates.currency
            )
            ORDER BY date, currency
            """,
            start,
        )

    def ahead(self) -> instants.Ahead:
        """Return the fetches dated in the future."""
        return instants.ahead(self._connection, utc_now())

    def clock_error(self) -> dt.timedelta | None:
        """Return how far the clock was ahead of the provider's at the newest fetch; None if they agreed."""
        return instants.clock_error(self._connection)

    def content_age(self) -> ContentAge | None:
        """Judge how long the newest rates have been unchanged; None if fewer than two days are stored."""
        try:
            return stored_content_age(self._connection)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}.") from error

    def _frame(self, sql: str, *parameters: object) -> pd.DataFrame:
        cursor = self._execute(sql, *parameters)
        return pd.DataFrame(cursor.fetchall(), columns=[name for name, *_ in cursor.description])

    def _rows(self, sql: str, *parameters: object) -> list[tuple[str, ...]]:
        return self._execute(sql, *parameters).fetchall()

    def _execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        values = [part.isoformat() if isinstance(part, dt.date) else part for part in parameters]
        try:
            return self._connection.execute(sql, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: cannot be read: {error}.") from error
