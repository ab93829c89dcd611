"""The calls of the month on the Coverage page, compared with the ledger's own count."""

import datetime as dt
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fx_pipeline.clock import instant_text
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.metadata import QUERIES

NOW = dt.datetime(2026, 3, 20, 12, tzinfo=dt.timezone.utc)
MONTH = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
LIMIT = 100


class Fetch(NamedTuple):
    """A row of `fetches`, with its instants in minutes since the start of the month."""

    asked: int
    fetched: int | None = None
    calls: int = 1
    remaining: int | None = None
    status: str = "ok"


minutes = st.integers(-5, 40)
some_fetches = st.lists(
    st.builds(
        Fetch,
        asked=minutes,
        fetched=st.none() | minutes,
        calls=st.integers(0, 5),
        remaining=st.none() | st.integers(-1, LIMIT + 1),
        status=st.sampled_from(["ok", "asked", "abandoned"]),
    ),
    max_size=8,
    unique_by=(lambda fetch: fetch.asked, lambda fetch: fetch.fetched or fetch.asked + 0.5),
)

RETRIED = [
    Fetch(asked=1, fetched=9, calls=1, remaining=95),
    Fetch(asked=2, fetched=3, calls=4, remaining=96),
    Fetch(asked=4, fetched=5, calls=1, remaining=94),
]
"""The first response arrives after the others, because its request was retried for long."""


@settings(max_examples=150, deadline=None)
@given(fetches=some_fetches)
@example(fetches=RETRIED)
@example(fetches=[Fetch(asked=1, fetched=2, calls=3, remaining=LIMIT), Fetch(asked=3, status="asked")])
def test_the_page_and_the_ledger_count_the_same_calls(fetches: Sequence[Fetch]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fx.db"
        RateStore(path).close()
        with closing(sqlite3.connect(path)) as connection:
            with connection:
                connection.executemany(
                    "INSERT INTO fetches (endpoint, base, symbols, asked_at, fetched_at, calls,"
                    " quota_limit, quota_remaining, status) VALUES ('latest', 'EUR', '', ?, ?, ?, ?, ?, ?)",
                    [
                        (
                            instant(fetch.asked),
                            None if fetch.fetched is None else instant(fetch.fetched),
                            fetch.calls,
                            None if fetch.remaining is None else LIMIT,
                            fetch.remaining,
                            fetch.status,
                        )
                        for fetch in fetches
                    ],
                )
            sql, month = QUERIES["calls_of_month"]["sql"], f"{MONTH:%Y-%m-%d}"
            ((on_page, _),) = connection.execute(sql, {"month_start": month})
        with Ledger(path, limit=LIMIT, now=lambda: NOW) as ledger:
            quota = ledger.quota()
    assert quota is not None
    assert on_page == quota.used


def instant(minute: int) -> str:
    return instant_text(MONTH + dt.timedelta(minutes=minute))
