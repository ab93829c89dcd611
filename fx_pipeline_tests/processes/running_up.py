"""`fx-pipeline up` in an empty folder, on free ports."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from fx_pipeline.processes.code_server import CodeServer
from fx_pipeline_tests.child_processes import processes_with
from fx_pipeline_tests.command_line import PROGRAM, environment
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.waiting import PATIENCE, wait_for

SERVERS = ("serve", "sandbox", "webserver", "daemon", "grpc", "watch")
"""A word in the command line of each."""

FETCHING = ("daemon", "grpc", "watch")
"""Those that run at low priority."""

PORTS = ("FX_API_PORT", "FX_DAGSTER_PORT", "FX_SANDBOX_PORT")


@contextmanager
def reserved() -> Iterator[dict[str, str]]:
    """Yield settings with ports that are reserved for this block."""
    with reserved_ports(len(PORTS)) as ports:
        yield {name: str(port) for name, port in zip(PORTS, ports, strict=True)}


def each_second(folder: Path) -> dict[str, str]:
    """Return settings that make Dagster's daemon look at backfills every second instead of every 30."""
    (folder / "sitecustomize.py").write_text(_EACH_SECOND, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


_EACH_SECOND = """
import sys
if "daemon" in sys.orig_argv:
    import dagster._daemon.controller
    dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
"""


class Up:
    """A running `up`: its output and its services."""

    def __init__(
        self, folder: Path, options: tuple[str, ...], settings: dict[str, str], program: Sequence[str]
    ) -> None:
        self.folder = folder
        self.settings = settings
        self._output = folder / "up.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [*program, "up", *options],
                cwd=folder,
                env=environment(**settings),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def url(self, name: str, path: str) -> str:
        return f"http://127.0.0.1:{self.settings[f'FX_{name}_PORT']}{path}"

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url("API", path), timeout=PATIENCE)

    def asked(self) -> dict[str, dict[str, int]]:
        """Return the calls to the sandbox since it started."""
        stats = requests.get(self.url("SANDBOX", "/-/stats"), timeout=PATIENCE).json()
        endpoints: dict[str, dict[str, int]] = stats["endpoints"]
        return endpoints

    def graphql(self, query: str, **variables: Any) -> Any:
        """Send a query to Dagster's webserver, as the UI does."""
        answer = requests.post(
            self.url("DAGSTER", "/graphql"), json={"query": query, "variables": variables}, timeout=PATIENCE
        ).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def wait(self, what: str, is_so: Callable[[], bool]) -> None:
        """Wait for a condition. Fail if `up` ends first."""

        def look() -> bool:
            assert self.process.poll() is None, f"up ended before {what}:\n{self.output}"
            return is_so()

        try:
            wait_for(look, pause=0.2)
        except TimeoutError as error:
            raise AssertionError(f"no {what}:\n{self.output}") from error

    def wait_until_ready(self) -> None:
        self.wait("last line", lambda: "Ctrl-C stops everything." in self.output)

    def interrupt(self) -> int:
        """Send SIGINT to the process group, as Ctrl-C does. Return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.process.wait(PATIENCE)

    def processes(self) -> set[int]:
        """Return every process with this folder's database in its environment, whatever its parent."""
        return processes_with(f"FX_DATABASE={self.folder / 'data' / 'fx.db'}")

    def pids(self, word: str) -> list[int]:
        """Return the processes with this word in their command line."""
        found = []
        for process in self.processes():
            with suppress(OSError):  # it has ended
                if word in Path(f"/proc/{process}/cmdline").read_text().split("\0"):
                    found.append(process)
        return found

    def priorities(self) -> dict[str, int]:
        """Return the niceness of each server, by a word in its command line."""
        return {
            name: os.getpriority(os.PRIO_PROCESS, process) for name in SERVERS for process in self.pids(name)
        }

    def has_code_server(self) -> bool:
        """Return whether the code server accepts connections."""
        workspace = self.folder / "data" / "dagster" / "code_server.yaml"
        [origin] = json.loads(workspace.read_text())["load_from"]
        return CodeServer(Path(origin["grpc_server"]["socket"]), workspace).listens()

    def location(self) -> str:
        """Return the type of what the webserver has loaded: the code location, or an error."""
        entry = self.graphql(LOCATION)["workspaceOrError"]["locationEntries"][0]["locationOrLoadError"]
        return str(entry["__typename"])


@contextmanager
def up(folder: Path, *options: str, program: Sequence[str] = PROGRAM, **settings: str) -> Iterator[Up]:
    """Run `up` in `folder`. Interrupt it at the end, and kill what is left of it."""
    with reserved() as ports:
        running = Up(folder, options, {**ports, **settings}, program)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.interrupt()
            for process in running.processes():
                os.kill(process, signal.SIGKILL)


# The UI sends this for the dates chosen in the dialog "Materialize".
LAUNCH = """mutation LaunchPartitionBackfill($backfillParams: LaunchBackfillParams!) {
    launchPartitionBackfill(backfillParams: $backfillParams) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
    }
}"""

RELOAD = """mutation { reloadRepositoryLocation(repositoryLocationName: "fx_pipeline") { __typename } }"""

LOCATION = """{ workspaceOrError { ... on Workspace { locationEntries {
    name locationOrLoadError { __typename }
} } } }"""

BACKFILL = """query Backfill($id: String!) { partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status }
} }"""
