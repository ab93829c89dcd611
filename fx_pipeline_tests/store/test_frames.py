"""RateHistory on a real file that RateStore wrote: the frames that the checks judge."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fx_pipeline.rates import DayRates, read_rates
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.frames import RateHistory
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of

ASKED_AT = dt.datetime(2024, 5, 18, 0, 10, tzinfo=dt.timezone.utc)


def date(number: int) -> dt.date:
    return dt.date(2024, 1, 1) + dt.timedelta(days=number - 1)


def store(path: Path, days: Mapping[int, Mapping[str, object]], run_id: str = "run") -> None:
    """Store the values of these days of January 2024 in one run, an answer each."""
    answers = []
    for number, raw in days.items():
        rates, rejected = read_rates(date(number), raw)
        day = DayRates(date=date(number), base="EUR", timestamp=0, rates=rates, rejected=rejected)
        answers.append(fetch_of(day, asked_at=ASKED_AT))
    with RateStore(path) as written:
        written.record(answers, run_id=run_id)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fx.db"


def test_a_frame_has_a_row_for_each_stored_day_and_a_column_for_each_currency_of_them(path: Path) -> None:
    store(path, {1: {"ROL": 3.0}, 5: {"USD": 1.1, "GBP": 0.8}, 2: {"USD": 1.2}, 9: {"JPY": 160.0}})
    with RateHistory(path) as history:
        frame = history.rates(date(2), date(8))
    expected = pd.DataFrame(
        {"GBP": [np.nan, 0.8], "USD": [1.2, 1.1]}, index=pd.DatetimeIndex(["2024-01-02", "2024-01-05"])
    )
    pd.testing.assert_frame_equal(frame, expected, check_index_type=False)


@pytest.mark.parametrize(
    ("first", "last", "learn", "reach", "rows"),
    [
        (30, 30, 3, 5, [27, 28, 29, 30]),
        (10, 11, 3, 2, [7, 8, 9, 10, 11, 12, 13]),
        (1, 2, 4, 0, [1, 2, 3, 4, 5, 6]),
        (3, 3, 4, 1, [1, 2, 3, 4, 5]),
        (2, 3, 100, 5, list(range(1, 31))),
        (29, 30, 0, 5, [29, 30]),
    ],
)
def test_rates_around_uses_later_days_if_earlier_ones_are_missing(
    path: Path, first: int, last: int, learn: int, reach: int, rows: list[int]
) -> None:
    store(path, {number: {"USD": 1.0 + number / 100} for number in range(1, 31)})
    with RateHistory(path) as history:
        frame = history.rates_around(date(first), date(last), learn=learn, reach=reach)
    assert [day.date() for day in frame.index] == [date(number) for number in rows]


def test_rates_around_counts_stored_days_across_gaps(path: Path) -> None:
    store(path, {number: {"USD": 1.0} for number in (1, 4, 8, 20)})
    with RateHistory(path) as history:
        frame = history.rates_around(date(20), date(20), learn=2, reach=5)
    assert [day.date() for day in frame.index] == [date(4), date(8), date(20)]


def test_an_empty_file_has_no_rates_no_span_and_no_gaps(path: Path) -> None:
    RateStore(path).close()
    with RateHistory(path) as history:
        assert history.rates_around(date(1), date(2), learn=9, reach=9).shape == (0, 0)
        assert history.currency("USD").empty
        assert history.span() is None
        assert history.gaps() == []
        assert list(history.revisions(["run"]).columns) == ["date", "currency", "old", "new"]
        assert list(history.rejects(["run"]).columns) == ["date", "currency", "value", "reason"]


def test_reads_the_whole_history_of_a_currency(path: Path) -> None:
    store(path, {3: {"USD": 1.3}, 1: {"USD": 1.1, "GBP": 1.0}, 2: {"GBP": 1.0}})
    with RateHistory(path) as history:
        series = history.currency("USD")
    assert {str(day.date()): rate for day, rate in series.items() if isinstance(day, pd.Timestamp)} == {
        "2024-01-01": 1.1,
        "2024-01-03": 1.3,
    }


def test_gaps_are_the_ranges_of_missing_days(path: Path) -> None:
    store(path, {number: {"USD": 1.0} for number in (3, 4, 7, 9, 20)})
    with RateStore(path) as rates:
        rates.want([date(number) for number in range(3, 15)])
    with RateHistory(path) as history:
        assert history.span() == (date(3), date(20))
        assert history.gaps() == [(date(5), date(6)), (date(8), date(8)), (date(10), date(14))]


def test_returns_the_revisions_of_a_run_even_if_replaced_since(path: Path) -> None:
    store(path, {1: {"USD": 1.0, "GBP": 0.5}, 2: {"USD": 2.0}}, "first")
    store(path, {1: {"USD": 1.5, "GBP": 0.5}, 2: {"USD": 2.5}}, "second")
    store(path, {1: {"USD": 1.7}}, "third")
    with RateHistory(path) as history:
        changes = {
            run: history.revisions([run]).values.tolist() for run in ("first", "second", "third", "none")
        }
    assert changes == {
        "first": [],
        "second": [["2024-01-01", "USD", 1.0, 1.5], ["2024-01-02", "USD", 2.0, 2.5]],
        "third": [["2024-01-01", "USD", 1.5, 1.7]],
        "none": [],
    }


def test_returns_the_rejected_values_of_a_run(path: Path) -> None:
    store(path, {1: {"USD": -1, "GBP": 0.5}, 2: {"USD": None}}, "first")
    with RateHistory(path) as history:
        assert history.rejects(["first"]).values.tolist() == [
            ["2024-01-01", "USD", "-1", "not above zero"],
            ["2024-01-02", "USD", "null", "not a number"],
        ]
        assert history.rejects(["second"]).empty


def test_reports_a_rejected_value_once_until_a_rate_arrives(path: Path) -> None:
    store(path, {1: {"USD": -1}, 2: {"USD": 0, "GBP": 1.0}, 3: {"USD": -3, "GBP": 1.0}}, "first")
    store(path, {2: {"USD": 1.1}, 3: {"USD": -4}}, "second")
    with RateHistory(path) as history:
        assert history.rejects_without_value(date(2)).values.tolist() == [
            ["2024-01-03", "USD", "-4", "not above zero"]
        ]


def test_reads_everything_from_one_commit(path: Path) -> None:
    store(path, {1: {"USD": 1.0}})
    with RateHistory(path) as history:
        assert history.span() == (date(1), date(1))
        store(path, {2: {"USD": 1.0}})
        assert history.span() == (date(1), date(1))
    with RateHistory(path) as history:
        assert history.span() == (date(1), date(2))


def test_cannot_write(path: Path) -> None:
    store(path, {1: {"USD": 1.0}})
    with RateHistory(path) as history, pytest.raises(StoreError, match=r"fx\.db: cannot be read: .*readonly"):
        history._rows("DELETE FROM rates")


def test_names_a_missing_file_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"fx\.db: cannot be read: .*Run `fx-pipeline ingest` once\."):
        RateHistory(tmp_path / "fx.db")


def test_names_a_file_that_is_not_a_database(path: Path) -> None:
    path.write_text("no database " * 100)
    with RateHistory(path) as history, pytest.raises(StoreError, match="file is not a database"):
        history.span()
