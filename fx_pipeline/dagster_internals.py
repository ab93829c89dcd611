"""The private parts of Dagster that this project uses, and why. No other file imports `dagster._*`.

Checked against dagster 1.13.27. Read this file before an upgrade of Dagster. Imports inside functions are
slow ones that a run does not need: the workspace takes 0.15 s.
"""

import datetime as dt
import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import RunFailureReason
from dagster._core.execution.api import execute_run as _execute_run
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.workspace.load import location_origins_from_yaml_paths

# With this pair, Dagster checks for interrupts between the events of a run. No public function does.
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt
from starlette.types import ASGIApp

from fx_pipeline.dagster_names import LOCATION
from fx_pipeline.rates import counted
from fx_pipeline.serving.prefix import WithPrefix
from fx_pipeline.settings import PROJECT

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.remote_origin import CodeLocationOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceLoadTarget

__all__ = [
    "ExecutionPlan",
    "PlanOrchestrationContext",
    "RetryMode",
    "WorkspaceProcessContext",
    "capture_interrupts",
    "check_captured_interrupt",
]

# Tags of runs. Dagster documents some of them and exports none.
PARTITION_TAG = "dagster/partition"
RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
SCHEDULE_TAG = "dagster/schedule_name"
FROM_UI_TAG = "dagster/from_ui"
MAX_RETRIES_TAG = "dagster/max_retries"
BACKFILL_TAG = "dagster/backfill"
"""On the runs of a backfill: its id."""
ROOT_RUN_TAG = "dagster/root_run_id"
"""On a re-executed run: the id of the first run that was re-executed."""
PARENT_BACKFILL_TAG = "dagster/parent_backfill_id"
"""On a re-executed backfill and its runs: the id of the backfill that was re-executed."""
WILL_RETRY_TAG = "dagster/will_retry"
"""`true` on a killed run that Dagster will restart."""
AUTO_RETRY_RUN_ID_TAG = "dagster/auto_retry_run_id"
"""On a killed run that Dagster has restarted: the id of the new run."""

UNSAVED_EVENT = "Exception while writing logger call to event log"
"""The start of the text that Dagster writes to stderr if it cannot save an event."""

WATCH_SECONDS = 5

RESTART_TIMEOUT = 60.0
"""Seconds that a code server may take to be started again."""

_WORKSPACE = str(PROJECT / "workspace.yaml")


def execute_run(
    job: dg.JobDefinition, run: dg.DagsterRun, instance: dg.DagsterInstance, *, raise_on_error: bool = False
) -> dg.JobExecutionResult:
    """Execute a run that exists, in this process.

    `JobDefinition.execute_in_process` creates its own run, without a code location: the UI could not
    re-execute it. `dg.execute_job` needs a job that another process can load.
    """
    return _execute_run(InMemoryJob(job), run, instance, raise_on_error=raise_on_error)


def job_origin(job: dg.JobDefinition) -> RemoteJobOrigin:
    """Return the origin that ties a run of `job` to the code location in workspace.yaml.

    The UI re-executes only runs that have one, and no public function creates one.
    """
    [location] = location_origins_from_yaml_paths([_WORKSPACE])
    # Unnamed definitions are in the repository with this name.
    return RemoteRepositoryOrigin(location, dg.Definitions().get_repository_def().name).get_job_origin(
        job.name
    )


def stores_in_home(instance: dg.DagsterInstance) -> bool:
    """Return whether the runs are in files of Dagster's home, which only one machine uses."""
    return isinstance(instance.run_storage, SqliteRunStorage)


def is_interrupted_step(event: dg.DagsterEvent) -> bool:
    """Return whether an interrupt ended the step of this STEP_FAILURE event. Its type is not public."""
    return event.step_failure_data.error_source is ErrorSource.INTERRUPT


def was_interrupted(result: dg.JobExecutionResult) -> bool:
    """Return whether an interrupt ended the run. Dagster reports it as failed; the reason is not public."""
    return any(
        event.job_failure_data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION
        for event in result.all_events
        if event.is_job_failure
    )


class CheckResult(NamedTuple):
    """One result of an asset check, as the instance stores it."""

    run_id: str
    recorded_at: float
    """Unix seconds."""
    evaluation: dg.AssetCheckEvaluation


