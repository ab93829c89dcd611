"""Which runs are ours: the instance may have other code locations."""

import dagster as dg

from fx_pipeline.dagster_internals.history import location_of
from fx_pipeline.dagster_names import LOCATION, asset_path, prefixed
from fx_pipeline.defs.assets import SYMBOLS
from fx_pipeline.defs.checks import RATES
from fx_pipeline.settings import load_settings

DATABASE = dg.AssetKey(asset_path(load_settings(), "database"))

JOB_NAMES = ("rates", "missing", "refetch", "symbols", "checks", "database", "history")
"""Our jobs, without FX_ASSET_PREFIX and `_job`."""

JOBS = {prefixed(load_settings(), f"{name}_job") for name in JOB_NAMES}

ASSETS = {RATES, SYMBOLS, DATABASE}


def _chosen(run: dg.DagsterRun) -> set[dg.AssetKey]:
    checks = run.asset_check_selection or ()
    return {*(run.asset_selection or ()), *(check.asset_key for check in checks)}


def is_ours(run: dg.DagsterRun) -> bool:
    """Return whether a run is about our assets."""
    # A run from the UI has one of Dagster's own jobs.
    return run.job_name in JOBS or not _chosen(run).isdisjoint(ASSETS)


def is_only_ours(run: dg.DagsterRun, location: str | None) -> bool:
    """Return whether a run is about nothing but our assets. `location` is our code location, if known.

    The keys of assets are unique in an instance. The names of jobs are not.
    """
    if chosen := _chosen(run):
        return chosen <= ASSETS
    return run.job_name in JOBS and location_of(run) in {None, LOCATION, location}
