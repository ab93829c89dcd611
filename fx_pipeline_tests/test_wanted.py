"""Wanted days: what runs were asked for, which days follow from it, and which of them are missing."""

import datetime as dt
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from fx_pipeline.rates import date_range
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.frames import RateHistory
from fx_pipeline.store.migrations import migrations
from fx_pipeline.store.store import RateStore
from fx_pipeline.store.wanted import wanted_days
from fx_pipeline.wanted import WantedDays, WantedRange

NEWEST = dt.date(2024, 3, 9)


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


def ranges(text: str) -> list[WantedRange]:
    """Return the ranges of a text such as `2024-01-01...2024-01-03, 2024-03-09...`."""
    pairs = (part.split("...") for part in text.split(", ") if part)
    return [(day(first), day(last) if last else None) for first, last in pairs]


def dates(text: str) -> set[dt.date]:
    """Return the dates of a text of ranges with ends."""
    return {date for first, last in ranges(text) if last for date in date_range(first, last)}


WANTED = [
    ("", "2024-01-01...2024-01-02", "2024-01-01...2024-01-02"),
    ("2024-01-01...2024-01-02", "2024-01-03...2024-01-04", "2024-01-01...2024-01-04"),
    (
        "2024-01-01...2024-01-02",
        "2024-01-04...2024-01-05",
        "2024-01-01...2024-01-02, 2024-01-04...2024-01-05",
    ),
    # Whoever fetches the newest day wants those that follow.
    ("", "2024-03-01...2024-03-09", "2024-03-01..."),
    ("2024-01-01...2024-01-02", "2024-03-09...2024-03-09", "2024-01-01...2024-01-02, 2024-03-09..."),
    ("2024-01-01...2024-03-08", "2024-03-09...2024-03-09", "2024-01-01..."),
    # An open range takes in what lies before it without a gap, and all that is later.
    ("2024-03-01...", "2024-02-27...2024-02-29", "2024-02-27..."),
    ("2024-03-01...", "2024-02-27...2024-02-28", "2024-02-27...2024-02-28, 2024-03-01..."),
    ("2024-03-01...", "2024-03-05...2024-03-09", "2024-03-01..."),
    ("2024-03-01...", "2024-02-01...2024-02-01", "2024-02-01...2024-02-01, 2024-03-01..."),
]


@pytest.mark.parametrize(("before", "added", "after"), WANTED)
def test_days_are_added_to_the_wanted_ones(before: str, added: str, after: str) -> None:
    assert WantedDays(ranges(before)).with_dates(dates(added), newest=NEWEST).ranges == ranges(after)


MISSING = [
    ("", "2024-01-01...2024-01-05", ""),
    ("2024-01-01...2024-01-05", "", ""),
    ("2024-01-01...2024-01-05", "2024-01-02...2024-01-03", "2024-01-01...2024-01-01"),
    (
        "2024-01-01...",
        "2024-01-02...2024-01-03, 2024-01-06...2024-01-06",
        "2024-01-01...2024-01-01, 2024-01-04...2024-01-05",
    ),
    # The backfill of one old year does not make the years after it missing.
    ("2010-01-01...2010-12-31, 2024-01-01...", "2010-01-01...2010-12-31, 2024-01-01...2024-01-09", ""),
]


@pytest.mark.parametrize(("wanted", "stored", "missing"), MISSING)
def test_a_wanted_day_before_the_last_stored_one_is_missing(wanted: str, stored: str, missing: str) -> None:
    assert WantedDays(ranges(wanted)).missing(dates(stored)) == ranges(missing)


LATE = [
    # (wanted, stored, the newest day, missing)
    ("2024-03-01...", "2024-03-01...2024-03-08", "2024-03-09", ""),
    ("2024-03-01...", "2024-03-01...2024-03-06", "2024-03-09", "2024-03-07...2024-03-08"),
    ("2024-03-01...", "2024-03-09...2024-03-09", "2024-03-09", "2024-03-01...2024-03-08"),
    ("2024-03-01...", "2010-01-01...2010-01-01", "2024-03-03", "2024-03-01...2024-03-02"),
    ("2024-03-01...2024-03-02", "", "2024-03-09", "2024-03-01...2024-03-02"),
    ("", "", "2024-03-09", ""),
]


