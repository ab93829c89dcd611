"""The first day of an empty database: served before Dagster is imported, and part of the run that follows."""

import datetime as dt
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fx_pipeline.commands.first_day import store_first_day
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.stored import rows, stored_dates

DAY = dt.date(2024, 3, 1)


@pytest.fixture
def demo(sandbox: Sandbox) -> dict[str, str]:
    """Return settings without a key: the sandbox replaces Fixer."""
    return {"FX_SANDBOX_PORT": str(urlsplit(sandbox.url).port)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "fx.db"


def store(demo: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in demo.items():
        monkeypatch.setenv(name, value)
    store_first_day(load_settings(), DAY, "a-run")


def test_it_is_stored_for_the_run_that_follows(
    demo: dict[str, str], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    store(demo, monkeypatch)
    assert stored_dates(file) == {str(DAY)}
    assert rows(file, "SELECT run_id, status, calls FROM fetches") == [("a-run", "ok", 1)]


def test_it_is_left_to_the_run_if_it_cannot_be_fetched(
    sandbox: Sandbox, demo: dict[str, str], monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    sandbox.change(faults={"server-error": 1.0})
    store(demo, monkeypatch)
    assert stored_dates(file) == set()
    assert sandbox.stats()["total"] == 1


def test_neither_dagster_nor_pandas_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys, fx_pipeline.commands.ingest, fx_pipeline.commands.first_day; "
        "print({'pandas', 'numpy', 'dagster'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, text=True, cwd=tmp_path, env=environment()) == "set()\n"


@pytest.mark.slow
def test_an_ingest_requests_each_day_once_and_reports_all(
    sandbox: Sandbox, demo: dict[str, str], tmp_path: Path, file: Path
) -> None:
    done = run_command(tmp_path, "ingest", "--from", "2024-02-28", "--to", str(DAY), **demo)
    assert (done.returncode, done.stdout) == (
        0,
        "2024-02-28 to 2024-03-01  31 inserted, 0 updated, 0 unchanged, 0 rejected each day\n"
        "3 days stored.\n",
    )
    assert sandbox.asked_dates() == {"2024-02-28": 1, "2024-02-29": 1, str(DAY): 1}
    [(of_one_run,)] = rows(file, "SELECT count(DISTINCT run_id) FROM fetches WHERE endpoint = 'historical'")
    assert of_one_run == 1
