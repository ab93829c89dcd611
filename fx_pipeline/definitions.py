"""Everything Dagster loads, on one page: assets, checks, jobs, schedules, resources."""

import warnings

import dagster as dg

# `backfill_policy` is beta in Dagster, which warns of it at each load.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from fx_pipeline.dagster_internals.logs import log_as_configured  # noqa: E402
from fx_pipeline.defs.assets import fixer_api, rates, rates_api, symbols  # noqa: E402
from fx_pipeline.defs.database_checks import database_file, drill_age, integrity, restorable  # noqa: E402
from fx_pipeline.defs.executor import one_process  # noqa: E402
from fx_pipeline.defs.jobs import (  # noqa: E402
    checks_job,
    database_job,
    history_job,
    missing_job,
    rates_job,
    refetch_job,
    symbols_job,
)
from fx_pipeline.defs.resources import DatabaseResource, FixerResource, without_config  # noqa: E402
from fx_pipeline.defs.schedules import (  # noqa: E402
    daily_checks,
    daily_rates,
    monthly_symbols,
    nightly_database,
    nightly_history,
)
from fx_pipeline.logs import configure_logging  # noqa: E402
from fx_pipeline.settings import load_settings  # noqa: E402

_settings = load_settings()
configure_logging(_settings)
log_as_configured()

defs = dg.Definitions(
    assets=[fixer_api, rates, symbols, database_file, rates_api],
    asset_checks=[integrity, restorable, drill_age],
    jobs=[rates_job, missing_job, refetch_job, symbols_job, checks_job, database_job, history_job],
    schedules=[daily_rates, daily_checks, nightly_database, nightly_history, monthly_symbols],
    resources={
        "fixer": without_config(
            FixerResource(
                base_url=_settings.provider_url,
                base=_settings.fx_base,
                symbols=_settings.fx_symbols,
                concurrency=_settings.fixer_concurrency,
                timeseries=_settings.fixer_timeseries,
            )
        ),
        "database": without_config(DatabaseResource(path=str(_settings.fx_database.absolute()))),
        # Unused. Dagster's default would let the run config choose a folder for files.
        "io_manager": dg.mem_io_manager,
    },
    executor=one_process,
)
