"""RateStore on a real file: what is written, what is kept of what it replaces, and what cannot be written."""

import datetime as dt
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from fx_pipeline.rates import DayRates, RejectedRate, read_rates
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.coverage import Coverage
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.migrations import migrations
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of

DAY = dt.date(2024, 5, 17)
ASKED_AT = dt.datetime(2024, 5, 18, 0, 10, tzinfo=dt.timezone.utc)


def day(date: dt.date, raw: Mapping[str, object], base: str = "EUR") -> DayRates:
    rates, rejected = read_rates(date, raw)
    return DayRates(date=date, base=base, timestamp=1715990399, rates=rates, rejected=rejected)


answer = partial(fetch_of, asked_at=ASKED_AT)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fx.db"


@pytest.fixture
def store(path: Path) -> Iterator[RateStore]:
    with RateStore(path) as store:
        yield store


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_stores_a_day_with_its_fetch(store: RateStore, path: Path) -> None:
    body = b'{"success": true}'
    results = store.record([answer(day(DAY, {"EUR": 1, "USD": 1.0844}), body=body)], run_id="run-1")
    assert results == [StoredDay(date=DAY, fetch_id=1, inserted=2, updated=0, unchanged=0, rejected=0)]
    assert rows(path, "SELECT * FROM rates") == [
        ("2024-05-17", "EUR", 1.0, 1),
        ("2024-05-17", "USD", 1.0844, 1),
    ]
    assert rows(path, "SELECT * FROM days") == [("2024-05-17", "EUR", 1715990399, 2, 1)]
    assert rows(path, "SELECT * FROM symbols") == [
        ("EUR", None, "2024-05-17", "2024-05-17"),
        ("USD", None, "2024-05-17", "2024-05-17"),
    ]
    [(kept, *fetch)] = rows(
        path,
        "SELECT body, endpoint, start_date, end_date, base, symbols, asked_at, run_id, calls, status,"
        " inserted, updated, unchanged, rejected FROM fetches",
    )
    assert isinstance(kept, bytes)
    assert zlib.decompress(kept) == body
    assert fetch == [
        *(
            "historical",
            "2024-05-17",
            "2024-05-17",
            "EUR",
            "",
            "2024-05-18T00:10:00.000000Z",
            "run-1",
            1,
            "ok",
        ),
        *(2, 0, 0, 0),
    ]


def test_a_changed_value_moves_the_old_one_to_revisions(store: RateStore, path: Path) -> None:
    store.record([answer(day(DAY, {"GBP": 0.85, "USD": 1.08}))])
    [result] = store.record([answer(day(DAY, {"GBP": 0.85, "USD": 1.09, "XAU": 0.00045}))])
    assert result == StoredDay(
        date=DAY,
        fetch_id=2,
        inserted=1,
        updated=1,
        unchanged=1,
        rejected=0,
    )
    assert rows(path, "SELECT currency, rate, fetch_id FROM rates") == [
        ("GBP", 0.85, 1),
        ("USD", 1.09, 2),
        ("XAU", 0.00045, 2),
    ]
    assert rows(path, "SELECT * FROM revisions") == [("2024-05-17", "USD", 1.08, 1, 2)]


def test_storing_the_same_day_again_changes_only_its_fetch(store: RateStore, path: Path) -> None:
    store.record([answer(day(DAY, {"GBP": 0.85, "USD": 1.08}))])
    before = rows(path, "SELECT * FROM rates")
    [result] = store.record([answer(day(DAY, {"USD": 1.08, "GBP": 0.85}))])
    assert (result.inserted, result.updated, result.unchanged) == (0, 0, 2)
    assert rows(path, "SELECT * FROM rates") == before
    assert rows(path, "SELECT * FROM revisions") == []
    assert rows(path, "SELECT fetch_id FROM days") == [(2,)]


def test_a_currency_missing_from_a_newer_response_keeps_its_value(store: RateStore, path: Path) -> None:
    store.record([answer(day(DAY, {"GBP": 0.85, "USD": 1.08}))])
    store.record([answer(day(DAY, {"USD": 1.08}))])
    assert rows(path, "SELECT currency, rate FROM rates") == [("GBP", 0.85), ("USD", 1.08)]
    assert rows(path, "SELECT currencies FROM days") == [(2,)]


def test_compares_a_day_that_comes_twice_in_one_batch(store: RateStore, path: Path) -> None:
    results = store.record([answer(day(DAY, {"USD": 1.08})), answer(day(DAY, {"USD": 1.09}))])
    assert [(result.inserted, result.updated) for result in results] == [(1, 0), (0, 1)]
    assert rows(path, "SELECT rate, fetch_id, superseded_by FROM revisions") == [(1.08, 1, 2)]


