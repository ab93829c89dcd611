"""A database with every kind of row: of fetches by day and by series, revised, rejected, refused."""

import datetime as dt
from pathlib import Path

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import date_range
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.sandbox_server import running_sandbox

DATES = list(date_range(dt.date(2024, 2, 20), dt.date(2024, 3, 10)))


def store_every_kind(path: Path) -> None:
    """Fetch DATES three times from a sandbox that revises rates and sends unusable values and dates."""
    with running_sandbox(faults={"bad-value": 0.3, "wrong-date": 0.2, "revision": 0.6}, seed=4) as sandbox:
        for timeseries in (False, True, False):
            with (
                RateStore(path) as store,
                Ledger(path) as ledger,
                FixerClient(sandbox.url, "a-key", retries=0) as fixer,
            ):
                store.want(DATES)
                list(ingest(plan_calls(DATES, timeseries=timeseries), fixer, store, ledger))
                store.record([fixer.symbols()])
