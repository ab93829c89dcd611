"""What a run, or the backfill that it belongs to, needs from Fixer, and whether the quota allows it."""

import datetime as dt
from collections.abc import Collection

import dagster as dg

from fx_pipeline.clock import yesterday
from fx_pipeline.dagster_internals.runs import backfill_partitions
from fx_pipeline.dagster_internals.tags import BACKFILL_TAG, FORECAST_TAG, PARTIAL_TAG, SCHEDULE_TAG
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.continued import continued_backfills
from fx_pipeline.defs.resources import FixerResource
from fx_pipeline.defs.run_config import RatesConfig
from fx_pipeline.ingestion.forecast import WORTH_SHOWING, Forecast
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import parse_date
from fx_pipeline.store.ledger import Ledger, QuotaReached
from fx_pipeline.store.store import RateStore

REMEDY = f"to fetch these, launch it again with the tag {PARTIAL_TAG}=true"


def days_that_fit(
    context: dg.AssetExecutionContext,
    config: RatesConfig,
    to_fetch: Collection[dt.date],
    fixer: FixerResource,
    store: RateStore,
    ledger: Ledger,
) -> frozenset[dt.date] | None:
    """Log what is needed, and return the days that the quota allows; None: all that the run has `to_fetch`.

    The first run of a backfill decides for all its runs, and is tagged with what they need. Later runs find
    the quota as the earlier ones have left it. A scheduled run makes the calls that are allowed.

    Raise QuotaReached, before any call, if the days do not fit and the run is not tagged as partial.
    """
    run, instance = context.run, context.instance
    backfill = run.tags.get(BACKFILL_TAG)
    skipped, days = 0, set(to_fetch)
    decided = context.retry_number > 0 or SCHEDULE_TAG in run.tags
    if backfill is not None:
        runs = instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: backfill}))
        decided = decided or any(FORECAST_TAG in one.tags for one in runs)
        wanted = _wanted(backfill_partitions(instance, backfill, RATES), config) | days
        fetched_by = [*(one.run_id for one in runs), *continued_backfills(instance, run)]
        days |= wanted - _skipped(wanted, config, store, fetched_by)
        skipped = len(wanted - days)
    endpoint = "timeseries" if fixer.timeseries else "historical"
    calls = plan_calls(days, timeseries=fixer.timeseries)
    forecast = Forecast(calls, skipped, ledger.quota(), ledger.pace(endpoint))
    if backfill or forecast.days >= WORTH_SHOWING:
        context.log.info(f"{'The backfill' if backfill else 'The run'} has {forecast}")
    partial = run.tags.get(PARTIAL_TAG) == "true"
    if not forecast.fits and len(days) > 1 and not decided and not partial:
        raise QuotaReached(forecast.refusal(REMEDY))
    if backfill is not None and not decided:
        instance.add_run_tags(run.run_id, {FORECAST_TAG: forecast.summary()})
    return forecast.fitting if partial and not forecast.fits else None


def _wanted(keys: Collection[str], config: RatesConfig) -> set[dt.date]:
    """Return the days of a backfill that its runs consider."""
    dates = {date for date in map(parse_date, keys) if date <= yesterday()}
    return dates if config.only is None else dates & config.only


def _skipped(
    wanted: Collection[dt.date], config: RatesConfig, store: RateStore, fetched_by: list[str]
) -> set[dt.date]:
    """Return the days that the runs of a backfill do not fetch: stored by one of them, or before."""
    if not wanted:
        return set()
    span = min(wanted), max(wanted)
    skipped = {day.date for day in store.stored_days(*span, fetched_by=fetched_by)}
    if config.skip_stored:
        skipped |= {date for date in store.stored_dates(*span) if date < (config.refetch_from or dt.date.max)}
    return skipped
