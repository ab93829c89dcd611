"""Locks that show whether the process of an `ingest` run is alive. Dagster watches only its daemon's runs.

While a process executes a run, it holds a lock on the file `<run id>.lock` in Dagster's home. It removes the
file at the end of the run. The operating system releases the lock of a killed process but leaves the file. So
a file that can be locked belongs to a run whose process was killed, and that run is reported as failed:

- `fail_killed_runs`, before each ingest, looks at the files.
- `fail_abandoned_runs`, when `up` starts, looks at all unfinished runs. Without a daemon, only runs of
  `ingest` can be alive, and these hold their locks.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@contextmanager
def run_lock(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the lock of a run, and remove its file at the end. Raise Timeout if another process holds it."""
    file = Path(instance.root_directory) / f"{run_id}.lock"
    with FileLock(file, blocking=False):
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def fail_killed_runs(instance: dg.DagsterInstance) -> None:
    """Report the runs of `ingest` whose process was killed as failed."""
    for file in Path(instance.root_directory).glob("*-*-*-*-*.lock"):
        with suppress(Timeout), run_lock(instance, file.stem):
            run = instance.get_run_by_id(file.stem)
            if run is not None and not run.is_finished:
                instance.report_run_failed(run, "Its process was killed.")


def fail_abandoned_runs(instance: dg.DagsterInstance) -> None:
    """Report unfinished runs of an earlier `up` as failed. Dagster would wait for them forever."""
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        with suppress(Timeout), run_lock(instance, run.run_id):
            instance.report_run_failed(run, "Its process was gone when fx-pipeline was started again.")
