"""A run finds that another process is fetching one of its days: it waits, reports it, and takes over."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline_tests.command_line import start_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.defs.rates_run import run_rates
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates
from fx_pipeline_tests.waiting import wait_for

DAYS = dates_between("2024-01-01", "2024-01-05")

FETCHING = """
import datetime as dt, socket, sys
from pathlib import Path
socket.gethostname = lambda: "old-container"
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
RateStore(Path("fx.db")).close()
ledger = Ledger(Path("fx.db"), run_id="other")
ledger.open("historical", dt.date(2024, 1, 3), dt.date(2024, 1, 3), base="EUR")
print("fetching", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    with running_sandbox() as sandbox:
        yield sandbox


@contextmanager
def fetching_one_day(folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Yield a process under another host name that is fetching 2024-01-03, and never ends by itself."""
    with subprocess.Popen(
        [sys.executable, "-c", FETCHING], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"fetching\n"
        try:
            yield process
        finally:
            process.kill()


def waiting_messages(instance: dg.DagsterInstance) -> list[str]:
    """Return what the log of the only run reports about waiting."""
    return [
        entry.user_message
        for run in instance.get_runs()
        for entry in instance.all_logs(run.run_id)
        if entry.user_message.startswith("Waiting for ")
    ]


def test_does_not_wait_for_a_killed_process_of_another_host(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    with fetching_one_day(folder) as other:
        other.kill()
    assert run_rates(instance, sandbox, DAYS[0], DAYS[-1]).success
    assert waiting_messages(instance) == []
    assert sandbox.asked_dates() == Counter(DAYS)


def test_waits_for_a_running_process_until_it_ends_and_logs_it(
    folder: Path, instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    with fetching_one_day(folder) as other:
        asked_before: list[Counter[str]] = []

        def kill_once_the_run_waits() -> None:
            wait_for(lambda: waiting_messages(instance))
            asked_before.append(sandbox.asked_dates())
            other.kill()

        killer = threading.Thread(target=kill_once_the_run_waits)
        killer.start()
        result = run_rates(instance, sandbox, DAYS[0], DAYS[-1])
        killer.join()
    assert result.success
    assert asked_before == [Counter(day for day in DAYS if day != "2024-01-03")]
    assert sandbox.asked_dates() == Counter(DAYS)
    assert stored_dates(folder / "fx.db") == set(DAYS)
    assert_consistent(folder / "fx.db")
    [message] = waiting_messages(instance)
    assert message.startswith(f"Waiting for 2024-01-03: process old-container:{other.pid} has been fetching ")


@pytest.mark.slow
def test_the_command_reports_what_it_waits_for(folder: Path, sandbox: Sandbox) -> None:
    settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "FX_DATABASE": "fx.db"}
    with (
        fetching_one_day(folder) as other,
        start_command(folder, "ingest", "--from", DAYS[0], "--to", DAYS[-1], **settings) as command,
    ):
        assert command.stderr is not None
        assert command.stderr.readline().startswith("Database ")
        message = command.stderr.readline()
        other.kill()
        output, errors = command.communicate()
    assert message.startswith(f"Waiting for 2024-01-03: process old-container:{other.pid} has been fetching ")
    assert (command.returncode, errors, output.splitlines()[-1]) == (0, "", "5 days stored.")
    assert sandbox.asked_dates() == Counter(DAYS)
