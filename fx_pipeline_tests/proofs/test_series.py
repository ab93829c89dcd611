"""The whole history by series: as few calls as Fixer allows, and the rows that day by day brings."""

import datetime as dt
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import FIRST_DATE, date_range
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.proofs.content import broken
from fx_pipeline_tests.sandbox_server import running_sandbox


def days(path: Path, dates: list[dt.date]) -> list[tuple[object, ...]]:
    """All that is stored of these days, but for which fetch brought it."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            row
            for date in dates
            for table in ("date, base, timestamp, currencies FROM days", "date, currency, rate FROM rates")
            for row in connection.execute(
                f"SELECT {table} WHERE date = ? ORDER BY 1, 2",
                [date.isoformat()],
            )
        ]


@pytest.mark.slow
def test_all_days_since_1999_take_as_few_calls_as_there_are_years_and_are_those_of_each_day(
    folder: Path,
) -> None:
    yesterday = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=1)
    wanted = list(date_range(FIRST_DATE, yesterday))
    calls = -(-len(wanted) // 365)
    chosen = sorted({FIRST_DATE, yesterday, *random.Random(1999).sample(wanted, 150)})
    with running_sandbox() as sandbox, FixerClient(sandbox.url, "a-key") as client:
        for name, asked in (("series", plan_calls(wanted, timeseries=True)), ("days", plan_calls(chosen))):
            with RateStore(folder / name) as store, Ledger(store.path) as ledger:
                assert all(outcome.stored for outcome in ingest(asked, client, store, ledger))
        endpoints = sandbox.stats()["endpoints"]
    assert endpoints == {"timeseries": {"ok": calls}, "historical": {"ok": len(chosen)}}
    print(f"{len(wanted)} days by {calls} calls; {len(chosen)} of them compared")
    with closing(sqlite3.connect(folder / "series")) as connection:
        assert connection.execute("SELECT count(*) FROM days").fetchone() == (len(wanted),)
    assert list(broken(folder / "series")) == []
    assert days(folder / "series", chosen) == days(folder / "days", chosen)
