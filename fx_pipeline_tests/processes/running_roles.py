"""The roles of an instance on several machines, each as a process of its own, on free ports."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from fx_pipeline_tests.child_processes import processes_with
from fx_pipeline_tests.command_line import PROGRAM, environment
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.processes.running_up import BACKFILL, LAUNCH, LOCATION
from fx_pipeline_tests.waiting import PATIENCE, wait_for

ROLES = ("code-server", "webserver", "daemon", "serve")
PORTS = ("FX_CODE_SERVER_PORT", "FX_DAGSTER_PORT", "FX_API_PORT")
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Makes a program the first process of a new process namespace, as in a container."""

BIN = Path(sys.executable).parent


class Roles:
    """Roles that share Dagster's home, or only PostgreSQL. The code server and the API have the database."""

    def __init__(
        self, folder: Path, ports: dict[str, str], settings: dict[str, str], wrap: Sequence[str]
    ) -> None:
        self.folder = folder
        self.ports = ports
        self.home = folder / "dagster"
        self.database = folder / "data" / "fx.db"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self._wrap = wrap
        self._settings = {
            **ports,
            **settings,
            "DAGSTER_HOME": str(self.home),
            "FX_CODE_SERVER": f"127.0.0.1:{ports['FX_CODE_SERVER_PORT']}",
        }
        (folder / "data").mkdir(exist_ok=True)
        (folder / "empty").mkdir(exist_ok=True)

    def environment(self, role: str) -> dict[str, str]:
        has_database = role in ("code-server", "serve")
        path = self.database if has_database else self.folder / "elsewhere" / "fx.db"
        own = {"FX_DATABASE": str(path), "FX_TESTS_ROLE": f"{self.folder} {role}"}
        if "FX_DAGSTER_POSTGRES_URL" in self._settings:
            own["DAGSTER_HOME"] = str(self.home / role)
        return environment(**{**self._settings, **own})

    def start(self, *roles: str) -> None:
        for role in roles:
            with (self.folder / f"{role}.log").open("ab") as log:
                self.running[role] = subprocess.Popen(
                    [*self._wrap, *PROGRAM, role],
                    cwd=self.folder / "empty",
                    env=self.environment(role),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def log(self, role: str) -> str:
        return (self.folder / f"{role}.log").read_text(errors="replace")

    def pids(self, role: str) -> set[int]:
        """Return the processes of a role: the role itself, and every process that it started."""
        return processes_with(f"FX_TESTS_ROLE={self.folder} {role}")

    def send(self, role: str, *numbers: int) -> None:
        """Send signals to a role. It may end before the last."""
        process = psutil.Process(self.running[role].pid)
        if self._wrap:
            [process] = process.children()
        with suppress(psutil.NoSuchProcess):
            for number in numbers:
                process.send_signal(number)

    def ended(self, role: str) -> int:
        """Wait until a role that was asked to end has ended. Return its exit code."""
        code = self.running[role].wait(PATIENCE)
        del self.running[role]
        return code

    def stop(self, role: str, number: int = signal.SIGTERM) -> int:
        self.send(role, number)
        return self.ended(role)

    def kill(self, role: str, *, whole: bool = True) -> None:
        """Kill a role and, if `whole`, all processes that it started, as the end of a container does."""
        self.running[role].kill()
        if whole:
            for pid in self.pids(role):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.ended(role)

    def wait(self, what: str, is_so: Callable[[], object]) -> None:
        """Wait for a condition. Fail if a role ends by itself first."""

        def look() -> object:
            for role, process in self.running.items():
                assert process.poll() is None, f"{role} ended before {what}:\n{self.log(role)}"
            return is_so()

        try:
            wait_for(look, pause=0.2)
        except TimeoutError as error:
            logs = "\n".join(f"== {role}\n{self.log(role)}" for role in self.running)
            raise AssertionError(f"no {what}:\n{logs}") from error

    def url(self, role: str, path: str) -> str:
        port = self.ports["FX_DAGSTER_PORT" if role == "webserver" else "FX_API_PORT"]
        return f"http://127.0.0.1:{port}{path}"

    def responds(self, role: str, path: str) -> bool:
        try:
            return requests.get(self.url(role, path), timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    def graphql(self, query: str, **variables: Any) -> Any:
        """Send a query to Dagster's webserver, as the UI does."""
        document = {"query": query, "variables": variables}
        answer = requests.post(self.url("webserver", "/graphql"), json=document, timeout=PATIENCE).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def location(self) -> str:
        """Return the type of what the webserver has loaded: the code location, or an error."""
        [entry] = self.graphql(LOCATION)["workspaceOrError"]["locationEntries"]
        assert entry["name"] == "fx_pipeline"
        return str(entry["locationOrLoadError"]["__typename"])

    def wait_until_loaded(self) -> None:
        self.wait("webserver", lambda: self.responds("webserver", "/server_info"))
        self.wait("the definitions", lambda: self.location() == "RepositoryLocation")

    def launch(self, dates: list[str]) -> str:
        """Start a backfill as the dialog "Materialize" does, and return its id."""
        parameters = {"tags": [], "assetSelection": [{"path": ["rates"]}], "partitionNames": dates}
        launched = self.graphql(LAUNCH, backfillParams=parameters)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def status(self, backfill: str) -> str:
        return str(self.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"])

    def health(self, role: str, command: list[str], **settings: str) -> int:
        """Run a health check as a container does, next to the role. Return its exit code."""
        done = subprocess.run(
            command, env={**self.environment(role), **settings}, check=False, capture_output=True
        )
        return done.returncode

    def has_code_server(self) -> bool:
        """Return whether the code server accepts connections."""
        try:
            socket.create_connection(("127.0.0.1", int(self.ports["FX_CODE_SERVER_PORT"]))).close()
        except OSError:
            return False
        return True

    def code_server_health(self) -> int:
        port = self.ports["FX_CODE_SERVER_PORT"]
        return self.health("code-server", [str(BIN / "dagster"), "api", "grpc-health-check", "-p", port])

    def daemon_health(self) -> int:
        return self.health(
            "daemon",
            [str(BIN / "dagster-daemon"), "liveness-check"],
            DAGSTER_DAEMON_HEARTBEAT_TOLERANCE="300",
        )


@contextmanager
def roles_in(folder: Path, *wrap: str, **settings: str) -> Iterator[Roles]:
    """Yield roles that are not started yet. Kill what is left of them at the end."""
    with reserved_ports(len(PORTS)) as ports:
        names = {name: str(port) for name, port in zip(PORTS, ports, strict=True)}
        roles = Roles(folder, names, settings, wrap)
        try:
            yield roles
        finally:
            for role in ROLES:
                for pid in roles.pids(role):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            for process in roles.running.values():
                process.wait(PATIENCE)
