"""The wheel and the sdist: what is in them, and that everything runs from the wheel."""

import subprocess
from pathlib import Path

import pytest
import requests

from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.command_line import problems, run_command
from fx_pipeline_tests.deploy.installation import build, contents_of_wheel, install, unpacked_sdist, wheel_in
from fx_pipeline_tests.deploy.locks import API
from fx_pipeline_tests.processes.running_up import up
from fx_pipeline_tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

OUTSIDE = (
    *("datasette_config", "workspace.yaml", "dagster.yaml", ".env.example"),
    *("deploy/systemd", "deploy/nginx", "docs/operations/runbook.md"),
)
"""What the wheel has in `fx_pipeline/files/`."""

MORE_IN_SDIST = {
    *(".gitignore", "CHANGELOG.md", "COMMIT", "LICENSE", "PKG-INFO", "README.md"),
    *("hatch_build.py", "pyproject.toml"),
}

READ = (
    "/rates/latest",
    "/rates/2026-03-09/?symbols=USD",
    "/rates/openapi.json",
    "/rates/docs/",
    "/",
    "/coverage",
    "/currency/USD",
    "/fx/rates.csv",
    "/static/pages.css",
    "/-/health",
)

CLIENT = {"name": "test", "version": "1"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    return folder


def sources() -> set[str]:
    """Return the files of the checkout that belong into the wheel."""
    listed = ["git", "-C", str(PROJECT), "ls-files", "-co", "--exclude-standard", "fx_pipeline", *OUTSIDE]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in names if (PROJECT / name).exists()}


def test_the_wheel_has_every_file_and_no_other(built: Path) -> None:
    found = {name for name in contents_of_wheel(built) if ".dist-info/" not in name}
    moved = {name if name.startswith("fx_pipeline/") else f"fx_pipeline/files/{name}" for name in sources()}
    assert found == {*moved, "fx_pipeline/files/COMMIT"}
    assert {"fx_pipeline/files/datasette_config/settings.json", "fx_pipeline/py.typed"} <= found


def test_the_sdist_has_what_builds_the_wheel_and_no_more(built: Path) -> None:
    project = unpacked_sdist(built)
    found = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert found == sources() | MORE_IN_SDIST


def test_the_checkout_makes_the_same_wheel_as_the_sdist(built: Path, tmp_path: Path) -> None:
    build(tmp_path, "--wheel")
    assert contents_of_wheel(tmp_path) == contents_of_wheel(built)


def test_an_editable_install_reads_the_checkout() -> None:
    assert (PROJECT / "pyproject.toml").is_file()
    assert not (PROJECT / "fx_pipeline" / "files").exists()


def test_everything_runs_from_the_wheel(built: Path, tmp_path: Path) -> None:
    programs = install(tmp_path / "environment", "requirements.lock", wheel_in(built))
    program = [str(programs / "fx-pipeline")]
    folder = tmp_path / "exchange rates"
    folder.mkdir()

    commit = run_command(folder, "--version").stdout.partition(" (")[2]
    version = wheel_in(built).name.split("-")[1]
    assert run_command(folder, "--version", program=program).stdout == f"fx-pipeline {version} ({commit}"
    assert list(folder.iterdir()) == []
    assert run_command(folder, "init", program=program).returncode == 0

    with up(folder, program=program) as running:
        running.wait_until_ready()
        latest = running.get("/rates/latest")
        assert (latest.status_code, latest.json()["base"]) == (200, "EUR")
        page = running.get("/")
        assert page.status_code == 200
        assert "/static/pages.css" in page.text
        assert running.get("/static/pages.css").text == (
            PROJECT / "datasette_config" / "static" / "pages.css"
        ).read_text(encoding="utf-8")
        assert running.get("/fx?sql=select+1").status_code == 403
        assert running.get("/fx.json?sql=select+1").status_code == 403
        assert running.location() == "RepositoryLocation"
        assert len(running.processes()) >= 5

        assert running.interrupt() == 0
        assert running.processes() == set()
    assert sorted(path.name for path in folder.iterdir()) == [".env", "data", "up.log"]


def test_the_api_runs_with_only_its_lock(built: Path, tmp_path: Path) -> None:
    programs = install(tmp_path / "environment", API, wheel_in(built))
    absent = (
        "import importlib.util as i, sys; sys.exit(any(map(i.find_spec, ('dagster', 'pandas', 'numpy'))))"
    )
    assert run_command(tmp_path, "-c", absent, program=[str(programs / "python")]).returncode == 0

    database = tmp_path / "fx.db"
    program = [str(programs / "fx-pipeline")]
    refused = run_command(tmp_path, "ingest", "--days", "1", program=program)
    assert refused.returncode == 1
    [problem] = problems(refused.stderr)
    assert "is not installed, so this installation cannot run this command." in problem
    History(database).fetch("2026-03-10T00:05:00.000000Z", {"2026-03-09": {"EUR": 1, "USD": 1.165}})
    with serving(database, tmp_path / "log", program=program) as server:
        for path in READ:
            assert server.get(path)[0] == 200, path
        assert server.get("/fx?sql=select+1")[0] == 403
        greeting = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": CLIENT}
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": greeting}
        accepted = {"Accept": "application/json, text/event-stream"}
        answer = requests.post(f"{server.url}/-/mcp", json=message, headers=accepted, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text

        made = run_command(tmp_path, "token", "create", "reader", program=program, FX_DATABASE=str(database))
        assert made.returncode == 0, made.stderr
        assert server.get("/rates/latest")[0] == 401
        bearer = {"Authorization": f"Bearer {made.stdout.split()[-1]}"}
        assert server.get("/rates/latest", bearer)[0] == 200
