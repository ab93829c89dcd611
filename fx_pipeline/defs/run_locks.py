"""Reports runs of this machine as failed whose process was killed. Dagster does not notice all of them.

A run whose lock file exists and is not locked was executed on this machine, and its process is gone. Without
a lock file, a run was never started here, or its process is one of another machine with the same Dagster
storage. Such a run is not touched: Dagster's run monitoring ends runs that do not start.
"""

import time
from pathlib import Path

import dagster as dg

from fx_pipeline.dagster_internals.runs import stores_in_home
from fx_pipeline.dagster_internals.tags import WILL_RETRY_TAG
from fx_pipeline.store.run_lock import folder_of, lock_files, taken

_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]

FORGOTTEN_SECONDS = 7 * 24 * 3600
"""Age at which the file of a run that this Dagster instance does not know is removed."""


def fail_killed_runs(instance: dg.DagsterInstance, database: Path) -> None:
    """Report the runs of this machine whose process was killed, and remove the files of ended runs."""
    for file in _files(instance, database):
        with taken(file) as ended:
            if not ended:
                continue
            run = instance.get_run_by_id(file.stem)
            if run is not None:
                _report(instance, run, "Its process was killed.")
            # The run of another instance with the same database is that instance's business.
            if run is not None or time.time() - file.stat().st_mtime > FORGOTTEN_SECONDS:
                file.unlink(missing_ok=True)


def fail_abandoned_runs(instance: dg.DagsterInstance, database: Path) -> None:
    """Report all runs that an earlier `up` left unfinished. Only for the `up` that holds the home.

    Without a daemon, only runs of `ingest` can be alive, and these hold their locks. This includes runs that
    were killed before they took theirs. If other machines use the storage too, these are not recognized.
    """
    fail_killed_runs(instance, database)
    if not stores_in_home(instance):
        return
    # Read the runs before the files: an `ingest` may start or end meanwhile.
    unfinished = instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED))
    alive = {file.stem for file in _files(instance, database)}
    for run_id in {run.run_id for run in unfinished} - alive:
        current = instance.get_run_by_id(run_id)
        if current is not None:
            _report(instance, current, "Its process was gone when fx-pipeline was started again.")


def _files(instance: dg.DagsterInstance, database: Path) -> list[Path]:
    """Return the files of runs. Up to version 0.1, they were in Dagster's home."""
    return [*lock_files(folder_of(database)), *lock_files(Path(instance.root_directory))]


def _report(instance: dg.DagsterInstance, run: dg.DagsterRun, reason: str) -> None:
    if run.status is dg.DagsterRunStatus.CANCELING:  # as failed, it would be restarted
        instance.report_run_canceled(run, reason)
    elif run.status in _UNFINISHED:
        if instance.run_retries_enabled:
            # Dagster sets this after the status, to its decision. A backfill that looks in between would end.
            instance.add_run_tags(run.run_id, {WILL_RETRY_TAG: "true"})
        instance.report_run_failed(run, reason)