@pytest.mark.parametrize(
    ("code", "value", "shown", "reason"),
    [
        ("USD", float("nan"), "nan", "not finite"),
        ("USD", float("inf"), "inf", "not finite"),
        ("USD", 10**400, str(10**400)[:200], "not finite"),
        ("USD", -1.08, "-1.08", "not above zero"),
        ("USD", 0, "0", "not above zero"),
        ("USD", "1.08", "'1.08'", "not a number"),
        ("USD", None, "null", "not a number"),
        ("USD", True, "True", "not a number"),
        ("USD", [1.08], "[1.08]", "not a number"),
        ("usd1", 1.08, "1.08", "not a currency code of three capital letters"),
        ("usd", 1.08, "1.08", "not a currency code of three capital letters"),
        ("ＵＳＤ", 1.08, "1.08", "not a currency code of three capital letters"),
    ],
)
def test_rejects_a_bad_value_and_stores_the_rest_of_the_day(
    store: RateStore, path: Path, code: str, value: object, shown: str, reason: str
) -> None:
    [result] = store.record([answer(day(DAY, {"GBP": 0.85, code: value}))])
    assert (result.inserted, result.rejected) == (1, 1)
    assert rows(path, "SELECT currency, rate FROM rates") == [("GBP", 0.85)]
    assert rows(path, "SELECT * FROM rejected_rates") == [(1, "2024-05-17", code, shown, reason)]
    assert rows(path, "SELECT rejected FROM fetches") == [(1,)]


def test_stores_only_rejected_values_of_a_day_without_a_valid_rate(store: RateStore, path: Path) -> None:
    assert store.record([answer(day(DAY, {"USD": None}))]) == []
    assert rows(path, "SELECT count(*) FROM days") == [(0,)]
    assert rows(path, "SELECT currency, value FROM rejected_rates") == [("USD", "null")]


def test_names_come_from_symbols_and_dates_from_days(store: RateStore, path: Path) -> None:
    later = DAY + dt.timedelta(days=3)
    store.record([answer(day(DAY, {"USD": 1.08}))])
    store.record([answer(names={"USD": "United States Dollar", "XAU": "Gold (troy ounce)"})])
    store.record([answer(day(later, {"USD": 1.09}), day(DAY - dt.timedelta(days=9), {"USD": 1.07}))])
    assert rows(path, "SELECT * FROM symbols") == [
        ("USD", "United States Dollar", "2024-05-08", "2024-05-20"),
        ("XAU", "Gold (troy ounce)", None, None),
    ]
    assert store.has_names()


def test_refuses_another_base_and_writes_nothing(store: RateStore, path: Path) -> None:
    store.record([answer(day(DAY, {"USD": 1.08}))])
    with pytest.raises(StoreError, match=r"holds rates with base EUR, not USD: set FX_BASE"):
        store.record([answer(day(DAY + dt.timedelta(days=1), {"EUR": 0.92}, base="USD"))])
    assert rows(path, "SELECT count(*) FROM fetches") == [(1,)]


def test_stores_a_whole_batch_or_nothing(store: RateStore, path: Path) -> None:
    with pytest.raises(StoreError):
        store.record([answer(day(DAY, {"USD": 1.08})), answer(day(DAY, {"EUR": 0.92}, base="USD"))])
    for query in (
        "SELECT * FROM fetches",
        "SELECT * FROM rates",
        "SELECT * FROM days",
        "SELECT * FROM symbols",
    ):
        assert rows(path, query) == []


def test_coverage_has_the_counts_and_the_gaps(store: RateStore) -> None:
    assert store.coverage() == Coverage(
        first=None,
        last=None,
        days=0,
        days_by_year={},
        rates=0,
        revisions=0,
        rejected=0,
        fetches=0,
        calls=0,
        gaps=(),
    )
    store.want([DAY + dt.timedelta(days=offset) for offset in range(7)])
    for offset in (0, 1, 4, 6):
        store.record([answer(day(DAY + dt.timedelta(days=offset), {"USD": 1.08, "EUR": 1, "GBP": None}))])
    assert store.coverage() == Coverage(
        first=DAY,
        last=dt.date(2024, 5, 23),
        days=4,
        days_by_year={2024: 4},
        rates=8,
        revisions=0,
        rejected=4,
        fetches=4,
        calls=4,
        gaps=((dt.date(2024, 5, 19), dt.date(2024, 5, 20)), (dt.date(2024, 5, 22), dt.date(2024, 5, 22))),
    )
    assert store.stored_dates(DAY, dt.date(2024, 5, 21)) == {DAY, dt.date(2024, 5, 18), dt.date(2024, 5, 21)}


