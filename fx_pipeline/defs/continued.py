"""Which runs a re-execution continues: what those have stored, it does not fetch again.

A re-execution continues its parent run, unless that succeeded: the operator then wants all its days again. It
makes no difference whether it is "all steps", "from failure", from the launchpad or Dagster's own retry. The
runs of a re-executed backfill continue those of the original one in the same way.
"""

import dagster as dg

from fx_pipeline.dagster_internals.tags import BACKFILL_TAG, PARENT_BACKFILL_TAG, ROOT_RUN_TAG


def continued_runs(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return the ids of the runs that this run continues, newest first."""
    runs: list[str] = []
    while run.parent_run_id and (parent := instance.get_run_by_id(run.parent_run_id)):
        if parent.is_success:
            break
        runs.append(parent.run_id)
        run = parent
    return runs


def continued_backfills(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Return the ids of the runs, and of their retries, of the backfills that this run's continues."""
    runs: list[str] = []
    parent = run.tags.get(PARENT_BACKFILL_TAG)
    while parent and (backfill := instance.get_backfill(parent)):
        if backfill.status.value == "COMPLETED_SUCCESS":
            break
        launched = [one.run_id for one in instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: parent}))]
        # A run that is re-executed when its backfill has ended is no longer tagged as the backfill's.
        again = instance.get_runs(dg.RunsFilter(tags={ROOT_RUN_TAG: launched})) if launched else []
        runs += [*launched, *(one.run_id for one in again)]
        parent = backfill.tags.get(PARENT_BACKFILL_TAG)
    return runs
