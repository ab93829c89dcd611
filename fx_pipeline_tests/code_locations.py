"""The code locations of a workspace, loaded like Dagster's webserver and daemon load it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from fx_pipeline.dagster_internals.servers import open_workspace
from fx_pipeline.dagster_internals.testing import code_servers
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.child_processes import wait_until_gone

if TYPE_CHECKING:
    from fx_pipeline.dagster_internals.servers import WorkspaceProcessContext


@contextmanager
def loaded_workspace(
    instance: dg.DagsterInstance, file: Path = PROJECT / "workspace.yaml"
) -> Iterator["WorkspaceProcessContext"]:
    """Yield the workspace of a file. Each code server is another process, which has ended when this returns.

    Dagster only asks its code servers to shut down. A code server first waits for the runs that it has
    started, and records how they ended. The instance and the test must therefore outlive it.
    """
    started = []
    try:
        with open_workspace(instance, str(file)) as workspace:
            try:
                yield workspace
            finally:
                started = code_servers(workspace)
    finally:
        for process in started:
            wait_until_gone(process)
