"""A run is killed at a random moment: it leaves no half-stored day, and the next run fetches the rest."""

import datetime as dt
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.child_processes import wait_while_running
from fx_pipeline_tests.command_line import environment, run_command, start_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.proofs.runs import MATERIALIZED, shown_in_ui
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.seeds import seeded_random
from fx_pipeline_tests.storages import Storage, on_both_storages
from fx_pipeline_tests.stored import assert_consistent, dump, stored_dates

pytestmark = pytest.mark.slow

STORED = dates_between("2024-01-01", "2024-01-20")
"""Days that are stored before the killed run, which gets other values for them."""

WANTED = dates_between("2024-01-01", "2024-02-19")
"""Days that the killed run fetches: those, and 30 more."""

COMMAND = ["ingest", "--from", WANTED[0], "--to", WANTED[-1]]

FORKS = """
import datetime as dt, os, signal, sys, time
from pathlib import Path
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore

dates = [dt.date.fromisoformat(date) for date in sys.argv[2:]]

def run():
    with (
        RateStore(Path("fx.db")) as store,
        Ledger(Path("fx.db"), limit=100_000, run_id=str(os.getpid())) as ledger,
        FixerClient(sys.argv[1], "a-key") as client,
    ):
        for outcome in ingest(plan_calls(dates), client, store, ledger):
            assert outcome.stored

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    if line.strip():
        time.sleep(float(line))
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Forks an ingestion for each line of stdin, kills it after that many seconds, and prints its exit code."""


class Forks:
    """Ingestions in processes of their own, without the seconds that imports take."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS, sandbox.url, *WANTED],
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, killed_after: float | None = None) -> int:
        """Run to the end, or until killed. Return the exit code, which is negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n" if killed_after is None else f"{killed_after}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(latency=0.005) as sandbox:
        yield sandbox


@pytest.fixture
def before(folder: Path, sandbox: Sandbox) -> Path:
    """Return a file with some days, for which the provider sends other values from now on."""
    done = run_command(folder, "ingest", "--from", STORED[0], "--to", STORED[-1], **settings(sandbox))
    assert done.returncode == 0, done.stderr
    sandbox.change(faults={"revision": 1.0})  # of every date that has been read before
    sandbox.state.read.update(map(dt.date.fromisoformat, WANTED))
    return (folder / "fx.db").rename(folder / "before.db")


def settings(sandbox: Sandbox) -> dict[str, str]:
    return {
        "FIXER_BASE_URL": sandbox.url,
        "FIXER_ACCESS_KEY": "a-key",
        "FX_DATABASE": "fx.db",
        "DAGSTER_HOME": "dagster",
        "FIXER_CONCURRENCY": "1",
    }


def restore(before: Path, database: Path) -> None:
    for path in database.parent.glob(f"{database.name}*"):
        if path.is_dir():
            shutil.rmtree(path)  # the locks of killed processes
        else:
            path.unlink()
    shutil.copy(before, database)


def test_a_killed_ingestion_stores_whole_days_only(folder: Path, sandbox: Sandbox, before: Path) -> None:
    dice = seeded_random()
    database = folder / "fx.db"
    forks = Forks(folder, sandbox)
    try:
        restore(before, database)
        assert forks.run() == 0
        undisturbed = dump(database)
        interrupted = 0
        for _ in range(15):
            restore(before, database)
            started = time.monotonic()
            assert forks.run() == 0
            duration = time.monotonic() - started
            assert dump(database) == undisturbed
            restore(before, database)
            assert forks.run(killed_after=dice.uniform(0, duration)) in (0, -signal.SIGKILL)
            assert_consistent(database)
            interrupted += dump(database) not in (dump(before), undisturbed)
            assert forks.run() == 0
            assert_consistent(database)
            assert dump(database) == undisturbed
    finally:
        forks.close()
    print(f"{interrupted} of 15 were killed halfway")
    assert interrupted


def kill_after(requests: int, folder: Path, sandbox: Sandbox, **storage: str) -> None:
    """Run the command, and kill it when the sandbox has had this many requests from it."""
    last = sandbox.stats()["total"] + requests
    with start_command(folder, *COMMAND, **settings(sandbox), **storage) as command:
        wait_while_running(command, lambda: sandbox.stats()["total"] >= last)
        command.kill()


def test_a_killed_command_stores_whole_days_only(folder: Path, sandbox: Sandbox, before: Path) -> None:
    dice = seeded_random()
    database = folder / "fx.db"
    restore(before, database)
    assert run_command(folder, *COMMAND, **settings(sandbox)).returncode == 0
    undisturbed = dump(database)
    sandbox.change(latency=0.03)
    for _ in range(2):
        restore(before, database)
        # With one fetching thread, the day before the last request may not be stored yet.
        kill_after(dice.randint(3, len(WANTED) - 3), folder, sandbox)
        assert_consistent(database)
        assert dump(database) not in (dump(before), undisturbed)
        again = run_command(folder, *COMMAND, **settings(sandbox))
        assert again.returncode == 0, again.stderr
        assert_consistent(database)
        assert dump(database) == undisturbed


@on_both_storages
def test_days_of_a_killed_command_are_not_fetched_again_and_are_shown(
    folder: Path, sandbox: Sandbox, storage: Storage
) -> None:
    sandbox.change(latency=0.03)
    kill_after(20, folder, sandbox, **storage)
    left, calls = stored_dates(folder / "fx.db"), sandbox.stats()["total"]
    assert 0 < len(left) < len(WANTED)
    # One later day, so that the run covers the days that the killed one stored last, too.
    again = run_command(folder, *COMMAND[:-1], "2024-02-20", "--missing", **settings(sandbox), **storage)
    assert again.returncode == 0, again.stderr
    assert sandbox.stats()["endpoints"]["historical"]["ok"] - calls == len(WANTED) + 1 - len(left)
    with open_instance(folder / "dagster") as instance:
        shown = shown_in_ui(instance, WANTED)
        statuses = [run.status for run in instance.get_runs() if run.job_name == "rates_job"]
    assert shown == {MATERIALIZED: set(WANTED)}
    assert statuses[-1] is dg.DagsterRunStatus.FAILURE
    assert set(statuses[:-1]) == {dg.DagsterRunStatus.SUCCESS}
