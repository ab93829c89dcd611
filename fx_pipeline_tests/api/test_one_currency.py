"""A series of one currency has its own code for reading and writing. The result equals that of any series."""

import datetime as dt
import json
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from fx_pipeline.api.endpoints.bodies import OneCurrency, rates_csv, series_json
from fx_pipeline.api.reading.lanes import Effort
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import LONG
from fx_pipeline.rates import LARGEST_RATE, SMALLEST_RATE
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.migrations import migrations
from fx_pipeline_tests.api.metadata import QUERIES

DAYS = st.dictionaries(
    st.dates(dt.date(2023, 12, 25), dt.date(2024, 3, 5)).map(str),
    st.floats(SMALLEST_RATE, LARGEST_RATE) | st.integers(1, 10**17).map(float),
    max_size=60,
)
WHOLE = {str(dt.date(2023, 12, 25) + dt.timedelta(days=offset)): 1 + offset / 4 for offset in range(72)}


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    migrations.apply(Database(connection, execute_plugins=False))
    yield connection
    connection.close()


@pytest.mark.parametrize("left_out", [0, 1, 40, 71, None], ids=str)
@given(other=DAYS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
def test_computed_dates_match_the_rates(
    connection: sqlite3.Connection, left_out: int | None, other: dict[str, float]
) -> None:
    """The days cover the end of a year and a leap day. At most one is missing. There is another currency."""
    days = {date: rate for number, (date, rate) in enumerate(WHOLE.items()) if number != left_out}
    connection.execute("DELETE FROM rates")
    rows = [(date, code, rate) for code, of in (("USD", days), ("UYU", other)) for date, rate in of.items()]
    connection.executemany("INSERT INTO rates VALUES (?, ?, ?, 1)", rows)
    queries = Queries(connection, {"rate_history": QUERIES["rate_history"]["sql"]}, Effort(LONG))
    for code, stored in (("USD", days), ("UYU", other), ("USN", {})):
        for start, end in (("2023-12-31", "2024-03-01"), ("", "")):
            dates, rates = queries.history(code, start_date=start, end_date=end, as_of="")
            wanted = {date: stored[date] for date in sorted(stored) if start <= date <= (end or "9999")}
            assert list(zip(dates, rates, strict=True)) == list(wanted.items())


@given(rates=DAYS)
def test_is_written_like_any_series(rates: dict[str, float]) -> None:
    plain = {date: {"USD": rate} for date, rate in rates.items()}
    body = series_json(
        start="2023-12-25", end="2024-03-05", base="EUR", days=OneCurrency("USD", rates), as_of=None
    )
    assert body == series_json(start="2023-12-25", end="2024-03-05", base="EUR", days=plain, as_of=None)
    assert json.loads(body)["rates"] == plain
    assert rates_csv("EUR", OneCurrency("USD", rates).items()) == rates_csv("EUR", plain.items())
