"""A run finds that another process is fetching one of its days: it waits, says so, and takes over."""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline_tests.command_line import PROGRAM, environment
from fx_pipeline_tests.defs.rates_run import run_rates
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

DAYS = [f"2024-01-0{day}" for day in range(1, 6)]

ASKS = """
import datetime as dt, socket, sys
from pathlib import Path
socket.gethostname = lambda: "old-container"
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
RateStore(Path("fx.db")).close()
ledger = Ledger(Path("fx.db"), run_id="other")
ledger.open("historical", dt.date(2024, 1, 3), dt.date(2024, 1, 3), base="EUR")
print("asked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    with running_sandbox() as sandbox:
        yield sandbox


@contextmanager
def fetching_one_day(folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """A process under another host name that is fetching 2024-01-03, and never ends by itself."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKS], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        try:
            yield process
        finally:
            process.kill()


def waiting(instance: dg.DagsterInstance) -> list[str]:
    """What the log of the only run says of waiting."""
    return [
        entry.user_message
        for run in instance.get_runs()
        for entry in instance.all_logs(run.run_id)
        if entry.user_message.startswith("Waiting for ")
    ]


def test_a_killed_process_of_another_host_name_blocks_nothing(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    with fetching_one_day(folder) as other:
        other.kill()
    assert run_rates(instance, sandbox, DAYS[0], DAYS[-1]).success
    assert waiting(instance) == []
    assert sandbox.asked_dates() == Counter(DAYS)


def test_a_running_one_is_waited_for_until_it_ends_and_the_log_says_so(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    with fetching_one_day(folder) as other:
        asked_before: list[Counter[str]] = []

        def kill_once_it_is_waited_for() -> None:
            while not waiting(instance):
                time.sleep(0.05)
            asked_before.append(sandbox.asked_dates())
            other.kill()

        killer = threading.Thread(target=kill_once_it_is_waited_for)
        killer.start()
        result = run_rates(instance, sandbox, DAYS[0], DAYS[-1])
        killer.join()
    assert result.success
    assert asked_before == [Counter(day for day in DAYS if day != "2024-01-03")]
    assert sandbox.asked_dates() == Counter(DAYS)
    assert stored_dates(folder / "fx.db") == set(DAYS)
    assert list(broken(folder / "fx.db")) == []
    [said] = waiting(instance)
    assert said.startswith(f"Waiting for 2024-01-03: process old-container:{other.pid} has been fetching ")


def test_the_command_says_what_it_waits_for(folder: Path, sandbox: Sandbox) -> None:
    settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "FX_DATABASE": "fx.db"}
    command = [*PROGRAM, "ingest", "--from", DAYS[0], "--to", DAYS[-1]]
    with (
        fetching_one_day(folder) as other,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as run,
    ):
        assert run.stderr is not None
        assert run.stderr.readline().startswith("Database ")
        said = run.stderr.readline()
        other.kill()
        output, errors = run.communicate()
    assert said.startswith(f"Waiting for 2024-01-03: process old-container:{other.pid} has been fetching ")
    assert (run.returncode, errors, output.splitlines()[-1]) == (0, "", "5 days stored.")
    assert sandbox.asked_dates() == Counter(DAYS)
