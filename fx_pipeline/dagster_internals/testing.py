"""What only tests need: the daemon's work at a given time, and the code servers of a workspace."""

import datetime as dt
import logging
import subprocess
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from dagster._core.remote_representation.external import RemoteSchedule
    from dagster._core.workspace.context import WorkspaceProcessContext


def code_servers(workspace: "WorkspaceProcessContext") -> "list[subprocess.Popen[bytes]]":
    """Return the processes of a workspace's code servers. No public function waits until they end."""
    return [server.server_process for server in workspace._grpc_server_registry._all_processes]


def launch_scheduled_runs(workspace: "WorkspaceProcessContext", now: dt.datetime) -> None:
    """Evaluate the schedules that are due at `now`, as the daemon does. It has no public clock."""
    from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon  # noqa: F401  # must be first
    from dagster._scheduler.scheduler import launch_scheduled_runs as launch

    _require_success(launch(workspace, logging.getLogger("daemon"), now, {}))


def launch_queued_runs(workspace: "WorkspaceProcessContext") -> None:
    """Launch the runs in the queue, as the daemon does. Only the whole daemon is public, as a command."""
    from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

    with QueuedRunCoordinatorDaemon(interval_seconds=1) as daemon:
        _require_success(daemon.run_iteration(workspace))


def run_daemon_once(workspace: "WorkspaceProcessContext", now: dt.datetime) -> None:
    """Do what the threads of the daemon do first: look for runs, and for schedules that are due at `now`."""
    from dagster._daemon.controller import create_daemons_from_instance
    from dagster._daemon.daemon import IntervalDaemon

    for thread in create_daemons_from_instance(workspace.instance):
        if isinstance(thread, IntervalDaemon):
            with thread:
                _require_success(thread.run_iteration(workspace))
    launch_scheduled_runs(workspace, now)


def schedules_of(workspace: "WorkspaceProcessContext") -> "list[RemoteSchedule]":
    """Return all schedules of a workspace."""
    return [
        schedule
        for location in workspace.create_request_context().code_locations
        for repository in location.get_repositories().values()
        for schedule in repository.get_schedules()
    ]


def add_tick(instance: dg.DagsterInstance, schedule: "RemoteSchedule", run_id: str, at: dt.datetime) -> None:
    """Record a tick of a schedule that launched a run, as the daemon does."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.scheduler.instigation import TickData, TickStatus

    instance.create_tick(
        TickData(
            instigator_origin_id=schedule.get_remote_origin_id(),
            instigator_name=schedule.name,
            instigator_type=InstigatorType.SCHEDULE,
            status=TickStatus.SUCCESS,
            timestamp=at.timestamp(),
            run_ids=[run_id],
            selector_id=schedule.selector_id,
        )
    )


def record_heartbeat(instance: dg.DagsterInstance, at: dt.datetime) -> None:
    """Record a heartbeat of each thread of the daemon, as the daemon does."""
    from dagster._daemon.types import DaemonHeartbeat

    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "daemon", []))


def add_backfill(
    instance: dg.DagsterInstance, backfill_id: str, asset: dg.AssetKey, partitions: Sequence[str]
) -> None:
    """Add a backfill of an asset that has just been requested, as the UI does."""
    from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

    requested = PartitionBackfill(
        backfill_id=backfill_id,
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=time.time(),
        asset_selection=[asset],
        partition_names=partitions,
    )
    instance.add_backfill(requested)


def _require_success(problems: Iterable[object]) -> None:
    """Raise RuntimeError for the first error that the daemon yields; it also yields other objects."""
    from dagster_shared.error import SerializableErrorInfo

    for problem in problems:
        if isinstance(problem, SerializableErrorInfo):
            raise RuntimeError(str(problem))