def check_results(instance: dg.DagsterInstance, check: dg.AssetCheckKey, *, limit: int) -> list[CheckResult]:
    """Return the newest results of a check, without executions that were only planned.

    A run over many dates that was planned with its checks leaves a planned execution for each date.

    The public methods of the instance return only the last result.
    """
    records = instance.event_log_storage.get_asset_check_execution_history(
        check,
        limit=limit,
        status={AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED},
    )
    return [
        CheckResult(record.run_id, record.create_timestamp, event.asset_check_evaluation_data)
        for record in records
        if record.event and (event := record.event.dagster_event)
    ]


def failed_partitions(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> set[str]:
    """Return the partitions that the UI shows as failed once no run has them in progress.

    The public `get_status_by_partition` returns only "in progress" for the partitions of the current run.
    """
    from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

    status = get_and_update_asset_status_cache_value(instance, asset, partitions)
    if status is None:
        return set()
    return set(status.deserialize_failed_partition_subsets(partitions).get_partition_keys())


Source = str | tuple[str, int]
"""A workspace: the path of its file, or the host and the port of its only code server."""


def _target(source: Source) -> "WorkspaceLoadTarget":
    from dagster._core.workspace.load_target import GrpcServerTarget, WorkspaceFileTarget

    if isinstance(source, str):
        return WorkspaceFileTarget([source])
    host, port = source
    return GrpcServerTarget(host=host, port=port, socket=None, location_name=LOCATION)


def open_workspace(
    instance: dg.DagsterInstance, source: Source | None = None, *, read_only: bool = False
) -> "WorkspaceProcessContext":
    """Return a workspace, by default that of workspace.yaml, as `dagster-webserver` opens it.

    It is a context manager. It runs the code servers of modules in the file as long as it is open. Other code
    servers must be started again when they end: a reload ends them. The web application of a read-only
    workspace refuses every change.
    """
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster_webserver.version import __version__

    class Workspace(WorkspaceProcessContext):
        """A workspace that restarts code servers that others run if someone reloads them in the UI.

        `dagster api grpc` cannot load changed code. `dagster code-server start` can, but takes one more
        process, and does not restart the process that has the definitions.
        """

        def reload_code_location(self, name: str) -> None:
            [origin] = [origin for origin in self._origins if origin.location_name == name]
            if _restart_code_server(origin):
                self.refresh_code_location(name)
            else:
                super().reload_code_location(name)

        def reload_workspace(self) -> None:
            restarted = [_restart_code_server(origin) for origin in self._origins]
            if all(restarted):
                self.refresh_workspace()
            else:
                super().reload_workspace()

    return Workspace(
        instance,
        _target(source or _WORKSPACE),
        version=__version__,
        read_only=read_only,
        code_server_log_level="warning",
    )


def _restart_code_server(origin: "CodeLocationOrigin") -> bool:
    """End a code server that others run, and wait for the next one. Return False if Dagster runs it.

    Raise RuntimeError if it executes runs.
    """
    from dagster._core.errors import DagsterUserCodeUnreachableError
    from dagster._core.remote_origin import GrpcServerCodeLocationOrigin
    from dagster._grpc.types import GetCurrentRunsResult
    from dagster_shared.serdes import deserialize_value

    if not isinstance(origin, GrpcServerCodeLocationOrigin):
        return False
    client = origin.create_client()
    deadline = time.monotonic() + RESTART_TIMEOUT
    with suppress(DagsterUserCodeUnreachableError):  # it is being started
        ended = client.get_server_id()
        found = deserialize_value(client.get_current_runs(), GetCurrentRunsResult)
        if running := found.current_runs:
            are = "is" if len(running) == 1 else "are"
            raise RuntimeError(
                f"{counted(len(running), 'run')} {are} in progress. Reload the code afterwards."
            )
        client.shutdown_server()
        while time.monotonic() < deadline and client.get_server_id() == ended:
            time.sleep(0.2)
    while time.monotonic() < deadline:
        with suppress(DagsterUserCodeUnreachableError):
            client.get_server_id()
            break
        time.sleep(0.2)
    return True


def watch_code_servers_seldom() -> None:
    """Let this process ask a code server only every WATCH_SECONDS whether it is another one.

    Dagster asks every second, on a new connection each time. That cost 1 % of a core for two processes.
    """
    from dagster._grpc import server_watcher

    server_watcher.WATCH_INTERVAL = WATCH_SECONDS


def run_code_server(options: list[str]) -> None:
    """Run `dagster api grpc` in this process, until someone reloads the code location or a signal ends it."""
    from dagster._cli.api import grpc_command

    grpc_command.main(options, prog_name="dagster api grpc", standalone_mode=False)


def run_daemon(instance: dg.DagsterInstance, source: Source | None, ending: Callable[[], None]) -> None:
    """Run Dagster's daemon in this process until an interrupt, then call `ending` and wait for its threads.

    The public command would give a code server at a host and a port another name than stored runs have. It
    would also lose the restart of a run that ended together with the code server, see below.
    """
    from dagster._core.errors import DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError
    from dagster._daemon import sensor
    from dagster._daemon.auto_run_reexecution.auto_run_reexecution import (
        consume_new_runs_for_automatic_reexecution,
        filter_runs_to_should_retry,
        retry_run,
    )
    from dagster._daemon.auto_run_reexecution.event_log_consumer import EventLogConsumerDaemon
    from dagster._daemon.controller import create_daemons_from_instance, daemon_controller_from_instance

    def retry(
        workspace: "WorkspaceProcessContext", records: Sequence[dg.RunRecord], logger: logging.Logger
    ) -> Iterator[None]:
        for record in records:
            for run in filter_runs_to_should_retry([record.dagster_run], workspace.instance):
                while True:
                    yield
                    try:
                        retry_run(run, workspace)
                    except (DagsterCodeLocationLoadError, DagsterUserCodeUnreachableError):
                        time.sleep(1)
                        continue
                    except Exception:  # noqa: BLE001  # Dagster's function reports it
                        yield from consume_new_runs_for_automatic_reexecution(workspace, [record], logger)
                    break

    class PatientConsumer(EventLogConsumerDaemon):
        """Restarts killed runs. Dagster's own one tries once, and never again if the code server is down."""

        @property
        def handle_updated_runs_fns(self) -> "Sequence[Callable[..., Iterator[None]]]":
            return [retry]

    # Otherwise a backfill fails for good if the daemon looks at it while the code server does not respond.
    os.environ.setdefault("DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR", "1")
    watch_code_servers_seldom()
    # Every 5 seconds, it looks for sensors that are due. The only one is due every 30 seconds.
    sensor.MIN_INTERVAL_LOOP_TIME = 15
    with (
        suppress(KeyboardInterrupt),
        daemon_controller_from_instance(
            instance,
            _target(source or _WORKSPACE),
            gen_daemons=lambda instance: [
                PatientConsumer() if isinstance(daemon, EventLogConsumerDaemon) else daemon
                for daemon in create_daemons_from_instance(instance)
            ],
            log_level="warning",
            code_server_log_level="warning",
        ) as controller,
    ):
        try:
            controller.check_daemon_loop()
        except KeyboardInterrupt:
            ending()
            raise


def web_application(workspace: "WorkspaceProcessContext", prefix: str = "") -> ASGIApp:
    """Return Dagster's web application. Only its own command, which serves it without a guard, is public.

    Its pages link to paths with the prefix. It takes requests without the prefix.
    """
    from dagster_webserver.app import create_app_from_workspace_process_context

    app: ASGIApp = create_app_from_workspace_process_context(workspace, prefix, live_data_poll_rate=2000)
    return WithPrefix(app, prefix) if prefix else app


# Only tests need the rest.


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


def evaluate_sensors(workspace: "WorkspaceProcessContext") -> None:
    """Evaluate the sensors that are due, as the daemon does."""
    from dagster._daemon.sensor import execute_sensor_iteration

    logger = logging.getLogger("daemon")
    _require_success(execute_sensor_iteration(workspace, logger, None, None))


def record_heartbeat(instance: dg.DagsterInstance, at: dt.datetime) -> None:
    """Record a heartbeat of each thread of the daemon, as the daemon does."""
    from dagster._daemon.types import DaemonHeartbeat

    for kind in instance.get_required_daemon_types():
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "daemon", []))


def _require_success(problems: Iterable[object]) -> None:
    """Raise RuntimeError for the first error that the daemon yields; it also yields other objects."""
    from dagster_shared.error import SerializableErrorInfo

    for problem in problems:
        if isinstance(problem, SerializableErrorInfo):
            raise RuntimeError(str(problem))
