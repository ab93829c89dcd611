"""The assets: daily rates, currency names, and the external assets before and after them."""

from collections.abc import Iterator
from typing import TypedDict

import dagster as dg

from fx_pipeline.dagster_names import asset_path
from fx_pipeline.defs.checks import RATES, check_last_run, check_table, run_checks, table_checks
from fx_pipeline.defs.failures import ATTEMPTS, Cancelled, run_failure
from fx_pipeline.defs.heartbeats import reported
from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.rates_run import Event, RatesRun
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.run_config import FIELDS, RatesConfig
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.ingestion.symbols import ingest_names
from fx_pipeline.rates import MAX_TIMESERIES_DAYS
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.ledger import QuotaReached

SYMBOLS = dg.AssetKey(asset_path(load_settings(), "symbols"))

fixer_api = dg.AssetSpec(
    dg.AssetKey(asset_path(load_settings(), "fixer_api")),
    description="Fixer (fixer.io), or the sandbox in its place: each currency's rate for each day.",
    kinds={"api"},
    group_name="provider",
)

rates_api = dg.AssetSpec(
    dg.AssetKey(asset_path(load_settings(), "rates_api")),
    deps=[RATES, SYMBOLS],
    description="The API that clients use: `/rates/<date>/`, served by Datasette from the same database.",
    kinds={"api", "json"},
    group_name="api",
)

RATES_DESCRIPTION = """Each day's rates as Fixer published them. `revisions` keeps every replaced value.

Each date of a run succeeds or fails independently. Dates that failed are not materialized.

To fetch only those, re-execute the failed run: the new run skips the dates that the failed one has stored.
Or select "All time" and the status "Failed" in the dialog that materializes the asset. The status "Missing"
selects every date that was never fetched.

Materializing fetches stored dates again. To skip them, launch the job `missing_job`. Before a backfill,
`fx-pipeline ingest --from DATE --forecast` shows what it needs: calls, share of the quota, minutes. If the
month's quota is too small for all its dates, its runs fail before the first call. To fetch the newest dates
that fit, launch it with the tag `fx-pipeline/partial`: `true`.
"""


class _Common(TypedDict):
    kinds: set[str]
    group_name: str
    owners: list[str]
    tags: dict[str, str]


_OURS = _Common(
    kinds={"python", "sqlite"},
    group_name="rates",
    owners=["team:rates"],
    tags={"domain": "exchange-rates", "provider": "fixer"},
)


@dg.multi_asset(
    name="rates",
    specs=[
        dg.AssetSpec(RATES, deps=[fixer_api], description=RATES_DESCRIPTION, skippable=True, **_OURS),
    ],
    check_specs=[*run_checks, *table_checks],
    config_schema=FIELDS,
    # A run can be planned without its checks (see `check_run`), and the checks can run without dates.
    can_subset=True,
    partitions_def=days,
    backfill_policy=dg.BackfillPolicy.multi_run(
        # With time series one call fetches a year, so a run of a year needs one call.
        max_partitions_per_run=MAX_TIMESERIES_DAYS if load_settings().fixer_timeseries else 100
    ),
    retry_policy=ATTEMPTS,  # of unexpected errors; the run itself requests another attempt after a failure
)
def rates(
    context: dg.AssetExecutionContext,
    fixer: dg.ResourceParam[FixerResource],
    database: dg.ResourceParam[DatabaseResource],
) -> Iterator[Event]:
    """Fetch, store and judge the dates of a run. Without the asset selected, only execute the checks."""
    try:
        if context.selected_asset_keys:
            run = RatesRun(context, RatesConfig.of(context), fixer, database)
            yield from reported(context, fixer.closed_at_end(run.events()))
        else:
            checks = context.selected_asset_check_keys
            yield from check_table(checks, fixer, database, within_backfill=False)
            yield from check_last_run(checks, fixer, database)
    except StoreError as error:
        raise run_failure(error=error) from None
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        raise Cancelled from None


@dg.asset(
    key=SYMBOLS, deps=[fixer_api], description="The names of the currencies, as Fixer lists them.", **_OURS
)
def symbols(
    context: dg.AssetExecutionContext,
    fixer: dg.ResourceParam[FixerResource],
    database: dg.ResourceParam[DatabaseResource],
) -> dg.MaterializeResult[None]:
    """Fetch and store the names of the currencies."""
    try:
        with (
            database.store() as store,
            database.ledger(context.run.run_id) as ledger,
            fixer.client() as client,
        ):
            store.check_source(fixer.base, fixer.known_provider())
            count = len(ingest_names(client, store, ledger))
    except (FixerError, QuotaReached, StoreError) as error:
        raise run_failure(error=error) from None
    return dg.MaterializeResult(metadata={"currencies": count})
