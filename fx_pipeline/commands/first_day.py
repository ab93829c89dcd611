"""The first day of an empty database, stored before Dagster is imported, which takes seconds."""

import datetime as dt
from contextlib import suppress

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.settings import Settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.ledger import Ledger, QuotaReached
from fx_pipeline.store.store import RateStore


def store_first_day(settings: Settings, date: dt.date, run_id: str) -> None:
    """Fetch one day from the sandbox and store it on behalf of a run that is created later.

    The run finds the day among those that it has fetched, reports it and judges it. If this fails, the run
    fetches it. With a key, that would be a second call.
    """
    with (
        suppress(FixerError, QuotaReached, StoreError),
        RateStore(settings.fx_database) as store,
        Ledger(
            settings.fx_database,
            limit=settings.fixer_monthly_quota,
            daily_calls=settings.daily_calls,
            run_id=run_id,
        ) as ledger,
        FixerClient(
            settings.provider_url,
            settings.provider_key,
            auth=settings.fixer_auth,
            base=settings.fx_base,
            symbols=settings.fx_symbols,
            retries=0,
        ) as client,
    ):
        for _ in ingest(plan_calls([date]), client, store, ledger):
            pass
