"""The whole history by time series: as few calls as Fixer allows, and the same rows as day by day."""

import random
from pathlib import Path

import pytest

from fx_pipeline.clock import yesterday
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import FIRST_DATE, date_range
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.stored import assert_consistent, rows

MOST_DAYS = 365
"""Days in one call, at most."""


def content(path: Path, date: str) -> list[tuple[object, ...]]:
    """Return what is stored for a day, except the fetch that brought it."""
    return [
        *rows(path, "SELECT base, timestamp, currencies FROM days WHERE date = ?", date),
        *rows(path, "SELECT currency, rate FROM rates WHERE date = ? ORDER BY currency", date),
    ]


@pytest.mark.slow
def test_series_since_1999_take_one_call_per_year_and_store_the_same_as_single_days(folder: Path) -> None:
    newest = yesterday()
    wanted = list(date_range(FIRST_DATE, newest))
    chosen = sorted({FIRST_DATE, newest, *random.Random(1999).sample(wanted, 150)})
    with running_sandbox() as sandbox, FixerClient(sandbox.url, "a-key") as client:
        for name, calls in (("series", plan_calls(wanted, timeseries=True)), ("days", plan_calls(chosen))):
            with RateStore(folder / name) as store, Ledger(store.path) as ledger:
                assert all(outcome.stored for outcome in ingest(calls, client, store, ledger))
        endpoints = sandbox.stats()["endpoints"]
    calls_needed = -(-len(wanted) // MOST_DAYS)
    assert endpoints == {"timeseries": {"ok": calls_needed}, "historical": {"ok": len(chosen)}}
    assert rows(folder / "series", "SELECT count(*) FROM days") == [(len(wanted),)]
    assert_consistent(folder / "series")
    for date in map(str, chosen):
        assert content(folder / "series", date) == content(folder / "days", date)
