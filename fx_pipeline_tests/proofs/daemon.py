"""Dagster's daemon at an instant that the test chooses: its own functions for schedules and queued runs."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.testing import launch_queued_runs, launch_scheduled_runs
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.waiting import wait_for

if TYPE_CHECKING:
    from fx_pipeline.dagster_internals.servers import WorkspaceProcessContext

FIRST_TRY = utc_now().replace(hour=0, minute=15, second=0, microsecond=0)
"""Today, five minutes after the schedule's first try. Yesterday is over, so its rates can be fetched."""


class Daemon:
    """Evaluates the schedules of workspace.yaml and launches their runs, each in a process of its own."""

    def __init__(self, workspace: "WorkspaceProcessContext") -> None:
        self.workspace = workspace
        self.instance = workspace.instance

    def evaluate_schedules(self, now: dt.datetime) -> list[dg.DagsterRun]:
        """Launch the runs that are due at `now`, and return those of the schedule `daily_rates`."""
        before = {run.run_id for run in self.instance.get_runs()}
        launch_scheduled_runs(self.workspace, now)
        self.launch_queued_runs()
        runs = [run for run in self.instance.get_runs() if run.run_id not in before]
        return [run for run in runs if run.tags.get("dagster/schedule_name") == "daily_rates"]

    def launch_queued_runs(self) -> None:
        """Launch the runs that are queued."""
        launch_queued_runs(self.workspace)

    def wait_for_runs(self) -> None:
        """Wait until all runs have ended."""
        wait_for(self.instance.get_runs, lambda runs: all(run.is_finished for run in runs), pause=0.1)


@contextmanager
def running_daemon(instance: dg.DagsterInstance) -> Iterator[Daemon]:
    """Yield a daemon whose code location is loaded."""
    with loaded_workspace(instance) as workspace:
        yield Daemon(workspace)
