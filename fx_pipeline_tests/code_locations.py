"""The code location of workspace.yaml, loaded as Dagster's webserver and daemon load it."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load import load_workspace_process_context_from_yaml_paths

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.child_processes import wait_until_gone

WORKSPACE = PROJECT / "workspace.yaml"


@contextmanager
def loaded_workspace(instance: dg.DagsterInstance) -> Iterator[WorkspaceProcessContext]:
    """Yield the workspace, with its code server in a process of its own that is gone at the end.

    Dagster only asks its code servers to shut down. Each first waits for the runs that it has started, and
    writes into the instance's files how they ended: the instance must outlive it, and so must the test.
    """
    started = []
    try:
        with load_workspace_process_context_from_yaml_paths(instance, [str(WORKSPACE)]) as workspace:
            try:
                yield workspace
            finally:
                # Private, because no public call waits for them; read in dagster 1.13.27.
                servers = workspace._grpc_server_registry._all_processes
                started = [server.server_process for server in servers]
    finally:
        for process in started:
            wait_until_gone(process)