@pytest.mark.parametrize(("wanted", "stored", "newest", "missing"), LATE)
def test_days_after_the_last_stored_one_are_missing_when_they_are_late(
    wanted: str, stored: str, newest: str, missing: str
) -> None:
    found = WantedDays(ranges(wanted)).missing(dates(stored), newest=day(newest))
    assert found == ranges(missing)


days = st.dates(dt.date(2023, 12, 1), NEWEST)
asked = st.lists(st.tuples(days, st.integers(0, 40)), max_size=6)


@given(asked, st.sets(days, max_size=40))
def test_the_wanted_days_match_the_model(asked: list[tuple[dt.date, int]], stored: set[dt.date]) -> None:
    """The model keeps a set of all days up to long after the newest one."""
    horizon = NEWEST + dt.timedelta(days=100)
    wanted, model = WantedDays(), set[dt.date]()
    for first, length in asked:
        added = set(date_range(first, min(first + dt.timedelta(days=length), NEWEST)))
        wanted = wanted.with_dates(added, newest=NEWEST)
        model |= added
        if NEWEST in added:
            model |= set(date_range(NEWEST, horizon))
    assert wanted.between(dt.date(2023, 1, 1), horizon) == model
    missing = {date for first, last in wanted.missing(stored) for date in date_range(first, last)}
    assert missing == {date for date in model - stored if date < max(stored, default=dt.date.min)}
    bounds = [(first, last or dt.date.max) for first, last in wanted.ranges]
    apart = [later[0] - earlier[1] for earlier, later in pairwise(bounds)]
    assert all(gap > dt.timedelta(days=1) for gap in apart), "two ranges could be one"


def test_the_store_keeps_the_wanted_days(tmp_path: Path) -> None:
    path = tmp_path / "fx.db"
    at = dt.datetime(2024, 3, 10, 0, 10, tzinfo=dt.timezone.utc)
    with RateStore(path, now=lambda: at) as store:
        store.want(dates("2010-01-01...2010-12-31"))
        store.want(dates("2024-03-01...2024-03-09"))
        store.want(dates("2024-02-01...2024-02-29"))
    with RateHistory(path) as history:
        assert history.wanted().ranges == ranges("2010-01-01...2010-12-31, 2024-02-01...")


FETCHES = [
    # (first and last day, when it was requested); the ranges that follow
    ([], ""),
    ([("2010-01-01", "2010-12-31", "2024-03-10")], "2010-01-01...2010-12-31"),
    (
        [
            ("2024-01-02", "2024-01-02", "2024-03-10"),
            ("2024-01-01", "2024-01-01", "2024-03-11"),
            ("2024-01-03", "2024-01-03", "2024-03-12"),
            ("2024-01-07", "2024-01-09", "2024-03-12"),
            ("2024-01-08", "2024-01-08", "2024-03-12"),
        ],
        "2024-01-01...2024-01-03, 2024-01-07...2024-01-09",
    ),
    # Later runs of a schedule, with days between them on which the machine was off.
    (
        [
            ("2010-01-01", "2010-12-31", "2024-03-10"),
            ("2024-03-01", "2024-03-08", "2024-03-10"),
            ("2024-03-09", "2024-03-09", "2024-03-10"),
            ("2024-03-20", "2024-03-20", "2024-03-21"),
        ],
        "2010-01-01...2010-12-31, 2024-03-01...",
    ),
]


@pytest.mark.parametrize(("fetches", "wanted"), FETCHES)
def test_a_database_from_before_wants_what_was_fetched(
    tmp_path: Path, fetches: Sequence[tuple[str, str, str]], wanted: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "fx.db")) as connection:
        db = Database(connection)
        migrations.apply(db, stop_before="remember_wanted_days")
        connection.executemany(
            """
            INSERT INTO fetches (endpoint, start_date, end_date, base, symbols, asked_at, status)
            VALUES ('historical', ?, ?, 'EUR', '', ? || 'T00:10:00.000000+00:00', 'ok')
            """,
            fetches,
        )
        connection.execute(
            """
            INSERT INTO fetches (endpoint, base, symbols, asked_at, status)
            VALUES ('symbols', 'EUR', '', '2024-03-10T00:20:00.000000+00:00', 'ok')
            """
        )
        migrations.apply(db)
        assert wanted_days(connection).ranges == ranges(wanted)
