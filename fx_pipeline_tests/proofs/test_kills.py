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

from fx_pipeline.commands.runs import open_instance
from fx_pipeline.defs.partitions import days
from fx_pipeline.rates import date_range
from fx_pipeline_tests.command_line import PROGRAM, environment, run_command
from fx_pipeline_tests.proofs.content import broken, dump, stored_dates
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.seeds import seeded_random

STORED = ("2024-01-01", "2024-01-20")
"""Days that are there before and have other values at the next reading."""

WANTED = ("2024-01-01", "2024-02-19")
"""Days that the killed run asks for: those, and 30 more."""

FORKS = """
import datetime as dt, os, signal, sys, time
from pathlib import Path
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import date_range
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore

dates = list(date_range(*map(dt.date.fromisoformat, sys.argv[2:4])))

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
"""Runs the ingestion in a child for each line, kills it after the seconds in it, and says how it ended."""


class Forks:
    """Runs of the ingestion, each in a process of its own, without the seconds that imports take."""

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
        """Run to the end, or until killed after so many seconds; the exit code, negative for a signal."""
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
    """A file with some days, of which the provider gives other values from now on."""
    ingested = run_command(folder, "ingest", "--from", STORED[0], "--to", STORED[1], **settings(sandbox))
    assert ingested.returncode == 0, ingested.stderr
    sandbox.change(faults={"revision": 1.0})  # for whoever has read a date before, and from then on the same
    sandbox.state.read.update(map(dt.date.fromisoformat, keys()))
    return (folder / "fx.db").rename(folder / "before.db")


def settings(sandbox: Sandbox) -> dict[str, str]:
    return {
        "FIXER_BASE_URL": sandbox.url,
        "FIXER_ACCESS_KEY": "a-key",
        "FX_DATABASE": "fx.db",
        "DAGSTER_HOME": "dagster",
        "FIXER_CONCURRENCY": "1",
    }


def as_before(before: Path, database: Path) -> None:
    for rest in database.parent.glob(f"{database.name}*"):
        if rest.is_dir():
            shutil.rmtree(rest)  # the locks of killed processes
        else:
            rest.unlink()
    shutil.copy(before, database)


@pytest.mark.slow
def test_a_killed_ingestion_leaves_whole_days_and_the_next_one_the_rest(
    folder: Path, sandbox: Sandbox, before: Path
) -> None:
    dice = seeded_random()
    database = folder / "fx.db"
    forks = Forks(folder, sandbox)
    try:
        as_before(before, database)
        assert forks.run() == 0
        undisturbed = dump(database)
        halves = 0
        for _ in range(30):
            as_before(before, database)
            started = time.monotonic()
            assert forks.run() == 0
            duration = time.monotonic() - started
            assert dump(database) == undisturbed
            as_before(before, database)
            ended = forks.run(killed_after=dice.uniform(0, duration))
            assert ended in (0, -signal.SIGKILL)
            assert list(broken(database)) == []
            halves += dump(database) not in (dump(before), undisturbed)
            assert forks.run() == 0
            assert list(broken(database)) == []
            assert dump(database) == undisturbed
    finally:
        forks.close()
    print(f"{halves} of 30 were half way")
    assert halves


def killed(folder: Path, sandbox: Sandbox, command: list[str], after: int) -> None:
    """Run the command and kill it when the sandbox has seen its request number `after`."""
    last = sandbox.stats()["total"] + after
    with subprocess.Popen(
        [*PROGRAM, *command],
        cwd=folder,
        env=environment(**settings(sandbox)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        while sandbox.stats()["total"] < last:
            assert run.poll() is None, f"the command ended before its request number {after}"
            time.sleep(0.005)
        run.kill()


@pytest.mark.slow
def test_a_killed_command_leaves_whole_days_and_the_next_one_the_rest(
    folder: Path, sandbox: Sandbox, before: Path
) -> None:
    dice = seeded_random()
    database = folder / "fx.db"
    command = ["ingest", "--from", WANTED[0], "--to", WANTED[1]]
    as_before(before, database)
    assert run_command(folder, *command, **settings(sandbox)).returncode == 0
    undisturbed = dump(database)
    sandbox.change(latency=0.03)
    for _ in range(3):
        as_before(before, database)
        # With one thread that fetches, the day before the last request may still be about to be stored.
        requests = dice.randint(3, 47)
        killed(folder, sandbox, command, after=requests)
        assert list(broken(database)) == []
        assert dump(database) not in (dump(before), undisturbed)
        again = run_command(folder, *command, **settings(sandbox))
        assert again.returncode == 0, again.stderr
        assert list(broken(database)) == []
        assert dump(database) == undisturbed


@pytest.mark.slow
def test_what_a_killed_command_stored_is_not_asked_again_and_is_shown(folder: Path, sandbox: Sandbox) -> None:
    command = ["ingest", "--from", WANTED[0], "--to", WANTED[1]]
    sandbox.change(latency=0.03)
    killed(folder, sandbox, command, after=20)
    left, asked = stored_dates(folder / "fx.db"), sandbox.stats()["total"]
    assert 0 < len(left) < 50
    # One day more on the other side, so that the run is about what the killed one had stored last, too.
    again = run_command(folder, *command[:-1], "2024-02-20", "--missing", **settings(sandbox))
    assert again.returncode == 0, again.stderr
    assert sandbox.stats()["endpoints"]["historical"]["ok"] - asked == 51 - len(left)
    with open_instance(folder / "dagster") as instance:
        shown = instance.get_status_by_partition(dg.AssetKey("rates"), keys(), days)
        statuses = [run.status for run in instance.get_runs() if run.job_name == "rates_job"]
    assert shown == dict.fromkeys(keys(), dg.AssetPartitionStatus.MATERIALIZED)
    assert statuses[-1] is dg.DagsterRunStatus.FAILURE
    assert set(statuses[:-1]) == {dg.DagsterRunStatus.SUCCESS}


def keys() -> list[str]:
    return [str(date) for date in date_range(*map(dt.date.fromisoformat, WANTED))]
