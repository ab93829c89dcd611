"""A file that cannot be used: the command prints one clear line, fails, and damages nothing."""

import datetime as dt
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.rates import DayRates
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import messages, problems, run_command
from fx_pipeline_tests.disks import remount, small_disk
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates

BARELY = """
import ctypes, os, resource, sys
file_size, *arguments = sys.argv[1:]
if os.geteuid() == 0:
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: file modes then hold for root too
        assert ctypes.CDLL(None).prctl(24, capability, 0, 0, 0) == 0  # PR_CAPBSET_DROP
if file_size != "any":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(file_size), int(file_size)))
os.execv(sys.executable, [sys.executable, "-m", "fx_pipeline", *arguments])
"""
"""Runs the command without root's right to write everywhere, and with a limit on the size of its files."""

NOT_STORED = "The last write is lost. Everything before it is stored."
DAYS = ["--from", "2024-01-01", "--to", "2024-06-30"]
MONTH = ["--from", "2024-06-01", "--to", "2024-06-30"]
FIRST = ["--from", "2024-07-01", "--to", "2024-07-03"]


def barely(
    folder: Path, *arguments: str, settings: dict[str, str], file_size: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `fx-pipeline` with only the rights that file modes give."""
    program = (sys.executable, "-c", BARELY, str(file_size or "any"))
    return run_command(folder, *arguments, program=program, **settings)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(currencies=700) as sandbox:
        yield sandbox


@pytest.fixture
def settings(sandbox: Sandbox) -> dict[str, str]:
    return {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "FX_DATABASE": "kept/fx.db"}


@pytest.fixture
def database(folder: Path) -> Path:
    """Return a file with three days from the sandbox, in a folder of its own."""
    path = folder / "kept" / "fx.db"
    store_days(path)
    return path


def store_days(path: Path, provider: str = "sandbox", base: str = "EUR") -> None:
    days = [
        DayRates(date=dt.date(2024, 7, day), base=base, timestamp=0, rates={"CHF": 0.95}) for day in (1, 2, 3)
    ]
    with RateStore(path) as store:
        store.record([fetch_of(day, provider=provider) for day in days])


@pytest.mark.slow
def test_a_full_disk_keeps_stored_days_and_the_next_run_fetches_the_rest(
    folder: Path, settings: dict[str, str]
) -> None:
    kept = folder / "kept"
    kept.mkdir()
    with small_disk(kept, "1700k") as mounted:
        done = barely(folder, "ingest", *FIRST, settings=settings)
        assert done.returncode == 0, done.stderr
        # The limit holds for Dagster's files too. Only a month in one response needs more than they do.
        limit = None if mounted else 900_000
        settings["FIXER_TIMESERIES"] = "0" if mounted else "1"
        done = barely(folder, "ingest", *MONTH, file_size=limit, settings=settings)
        print("a full tmpfs" if mounted else "a limit to the size of files")
        said, missing = problems(done.stderr)
        reason = (
            "the disk is full."
            if mounted
            else "the file could not be read or written (disk I/O error): the disk is full or faulty, or a "
            "file size limit is reached."
        )
        assert said.startswith(f"failed  {kept}/fx.db: {reason} {NOT_STORED} ")
        assert said.endswith(" and run the dates again.")
        assert missing.startswith("Not fetched: 2024-06-01")
        assert done.returncode == 1
        database = kept / "fx.db"
        assert_consistent(database)
        left = stored_dates(database)
        print(f"{len(left)} days stored")
        assert {"2024-07-01", "2024-07-02", "2024-07-03"} <= left
        more = len(left) - 3
        assert done.stdout.endswith(f"{more} day{'' if more == 1 else 's'} stored.\n")
        if mounted:
            remount(kept, "size=20m")
        again = run_command(folder, "ingest", *MONTH, "--missing", **settings)
        assert again.returncode == 0, again.stderr
        assert len(stored_dates(database)) == 33
        assert_consistent(database)


@pytest.mark.slow
def test_a_full_disk_under_dagsters_home_is_one_line_and_leaves_the_database_whole(
    folder: Path, settings: dict[str, str]
) -> None:
    home = folder / "home"
    home.mkdir()
    # With few currencies, Dagster's files are the first to reach a limit on all files.
    with running_sandbox(currencies=5) as sandbox, small_disk(home, "1800k") as mounted:
        settings |= {"DAGSTER_HOME": str(home), "FIXER_BASE_URL": sandbox.url}
        done = barely(folder, "ingest", *DAYS, file_size=None if mounted else 310_000, settings=settings)
        [said] = problems(done.stderr)
        assert said.startswith(f"Error: Dagster's home {home} cannot be ")
        # SQLite reports an I/O error if its shared-memory file does not fit.
        assert "(database or disk is full)" in said or "(disk I/O error)" in said
        assert done.returncode == 1
    database = folder / "kept" / "fx.db"
    assert_consistent(database)
    assert stored_dates(database)


@pytest.mark.parametrize(("locked", "mode"), [("kept/fx.db", 0o444), ("kept", 0o555)])
@pytest.mark.parametrize("arguments", [["ingest", *FIRST], ["rebuild"]], ids=["ingest", "rebuild"])
def test_names_a_file_that_may_not_be_written(
    folder: Path,
    database: Path,
    settings: dict[str, str],
    sandbox: Sandbox,
    locked: str,
    mode: int,
    arguments: list[str],
) -> None:
    before, asked = database.read_bytes(), sandbox.stats()["total"]
    (folder / locked).chmod(mode)
    try:
        done = barely(folder, *arguments, settings=settings)
    finally:
        (folder / locked).chmod(0o755)
    assert (done.returncode, done.stdout, messages(done.stderr)) == (
        1,
        "",
        f"Error: {database}: the file or its folder is not writable. Give this user write permission "
        "for both.\n",
    )
    assert sandbox.stats()["total"] == asked
    assert database.read_bytes() == before


def test_names_a_folder_that_cannot_be_created(folder: Path, settings: dict[str, str]) -> None:
    (folder / "locked").mkdir(mode=0o555)
    settings["FX_DATABASE"] = "locked/kept/fx.db"
    done = barely(folder, "ingest", settings=settings)
    assert (done.returncode, done.stdout, messages(done.stderr)) == (
        1,
        "",
        f"Error: {folder}/locked/kept/fx.db: its folder cannot be created (Permission denied). Give this "
        "user permission to create it, or set FX_DATABASE to another place.\n",
    )
    assert list((folder / "locked").iterdir()) == []


def made_by_others(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (text)")


def written(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("make", "changed", "says"),
    [
        (
            store_days,
            {"FX_BASE": "USD"},
            "kept/fx.db holds rates with base EUR, not USD: set FX_BASE back to EUR, or FX_DATABASE to "
            "another file.",
        ),
        (
            store_days,
            {"FIXER_BASE_URL": "https://api.apilayer.com/fixer"},
            "kept/fx.db holds rates from the sandbox. Rates from Fixer are not added to them, because some "
            "of the sandbox's rates are made up. Remove the demo's data folder, or set FX_DATABASE and "
            "DAGSTER_HOME to new places.",
        ),
        (
            lambda path: store_days(path, "fixer"),
            {"FIXER_BASE_URL": "", "FIXER_ACCESS_KEY": ""},
            "kept/fx.db holds rates from Fixer. Rates from the sandbox are not added to them, because some "
            "of the sandbox's rates are made up. Set FIXER_ACCESS_KEY again, or set FX_DATABASE and "
            "DAGSTER_HOME to new places.",
        ),
        (
            lambda path: written(path, "these are notes, and long enough to be read as a header"),
            {},
            "kept/fx.db: this is not a SQLite database. Set FX_DATABASE to another file.",
        ),
        (
            made_by_others,
            {},
            "kept/fx.db is a database, but not one of fx-pipeline: set FX_DATABASE to another file.",
        ),
    ],
    ids=["another base", "sandbox, then Fixer", "Fixer, then sandbox", "no database", "of something else"],
)
def test_leaves_a_foreign_file_unchanged_and_calls_no_provider(
    folder: Path,
    settings: dict[str, str],
    make: Callable[[Path], None],
    changed: dict[str, str],
    says: str,
) -> None:
    path = folder / "kept" / "fx.db"
    path.parent.mkdir()
    make(path)
    before = path.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as listener:  # in place of every provider
        port = listener.getsockname()[1]
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://127.0.0.1:{port}")
        providers = {"FIXER_BASE_URL": proxies["HTTP_PROXY"], "FX_SANDBOX_PORT": str(port)}
        done = run_command(folder, "ingest", *FIRST, **{**settings, **proxies, **providers, **changed})
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (done.returncode, done.stdout, messages(done.stderr)) == (1, "", f"Error: {folder}/{says}\n")
    assert path.read_bytes() == before
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    "command", [["ingest", *FIRST], ["rebuild"], ["token", "create", "a"], ["serve"], ["up"]]
)
def test_refuses_a_database_of_a_newer_version_and_leaves_it_unchanged(
    folder: Path, database: Path, settings: dict[str, str], command: list[str]
) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('fx_pipeline', 'add_a_later_column', '2030-01-01')"
        )
    before = database.read_bytes()
    done = run_command(folder, *command, **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert messages(done.stderr) == (
        f"Error: {database} was written by a newer fx-pipeline, whose schema has the step "
        "add_a_later_column. Install that version again, or restore the backup from before the upgrade.\n"
    )
    assert database.read_bytes() == before
