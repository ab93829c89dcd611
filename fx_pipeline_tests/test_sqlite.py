"""The SQLite of a process: one copy for every library, and a warning about versions that can corrupt data."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fx_pipeline.clock import yesterday
from fx_pipeline.rates import DayRates
from fx_pipeline.sqlite import unsound
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.fetches import fetch_of

MISSING = "raise ImportError"
AFFECTED = "from sqlite3 import *\nsqlite_version, sqlite_version_info = '3.46.1', (3, 46, 1)\n"
WARNING = (
    "SQLite 3.46.1 can corrupt a database that several processes use. Use a Python whose SQLite is 3.51.3 or "
    "newer, or a platform for which the package pysqlite3 has a wheel."
)


def in_place_of_pysqlite3(folder: Path, code: str) -> str:
    """Return a PYTHONPATH on which the module pysqlite3 consists of this code."""
    package = folder / "packages" / "pysqlite3"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    (package / "dbapi2.py").write_text("from sqlite3.dbapi2 import *\n")
    return str(package.parent)


@pytest.mark.parametrize(
    ("version", "is_sound"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), False),
        ((3, 53, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_versions_with_the_fix_are_sound(version: tuple[int, ...], is_sound: bool) -> None:
    assert (unsound(version) is None) is is_sound


@pytest.mark.parametrize("has_wheel", [True, False])
def test_all_libraries_of_a_process_use_the_same_sqlite(tmp_path: Path, has_wheel: bool) -> None:
    """With two copies, each would release the other's locks on a file."""
    if has_wheel:
        pytest.importorskip("pysqlite3", reason="has no wheel for this platform")
    path = "" if has_wheel else in_place_of_pysqlite3(tmp_path, MISSING)
    code = (
        "import datasette.utils.sqlite, sqlite_utils.utils, fx_pipeline.sqlite as ours\n"
        "for theirs in (datasette.utils.sqlite, sqlite_utils.utils):\n"
        "    assert theirs.sqlite3 is ours.sqlite3\n"
        "print(ours.sqlite3.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ("pysqlite3" if has_wheel else "sqlite3")


def test_the_chosen_sqlite_is_sound() -> None:
    pytest.importorskip("pysqlite3", reason="has no wheel for this platform")
    assert unsound() is None


def test_an_affected_version_is_reported_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "data" / "fx.db"
    with RateStore(path) as store:
        store.record([fetch_of(DayRates(date=yesterday(), base="EUR", timestamp=0, rates={"USD": 1.1}))])
    packages = in_place_of_pysqlite3(tmp_path, AFFECTED)

    own = {"PYTHONPATH": packages, "FX_DATABASE": str(path), "FIXER_ACCESS_KEY": "any"}

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return run_command(tmp_path, *arguments, **own, **settings)

    ingest = ("ingest", "--days", "1", "--missing")
    assert f"Warning: {WARNING}" in run(*ingest).stderr.splitlines()
    with serving(path, tmp_path / "log", PYTHONPATH=packages) as server:
        assert json.loads(server.get("/-/health")[1])["sqlite"] == WARNING
    assert f"Warning: {WARNING}" in (tmp_path / "log").read_text().splitlines()

    for command in (ingest, ("serve",)):
        refused = run(*command, FX_REQUIRE_SOUND_SQLITE="1")
        assert refused.returncode == 2
        assert f"Error: {WARNING} FX_REQUIRE_SOUND_SQLITE=1 refuses it." in refused.stderr.splitlines()