def test_refuses_a_file_that_is_not_a_database(path: Path) -> None:
    path.write_bytes(b"this is no database, however long it is " * 100)
    with pytest.raises(StoreError, match=r"not a SQLite database. Set FX_DATABASE to another file"):
        RateStore(path)


def test_refuses_a_foreign_database_and_leaves_it_unchanged(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rates (when_ TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"not one of fx-pipeline: set FX_DATABASE to another file"):
        RateStore(path)
    assert path.read_bytes() == before


def test_names_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file in place of the folder")
    with pytest.raises(StoreError, match=r"fx\.db: "):
        RateStore(tmp_path / "data" / "fx.db")


def test_opening_again_changes_nothing(path: Path) -> None:
    RateStore(path).close()
    before = rows(path, "SELECT sql FROM sqlite_master"), rows(path, "SELECT * FROM _sqlite_migrations")
    RateStore(path).close()
    assert (
        rows(path, "SELECT sql FROM sqlite_master"),
        rows(path, "SELECT * FROM _sqlite_migrations"),
    ) == before


def test_two_stores_write_to_one_file_in_turn(path: Path) -> None:
    with RateStore(path) as one, RateStore(path) as other:
        one.record([answer(day(DAY, {"USD": 1.08}))])
        other.record([answer(day(DAY, {"USD": 1.09}))])
        [result] = one.record([answer(day(DAY, {"USD": 1.09}))])
    assert result.unchanged == 1


values = st.floats(min_value=1e-9, max_value=1e9, allow_nan=False).map(lambda value: float(f"{value:.14e}"))
writes = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.dictionaries(
                st.sampled_from(["EUR", "USD", "GBP", "XAU", "bad"]),
                st.one_of(values, st.sampled_from([0, -1.5, None, "1.5", 2])),
                max_size=4,
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=writes)
def test_random_writes_match_a_dictionary_of_all_writes(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, dict[str, object]]]]
) -> None:
    path = tmp_path_factory.mktemp("model") / "fx.db"
    current: dict[tuple[str, str], tuple[float, int]] = {}
    replaced: list[tuple[str, str, float, int, int]] = []
    fetch_id = 0
    with RateStore(path) as store:
        for batch in batches:
            days = [day(DAY + dt.timedelta(days=offset), raw) for offset, raw in batch]
            store.record([answer(one) for one in days])
            for one in days:
                fetch_id += 1
                for code, rate in one.rates.items():
                    key = (one.date.isoformat(), code)
                    if key in current and current[key][0] != rate:
                        replaced.append((*key, *current[key], fetch_id))
                    if key not in current or current[key][0] != rate:
                        current[key] = (rate, fetch_id)
    assert rows(path, "SELECT date, currency, rate, fetch_id FROM rates ORDER BY date, currency") == [
        (*key, *value) for key, value in sorted(current.items())
    ]
    assert rows(path, "SELECT * FROM revisions ORDER BY date, currency, fetch_id") == sorted(
        replaced, key=lambda row: (row[0], row[1], row[3])
    )
    held = {date: sum(1 for other, _ in current if other == date) for date, _ in current}
    assert rows(path, "SELECT date, currencies FROM days") == sorted(held.items())
    assert rows(path, "SELECT code, first_date, last_date FROM symbols") == spans(current)
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def spans(keys: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    dates: dict[str, list[str]] = {}
    for date, code in keys:
        dates.setdefault(code, []).append(date)
    return sorted((code, min(seen), max(seen)) for code, seen in dates.items())


def test_shortens_a_long_rejected_value(store: RateStore, path: Path) -> None:
    long = DayRates(
        date=DAY,
        base="EUR",
        timestamp=0,
        rates={"USD": 1.0},
        rejected=(RejectedRate(DAY, "x" * 999, "y" * 999, "r"),),
    )
    store.record([answer(long)])
    assert rows(path, "SELECT length(currency), length(value) FROM rejected_rates") == [(200, 200)]


def test_migrates_a_file_of_the_first_schema_with_all_its_rates(tmp_path: Path) -> None:
    path = tmp_path / "fx.db"
    first = Database(path)
    migrations.apply(first, stop_before="narrow_history_index")
    first.execute("INSERT INTO rates VALUES ('2024-01-02', 'USD', 1.1, 1)")
    first.conn.commit()
    first.close()
    RateStore(path).close()
    assert rows(path, "SELECT * FROM rates") == [("2024-01-02", "USD", 1.1, 1)]
    assert rows(path, "SELECT name FROM pragma_index_info('rates_by_currency')") == [
        ("currency",),
        ("date",),
        ("rate",),
    ]
