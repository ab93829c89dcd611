"""The walk-through in docs/sandbox.md: a day that cannot be fetched, and its repair."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.proofs.runs import FAILED, MATERIALIZED, shown_in_ui
from fx_pipeline_tests.waiting import PATIENCE, wait_for

TEXT = (PROJECT / "docs" / "sandbox.md").read_text(encoding="utf-8").partition("## Try a failure")[2]
SANDBOX, FETCH, REPAIR = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
DAY = "2024-03-01"
PROGRAM = f"{shlex.quote(sys.executable)} -m fx_pipeline"


@contextmanager
def running(command: str, port: int) -> Iterator[None]:
    """Run the command of a sandbox on this port."""
    words = shlex.split(command.replace(".venv/bin/fx-pipeline", PROGRAM))
    with subprocess.Popen(
        [*words, "--port", str(port)], env=environment(), stderr=subprocess.DEVNULL
    ) as sandbox:

        def listens() -> bool:
            assert sandbox.poll() is None
            try:
                return requests.get(f"http://127.0.0.1:{port}/-/stats", timeout=PATIENCE).ok
            except requests.ConnectionError:
                return False

        try:
            wait_for(listens)
            yield
        finally:
            sandbox.terminate()
            wait_until_gone(sandbox)


def in_shell(folder: Path, commands: str, port: int) -> int:
    """Run commands of the document in a folder. Return the exit code of the last one."""
    commands = commands.replace("../.venv/bin/fx-pipeline", PROGRAM).replace("8002", str(port))
    return subprocess.run(["bash", "-c", commands], cwd=folder, env=environment(), check=False).returncode


def shown(folder: Path) -> dict[str, set[str]]:
    with open_instance(folder / "data" / "dagster") as instance:
        return shown_in_ui(instance, [DAY])


@pytest.mark.slow
def test_a_failed_day_is_shown_and_repaired(tmp_path: Path) -> None:
    folder = tmp_path / "faulty"
    with reserved_port() as port:
        with running(SANDBOX, port):
            assert in_shell(tmp_path, FETCH, port) == 1
        assert shown(folder) == {FAILED: {DAY}}
        check = run_command(folder, "status", "--check")
        assert check.returncode == 1
        assert (
            "a run failed: rates_job: 1 date: the response has another base than requested: 2024-03-01 ("
            in check.stdout
        )
        with running(SANDBOX.partition("--fault")[0], port):
            assert in_shell(folder, REPAIR, port) == 0
        assert shown(folder) == {MATERIALIZED: {DAY}}
