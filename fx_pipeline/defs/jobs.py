"""What is run as one: the rates of a range of days, and the list of currencies."""

import dagster as dg

from fx_pipeline.defs.assets import rates, symbols

rates_job = dg.define_asset_job(
    "rates_job",
    selection=dg.AssetSelection.assets(rates),
    description="Fetch and store the rates of a range of days.",
)

symbols_job = dg.define_asset_job(
    "symbols_job",
    selection=dg.AssetSelection.assets(symbols),
    description="Fetch and store the names of the currencies.",
)
