"""The files of an installation: nothing starts without them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fx_pipeline.installed import REQUIRED
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.command_line import environment, run_command

COMMANDS = (["serve"], ["up"], ["webserver"], ["ingest", "--days", "1"])


@pytest.fixture(scope="module")
def incomplete(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with only the package, as in a wheel that was built without the files."""
    folder = tmp_path_factory.mktemp("site packages")
    shutil.copytree(PROJECT / "fx_pipeline", folder / "fx_pipeline")
    return folder


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_refuses_to_start_without_the_files(command: list[str], incomplete: Path) -> None:
    done = run_command(incomplete, *command, PYTHONPATH=str(incomplete))
    missing = incomplete / "datasette_config" / "metadata.yaml"
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {missing} is missing, so this installation is incomplete: install fx-pipeline again.\n"
    )
    assert {path.name for path in incomplete.iterdir()} <= {"fx_pipeline"}


def test_a_worker_refuses_to_start_without_the_files(incomplete: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uvicorn", "--factory", "fx_pipeline.api.app:create_app", "--port", "1"],
        cwd=incomplete,
        env=environment(PYTHONPATH=str(incomplete)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "metadata.yaml is missing, so this installation is incomplete" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", REQUIRED)
def test_each_file_is_required(name: str, incomplete: Path, tmp_path: Path) -> None:
    shutil.copytree(incomplete, tmp_path, dirs_exist_ok=True)
    for other in set(REQUIRED) - {name}:
        (tmp_path / other).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / other, tmp_path / other)
    done = run_command(tmp_path, "status", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path / name} is missing" in done.stderr


def test_the_version_is_shown_with_the_commit_of_the_checkout(tmp_path: Path) -> None:
    if not (PROJECT / ".git").exists():
        pytest.skip("needs a git checkout")
    done = run_command(tmp_path, "--version")
    head = ["git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD"]
    commit = subprocess.run(head, capture_output=True, text=True, check=True).stdout.strip()
    assert re.fullmatch(rf"fx-pipeline \S+ \(commit {commit}(-dirty)?\)\n", done.stdout)


def test_an_installation_without_a_commit_shows_only_the_version(incomplete: Path) -> None:
    done = run_command(incomplete, "--version", PYTHONPATH=str(incomplete))
    assert re.fullmatch(r"fx-pipeline [0-9.]+\n", done.stdout)
