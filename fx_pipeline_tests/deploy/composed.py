"""The services of deploy/compose, run by podman-compose with images that were built here."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.deploy.containers import Podman
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.processes.running_up import BACKFILL, LAUNCH
from fx_pipeline_tests.waiting import wait_for

PROJECT_NAME = "fx-test"
PASSWORD = "p4ssw0rd"  # of a database that lives for a minute
SANDBOX = {"FIXER_BASE_URL": "http://sandbox:8002", "FIXER_ACCESS_KEY": "demo"}
_OWN = ("postgres", "nginx", "redis", "prometheus", "alertmanager")

_LOCATION = (
    "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }"
)
_LAUNCH_JOB = """mutation Launch($params: ExecutionParams!) {
    launchPipelineExecution(executionParams: $params) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }
    }
}"""
_STATUS = "query Status($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass(frozen=True)
class Composed:
    """The running services."""

    podman: Podman
    folder: Path
    port: int

    def compose(self, *arguments: str) -> None:
        """Run a command of podman-compose."""
        command = [
            str(Path(sys.executable).with_name("podman-compose")),
            "--project-name",
            PROJECT_NAME,
            *arguments,
        ]
        done = subprocess.run(
            command, cwd=self.folder, env=self.podman.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    def container(self, service: str) -> str:
        """Return the name of the container of a service."""
        return f"{PROJECT_NAME}_{service}_1"

    def services(self) -> set[str]:
        """Return the names of all services that have a container."""
        label = '{{index .Labels "com.docker.compose.service"}}'
        names = self.podman(
            "ps", "--all", "--filter", f"label=com.docker.compose.project={PROJECT_NAME}", "--format", label
        )
        return set(names.split())

    def is_healthy(self, service: str) -> bool:
        """Return whether the health check of a service passes."""
        return self.podman.run("healthcheck", "run", self.container(service)).returncode == 0

    def wait_until_healthy(self, services: Iterable[str] = ()) -> None:
        """Wait until every service passes its health check."""
        for service in services or sorted(self.services()):
            self.wait(service, lambda service=service: self.is_healthy(service))  # type: ignore[misc]

    def wait(self, service: str, is_so: Callable[[], object]) -> None:
        """Wait for a condition. If it does not come true, fail with the output of a service."""
        try:
            wait_for(is_so, pause=0.5)
        except TimeoutError as error:
            raise AssertionError(self.podman.run("logs", "--tail", "60", self.container(service))) from error

    def start(self, profile: str, *services: str) -> None:
        """Start services of a profile, and wait until they pass their health checks."""
        self.compose("--profile", "demo", "--profile", profile, "up", "--detach", *services)
        self.wait_until_healthy(services)

    def address(self, service: str) -> str:
        """Return the address of a service in the network of all services."""
        networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.podman("inspect", self.container(service), "--format", networks)

    def kill(self, service: str) -> None:
        """Kill the first process of a container. After `podman kill`, podman would not restart it."""
        os.kill(
            int(self.podman("inspect", self.container(service), "--format", "{{.State.Pid}}")), signal.SIGKILL
        )

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Request a path of the API through nginx."""
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", headers=headers, trust_env=False, timeout=60)

    def graphql(self, query: str, **variables: Any) -> Any:
        """Send a query to Dagster through nginx."""
        answer = httpx.post(
            f"http://127.0.0.1:{self.port}/dagster/graphql",
            json={"query": query, "variables": variables},
            auth=("test", PASSWORD),
            trust_env=False,
            timeout=60,
        )
        answer.raise_for_status()
        document = answer.json()
        assert "errors" not in document, document
        return document["data"]

    def is_loaded(self) -> bool:
        """Return whether the webserver has loaded the definitions."""
        try:
            entries = self.graphql(_LOCATION)["workspaceOrError"]["locationEntries"]
        except httpx.HTTPError:
            return False
        return [entry["locationOrLoadError"]["__typename"] for entry in entries] == ["RepositoryLocation"]

    def launch_job(self, date: str) -> str:
        """Start a run of the main job for one date, and return its id."""
        selector = {
            "repositoryLocationName": "fx_pipeline",
            "repositoryName": "__repository__",
            "pipelineName": "rates_job",
        }
        tags = [{"key": "dagster/partition", "value": date}]
        params = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        launched = self.graphql(_LAUNCH_JOB, params=params)["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        """Return the status of a run."""
        return str(self.graphql(_STATUS, id=run_id)["runOrError"]["status"])

    def launch_backfill(self, dates: Iterable[str]) -> str:
        """Start a backfill as the dialog "Materialize" does, and return its id."""
        params = {"assetSelection": [{"path": ["rates"]}], "partitionNames": list(dates)}
        launched = self.graphql(LAUNCH, backfillParams=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfill_status(self, backfill: str) -> str:
        """Return the status of a backfill, or nothing while Dagster cannot answer."""
        try:
            return str(self.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"])
        except httpx.HTTPError:
            return ""


@contextmanager
def composed(
    podman: Podman, images: tuple[str, str], services: str, folder: Path, *profiles: str
) -> Iterator[Composed]:
    """Run the services with the sandbox, and remove them with their volumes at the end."""
    for name in ("compose", "monitoring"):
        shutil.copytree(PROJECT / "deploy" / name, folder / name)
    folder = folder / "compose"
    file = folder / "compose.yaml"
    definition = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, service in definition["services"].items():
        service["image"] = services if name in _OWN else images[service["image"].endswith("-api")]
        service.pop("build", None)
        # Podman would not restart a container while one that it depends on is down. Docker does.
        service.pop("depends_on", None)
        service.get("healthcheck", {}).pop("start_interval", None)  # new in podman 5
    file.write_text(yaml.safe_dump(definition), encoding="utf-8")
    with reserved_ports(2) as [port, tls_port]:
        settings = {
            **{"POSTGRES_PASSWORD": PASSWORD, "FX_DAGSTER_PASSWORD": PASSWORD, **SANDBOX},
            **{"FX_PUBLIC_URL": f"http://127.0.0.1:{port}", "FX_HTTP_PORT": port, "FX_HTTPS_PORT": tls_port},
            **{"FX_REPLICA_URL": "file:///replica"},
        }
        (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        running = Composed(podman, folder, port)
        chosen = [option for profile in ("demo", *profiles) for option in ("--profile", profile)]
        try:
            running.compose(*chosen, "up", "--detach")
            yield running
        finally:
            running.compose(*_of_all(definition), "down", "--volumes", "--timeout", "20")


def _of_all(definition: Mapping[str, Any]) -> list[str]:
    """Return the options for all profiles."""
    profiles = {name for service in definition["services"].values() for name in service.get("profiles", ())}
    return [option for profile in sorted(profiles) for option in ("--profile", profile)]
