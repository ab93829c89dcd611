"""fx-pipeline as a code location of another Dagster deployment, as docs/operations/embedding.md says."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from fx_pipeline.dagster_ui.launching import LAUNCH, REPOSITORIES
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.ports import reserved_ports
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.snippets import snippets
from fx_pipeline_tests.stored import stored_dates
from fx_pipeline_tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow

PAGE = (PROJECT / "docs" / "operations" / "embedding.md").read_text(encoding="utf-8")
MODULE, SERVER = snippets("yaml", PAGE)
[START] = [line for line in "".join(snippets("sh", PAGE)).splitlines() if line.startswith("dagster ")]

PROGRAMS = Path(sys.executable).parent

THEIRS = """\
# Ours, not that of fx-pipeline.
telemetry: {enabled: false}
run_coordinator: {module: dagster._core.run_coordinator, class: DefaultRunCoordinator}
"""

OTHER = """
import dagster as dg

@dg.asset
def customers() -> None: ...

defs = dg.Definitions([customers])
"""

DAGSTERS_OWN = re.compile(
    r"history/runs(/index|/[0-9a-f-]{36})?\.db(-\w+)?|history/runs\.db(-\w+)?|schedules/schedules\.db(-\w+)?"
    r"|storage/[0-9a-f-]{36}/.*|storage/\.keep|logs/.*|\.logs_queue/.*|\.telemetry/.*"
)

RUN = """query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"""


class Deployment:
    """A folder with a Dagster home and a workspace of its owner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "their home"
        self.database = folder / "rates" / "fx.db"
        self.settings = {
            "DAGSTER_HOME": str(self.home),
            "FX_DATABASE": str(self.database),
            "FIXER_ACCESS_KEY": "any",
        }
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(THEIRS, encoding="utf-8")
        (folder / "other.py").write_text(OTHER, encoding="utf-8")

    @contextmanager
    def running(self, command: Sequence[str], log: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a program of Dagster until the block ends."""
        with (self.folder / log).open("wb") as output:
            process = subprocess.Popen(
                [str(PROGRAMS / command[0]), *command[1:]],
                cwd=self.folder,
                env=environment(**self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            wait_until_gone(process)
            wait_for(lambda: not _group_exists(process.pid))

    def files_in_home(self) -> set[str]:
        """Return the files in the home that neither its owner nor Dagster has written."""
        files = {path.relative_to(self.home).as_posix() for path in self.home.rglob("*") if path.is_file()}
        return {name for name in files - {"dagster.yaml"} if not DAGSTERS_OWN.fullmatch(name)}

    def assert_home_is_theirs(self) -> None:
        """Fail if something of fx-pipeline is in the home."""
        assert (self.home / "dagster.yaml").read_text(encoding="utf-8") == THEIRS
        assert self.files_in_home() == set()


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def listens(port: int) -> bool:
    """Return whether a server of this machine listens on the port."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


@pytest.mark.parametrize("variant", ["python_module", "grpc_server"])
def test_a_job_runs_in_their_deployment(variant: str, deployment: Deployment) -> None:
    workspace = yaml.safe_load(MODULE if variant == "python_module" else SERVER)
    workspace["load_from"].append({"python_file": {"relative_path": "other.py", "location_name": "other"}})
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox())
        port, code_port = stack.enter_context(reserved_ports(2))
        deployment.settings["FIXER_BASE_URL"] = sandbox.url
        if variant == "grpc_server":
            workspace["load_from"][0]["grpc_server"]["port"] = code_port
            command = START.replace("4000", str(code_port)).split()
            stack.enter_context(deployment.running(command, "code.log"))
            # Dagster's webserver does not try again if the code server does not listen yet.
            wait_for(lambda: listens(code_port))
        file = deployment.folder / "workspace.yaml"
        file.write_text(yaml.safe_dump(workspace), encoding="utf-8")
        webserver = ["dagster-webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(file)]
        stack.enter_context(deployment.running(webserver, "webserver.log"))

        def graphql(query: str, **variables: Any) -> Any:
            address = f"http://127.0.0.1:{port}/graphql"
            sent = {"query": query, "variables": variables}
            document = requests.post(address, json=sent, timeout=PATIENCE).json()
            assert "errors" not in document, document
            return document["data"]

        def locations() -> set[str]:
            try:
                found = graphql(REPOSITORIES)["repositoriesOrError"]["nodes"]
            except requests.ConnectionError:
                return set()
            return {repository["location"]["name"] for repository in found}

        wait_for(lambda: locations() == {"fx_pipeline", "other"}, pause=0.5)
        selector = {
            "repositoryLocationName": "fx_pipeline",
            "repositoryName": "__repository__",
            "jobName": "rates_job",
        }
        tags = [{"key": "dagster/partition", "value": "2024-01-02"}]
        parameters = {
            "selector": selector,
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": tags},
        }
        launched = graphql(LAUNCH, executionParams=parameters)["launchPipelineExecution"]
        assert "run" in launched, launched
        run = launched["run"]["runId"]
        ends = {"SUCCESS", "FAILURE", "CANCELED"}
        status = wait_for(lambda: graphql(RUN, id=run)["runOrError"]["status"], ends.__contains__, pause=0.5)
        assert status == "SUCCESS"
    assert stored_dates(deployment.database) == {"2024-01-02"}
    deployment.assert_home_is_theirs()
    assert not (deployment.folder / "data").exists()


def test_dagster_finds_no_problem_in_the_definitions(deployment: Deployment) -> None:
    command = ["definitions", "validate", "--module-name", "fx_pipeline.definitions"]
    done = run_command(
        deployment.folder, *command, program=[str(PROGRAMS / "dagster")], **deployment.settings
    )
    assert done.returncode == 0, done.stderr
    assert "All code locations passed validation." in done.stdout + done.stderr
    # Dagster warns of this command itself.
    lines = (done.stdout + done.stderr).splitlines()
    warnings = [line for line in lines if "arning" in line and "Supersession" not in line]
    assert warnings == []
    deployment.assert_home_is_theirs()


def test_a_dg_workspace_finds_no_problem(deployment: Deployment) -> None:
    project, workspace = snippets("toml", PAGE)
    [definitions] = snippets("python", PAGE)
    package = deployment.folder / "fixer" / "fixer_rates"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "definitions.py").write_text(definitions, encoding="utf-8")
    (package.parent / "pyproject.toml").write_text(project, encoding="utf-8")
    (deployment.folder / "dg.toml").write_text(workspace, encoding="utf-8")
    done = run_command(
        deployment.folder,
        *("check", "defs", "--use-active-venv"),
        program=[str(PROGRAMS / "dg")],
        VIRTUAL_ENV=str(PROGRAMS.parent),
        **deployment.settings,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "All definitions loaded successfully."
    assert "arning" not in done.stdout + done.stderr
    deployment.assert_home_is_theirs()
