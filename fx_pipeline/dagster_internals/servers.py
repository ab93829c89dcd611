"""Dagster's processes: the workspace with its code servers, the daemon and the web application."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import dagster as dg
from starlette.types import ASGIApp

from fx_pipeline.dagster_internals.logs import log_as_configured
from fx_pipeline.dagster_names import LOCATION, WORKSPACE
from fx_pipeline.rates import counted
from fx_pipeline.serving.prefix import WithPrefix

if TYPE_CHECKING:
    from dagster._core.remote_origin import CodeLocationOrigin
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceLoadTarget

__all__ = ["WorkspaceProcessContext"]

WATCH_SECONDS = 5

RESTART_TIMEOUT = 60.0
"""Seconds that a code server may take to be started again."""

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
        _target(source or WORKSPACE),
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
    # The daemon notices a cancelled backfill only between two groups of runs. By default, a group has
    # 25 runs, which are 2,500 days here.
    os.environ.setdefault("DAGSTER_ASSET_BACKFILL_RUN_CHUNK_SIZE", "1")
    watch_code_servers_seldom()
    # Every 5 seconds, it looks for sensors that are due. There are none.
    sensor.MIN_INTERVAL_LOOP_TIME = 15
    with (
        suppress(KeyboardInterrupt),
        daemon_controller_from_instance(
            instance,
            _target(source or WORKSPACE),
            gen_daemons=lambda instance: [
                PatientConsumer() if isinstance(daemon, EventLogConsumerDaemon) else daemon
                for daemon in create_daemons_from_instance(instance)
            ],
            log_level="warning",
            code_server_log_level="warning",
        ) as controller,
    ):
        log_as_configured()
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
