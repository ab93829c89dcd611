"""Dagster's daemon, by its own functions, at an instant that a test names: schedules, then queued runs."""

import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon
from dagster._scheduler.scheduler import launch_scheduled_runs
from dagster_shared.error import SerializableErrorInfo

from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.waiting import wait_for


class Daemon:
    """What looks at the schedules of workspace.yaml, loaded in another process, and launches their runs."""

    def __init__(self, process: WorkspaceProcessContext, queue: QueuedRunCoordinatorDaemon) -> None:
        self.workspace = process
        self._queue = queue
        self.instance = process.instance

    def looks(self, now: dt.datetime) -> list[dg.DagsterRun]:
        """Evaluate what is due at `now`. The runs of the rates that it launched, each in its own process."""
        before = {run.run_id for run in self.instance.get_runs()}
        for problem in launch_scheduled_runs(self.workspace, logging.getLogger("daemon"), now, {}):
            assert not isinstance(problem, SerializableErrorInfo), problem
        self.launches()
        runs = [run for run in self.instance.get_runs() if run.run_id not in before]
        return [run for run in runs if run.tags.get("dagster/schedule_name") == "daily_rates"]

    def launches(self) -> None:
        """Launch the runs that are queued."""
        for problem in self._queue.run_iteration(self.workspace):
            assert not isinstance(problem, SerializableErrorInfo), problem

    def waits(self) -> None:
        """Wait until all runs are over."""
        wait_for(self.instance.get_runs, lambda runs: all(run.is_finished for run in runs), pause=0.1)


@contextmanager
def running_daemon(instance: dg.DagsterInstance) -> Iterator[Daemon]:
    with (
        loaded_workspace(instance) as workspace,
        QueuedRunCoordinatorDaemon(interval_seconds=1) as queue,
    ):
        yield Daemon(workspace, queue)
