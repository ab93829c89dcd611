"""What is run as one: the rates of a range of days, the list of currencies, the checks of the table."""

import dagster as dg

from fx_pipeline.defs.assets import rates, symbols
from fx_pipeline.defs.checks import table_checks

rates_job = dg.define_asset_job(
    "rates_job",
    # Without its checks: the asset makes them in any case, and planned they are dear (see `check_run`).
    selection=dg.AssetSelection.assets(rates).without_checks(),
    description="Fetch and store the rates of a range of days, and check them.",
)

checks_job = dg.define_asset_job(
    "checks_job",
    selection=dg.AssetSelection.checks(*(spec.key for spec in table_checks)),
    description="Check what is stored as a whole. Asks Fixer nothing.",
)

symbols_job = dg.define_asset_job(
    "symbols_job",
    selection=dg.AssetSelection.assets(symbols),
    description="Fetch and store the names of the currencies.",
)
