"""Dagster's daemon, by its own functions, at an instant that a test names: schedules, then queued runs."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from fx_pipeline.dagster_internals import launch_queued_runs, launch_scheduled_runs
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.waiting import wait_for

if TYPE_CHECKING:
    from fx_pipeline.dagster_internals import WorkspaceProcessContext


class Daemon:
    """What looks at the schedules of workspace.yaml, loaded in another process, and launches their runs."""

    def __init__(self, process: "WorkspaceProcessContext") -> None:
        self.workspace = process
        self.instance = process.instance

    def looks(self, now: dt.datetime) -> list[dg.DagsterRun]:
        """Evaluate what is due at `now`. The runs of the rates that it launched, each in its own process."""
        before = {run.run_id for run in self.instance.get_runs()}
        launch_scheduled_runs(self.workspace, now)
        self.launches()
        runs = [run for run in self.instance.get_runs() if run.run_id not in before]
        return [run for run in runs if run.tags.get("dagster/schedule_name") == "daily_rates"]

    def launches(self) -> None:
        """Launch the runs that are queued."""
        launch_queued_runs(self.workspace)

    def waits(self) -> None:
        """Wait until all runs are over."""
        wait_for(self.instance.get_runs, lambda runs: all(run.is_finished for run in runs), pause=0.1)


@contextmanager
def running_daemon(instance: dg.DagsterInstance) -> Iterator[Daemon]:
    with loaded_workspace(instance) as workspace:
        yield Daemon(workspace)
