"""The jobs: fetch rates, fetch the currency names, check the table and the file, delete old history."""

import dagster as dg

from fx_pipeline.dagster_internals.tags import STORED_TAG
from fx_pipeline.dagster_names import prefixed
from fx_pipeline.defs.assets import rates, symbols
from fx_pipeline.defs.checks import table_checks
from fx_pipeline.defs.database_checks import drill_age, integrity, restorable
from fx_pipeline.defs.history import prune_history
from fx_pipeline.defs.run_config import REFETCH, SKIP
from fx_pipeline.settings import load_settings

rates_job = dg.define_asset_job(
    prefixed(load_settings(), "rates_job"),
    # Without its checks: the asset reports them itself, and planning them is expensive (see `check_run`).
    selection=dg.AssetSelection.assets(rates).without_checks(),
    description="Fetch, store and check the rates of a range of days.",
)

missing_job = dg.define_asset_job(
    prefixed(load_settings(), "missing_job"),
    selection=dg.AssetSelection.assets(rates).without_checks(),
    tags={STORED_TAG: SKIP},
    description="Fetch the selected days that are not stored, and skip the others.",
)

refetch_job = dg.define_asset_job(
    prefixed(load_settings(), "refetch_job"),
    selection=dg.AssetSelection.assets(rates).without_checks(),
    tags={STORED_TAG: REFETCH},
    description="Fetch all selected days, also those that are stored. Fixer may have revised them.",
)

RATES_JOBS = {rates_job.name, missing_job.name, refetch_job.name}
"""The jobs that fetch days."""

checks_job = dg.define_asset_job(
    prefixed(load_settings(), "checks_job"),
    selection=dg.AssetSelection.checks(*(spec.key for spec in table_checks), drill_age),
    description="Check all stored rates, and the age of the last restore drill. Makes no calls to Fixer.",
)

database_job = dg.define_asset_job(
    prefixed(load_settings(), "database_job"),
    selection=dg.AssetSelection.checks(integrity, restorable),
    description="Check the database file, and restore its replica or backup. Makes no calls to Fixer.",
)


@dg.job(
    name=prefixed(load_settings(), "history_job"),
    description="Delete what Dagster has stored of our runs that ended FX_HISTORY_DAYS ago. The latest "
    "materialization of each day stays.",
)
def history_job() -> None:
    """Run its only op."""
    prune_history()


symbols_job = dg.define_asset_job(
    prefixed(load_settings(), "symbols_job"),
    selection=dg.AssetSelection.assets(symbols),
    description="Fetch and store the names of the currencies.",
)
