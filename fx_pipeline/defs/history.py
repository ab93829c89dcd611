"""The nightly job that keeps Dagster's history small: it deletes our runs that ended FX_HISTORY_DAYS ago.

Dagster itself keeps runs and their events for good. A deleted run leaves the events that are the latest
materialization of a day, so the pages of the assets do not change.
"""

import datetime as dt
import time
from collections.abc import Mapping

import dagster as dg

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.history import Freed, History, ended_runs, location_of, purge_ticks
from fx_pipeline.dagster_internals.runs import unfinished_backfills
from fx_pipeline.dagster_internals.tags import BACKFILL_TAG
from fx_pipeline.dagster_names import prefixed
from fx_pipeline.defs.ours import ASSETS, JOBS, is_only_ours
from fx_pipeline.rates import counted
from fx_pipeline.settings import load_settings

BUDGET = dt.timedelta(minutes=5)
"""How long a night may take. The next nights continue."""

SCHEDULES = {
    prefixed(load_settings(), name)
    for name in ("daily_rates", "daily_checks", "nightly_database", "nightly_history", "monthly_symbols")
}

FORMER = {prefixed(load_settings(), "alerts")}
"""Sensors of earlier versions, which left ticks."""


@dg.op(name="history", description="Delete our runs that ended FX_HISTORY_DAYS ago.")
def prune_history(context: dg.OpExecutionContext) -> None:
    """Delete what is too old, within BUDGET. Raise dagster.Failure if that is not possible."""
    days = load_settings().fx_history_days
    if not days:
        context.log.info("FX_HISTORY_DAYS is 0, so nothing is deleted.")
        return
    before = utc_now() - dt.timedelta(days=days)
    try:
        result = prune(context.instance, context.run, before, BUDGET)
    except (OSError, TypeError) as error:
        raise dg.Failure(
            f"Dagster's history was not pruned: {error} To keep all of it, set FX_HISTORY_DAYS=0.",
            allow_retries=False,
        ) from None
    context.log.info(summary(result, before))
    context.add_output_metadata(result)


def prune(
    instance: dg.DagsterInstance, own: dg.DagsterRun, before: dt.datetime, budget: dt.timedelta
) -> Mapping[str, int]:
    """Delete our runs that ended before an instant, oldest first, until the budget is used up.

    These are kept: the newest run of each job, runs of a backfill in progress, and the last run that tried a
    day that is shown as failed. `own` is the run that does this.

    Raise OSError if a file cannot be deleted, and TypeError if the storage is of an unknown kind.
    """
    deadline = time.monotonic() + budget.total_seconds()
    history = History(instance, ASSETS)
    newest = {run for job in JOBS for run in instance.get_run_ids(dg.RunsFilter(job_name=job), limit=1)}
    location = location_of(own)
    old = [
        run
        for run in ended_runs(instance, JOBS, own, before)
        if run.run_id not in newest and is_only_ours(run, location)
    ]
    active = {backfill.backfill_id for backfill in unfinished_backfills(instance)}
    kept = [
        run for run in old if run.run_id in history.failed_attempts or run.tags.get(BACKFILL_TAG) in active
    ]
    kept_ids = {run.run_id for run in kept}
    to_delete = [run for run in old if run.run_id not in kept_ids]
    deleted = 0
    freed = Freed()
    for run in to_delete:
        if time.monotonic() > deadline:
            break
        freed = freed.plus(history.delete_run(run.run_id))
        deleted += 1
    freed = freed.plus(history.delete_superseded())
    purge_ticks(instance, SCHEDULES | FORMER, before)
    return {
        "runs deleted": deleted,
        "files deleted": freed.files,
        "rows deleted": freed.rows,
        "bytes freed": freed.size,
        "old runs kept": len(kept),
        "runs left for the next night": len(to_delete) - deleted,
    }


def summary(result: Mapping[str, int], before: dt.datetime) -> str:
    """Return one line about a night."""
    line = (
        f"Deleted {counted(result['runs deleted'], 'run')} that ended before {before:%Y-%m-%d}, with "
        f"{counted(result['files deleted'], 'file')} and {counted(result['rows deleted'], 'row')}: "
        f"{result['bytes freed'] / 1e6:.1f} MB."
    )
    if kept := result["old runs kept"]:
        line += f" Kept {counted(kept, 'old run')}: days still shown as failed, or a backfill in progress."
    if left := result["runs left for the next night"]:
        line += f" Left for the next night: {counted(left, 'run')}."
    return line
