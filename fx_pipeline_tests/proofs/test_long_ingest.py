"""An ingest of several runs: it shows how far it is, and starts no further run that would be in vain."""

import datetime as dt
import json
import os
import pty
import shlex
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.commands.runs import open_instance
from fx_pipeline.rates import date_range
from fx_pipeline_tests.command_line import PROGRAM, environment, messages, run_command
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

APART = [dt.date(2024, 1, 1) + dt.timedelta(days=2 * number) for number in range(9)]
"""Dates of which each is a run of its own."""

NAMED = [argument for date in APART for argument in ("--date", str(date))]

GO_ON = "continue with fx-pipeline "


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(key="good") as sandbox:
        yield sandbox


def settings(sandbox: Sandbox, **others: str) -> dict[str, str]:
    return {
        "FIXER_BASE_URL": sandbox.url,
        "FIXER_ACCESS_KEY": "good",
        "DAGSTER_HOME": "dagster",
        "FX_DATABASE": "fx.db",
        **others,
    }


def runs(folder: Path) -> list[tuple[str, str, str]]:
    """The first and last day and the status of each run of the rates, in the order they were started."""
    with open_instance(folder / "dagster") as instance:
        tags = [
            (
                run.tags["dagster/asset_partition_range_start"],
                run.tags["dagster/asset_partition_range_end"],
                run.status,
            )
            for run in instance.get_runs(dg.RunsFilter(job_name="rates_job"))
        ]
    return [(first, last, status.value) for first, last, status in reversed(tags)]


def goes_on(folder: Path, sandbox: Sandbox, errors: str, wanted: Sequence[dt.date]) -> None:
    """The command that was named fetches the rest, and only that."""
    [command] = [line.removeprefix(GO_ON) for line in errors.splitlines() if line.startswith(GO_ON)]
    rest = {str(date) for date in wanted} - stored_dates(folder / "fx.db")
    before = sandbox.asked_dates()
    done = run_command(folder, *shlex.split(command), **settings(sandbox))
    assert done.returncode == 0, done.stderr
    assert sandbox.asked_dates() - before == Counter(rest)
    assert stored_dates(folder / "fx.db") == {str(date) for date in wanted}
    assert list(broken(folder / "fx.db")) == []


@pytest.mark.slow
def test_plain_lines_show_each_run_and_the_result_is_one(folder: Path, sandbox: Sandbox) -> None:
    span = ["--from", "2023-12-20", "--to", "2024-03-31"]
    done = run_command(folder, "ingest", *span, **settings(sandbox))
    assert done.returncode == 0
    assert messages(done.stderr).splitlines() == [
        "Fetching 103 days, newest first: 2024-03-31 back to 2023-12-20.",
        "2024-03-31 back to 2023-12-23: 100 stored; 100 of 103 days.",
        "2023-12-22 back to 2023-12-20: 3 stored; 103 of 103 days.",
    ]
    assert done.stdout.splitlines()[-1] == "103 days stored."
    assert runs(folder) == [
        ("2023-12-23", "2024-03-31", "SUCCESS"),
        ("2023-12-20", "2023-12-22", "SUCCESS"),
    ]
    assert sandbox.stats()["endpoints"] == {"historical": {"ok": 103}, "symbols": {"ok": 1}}

    again = run_command(folder, "ingest", *span, "--json", **settings(sandbox))
    assert (again.returncode, messages(again.stderr)) == (0, "")
    document = json.loads(again.stdout)
    assert list(document["stored"]) == [
        str(date) for date in date_range(dt.date(2023, 12, 20), dt.date(2024, 3, 31))
    ]
    assert (len(document["runs"]), document["not_tried"]) == (2, [])


def test_a_terminal_shows_a_bar_and_the_result_stays_apart(folder: Path, sandbox: Sandbox) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "ingest", "--from", "2024-01-01", "--to", "2024-01-25", "--json"],
        cwd=folder,
        env=environment(TERM="xterm", COLUMNS="120", **settings(sandbox)),
        stdout=subprocess.PIPE,
        stderr=theirs,
    ) as command:
        os.close(theirs)
        shown = b"".join(read_all(ours))
        output = command.stdout.read() if command.stdout else b""
    os.close(ours)
    assert command.returncode == 0
    assert b"Fetching days" in shown
    assert b"0/25" in shown
    assert len(json.loads(output)["stored"]) == 25


def read_all(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal until the last process has closed it."""
    try:
        while block := os.read(terminal, 4096):
            yield block
    except OSError:  # how Linux says that it is closed
        return


@pytest.mark.parametrize(
    ("change", "stored", "says"),
    [
        ({"key": "another"}, 0, "the access key is missing or unknown"),
        ({"quota": 2}, 2, "the month's calls are used up"),
        ({"inactive": True}, 0, "the account may not use this service"),
    ],
    ids=["key", "quota", "account"],
)
def test_after_a_run_that_nothing_can_better_no_other_is_started(
    folder: Path, sandbox: Sandbox, change: dict[str, object], stored: int, says: str
) -> None:
    sandbox.change(**change)
    done = run_command(folder, "ingest", *NAMED, **settings(sandbox))
    assert done.returncode == 1
    assert len(runs(folder)) == stored + 1
    assert len(stored_dates(folder / "fx.db")) == stored
    assert sandbox.stats()["total"] == stored + 1
    assert says in done.stderr
    left = len(APART) - stored - 1
    assert f"not tried  {left} days: {APART[0]} to {APART[left - 1]}\n" in done.stderr
    assert done.stdout.endswith(f"{stored} days stored.\n")
    sandbox.change(key="good", quota=None, inactive=False)
    goes_on(folder, sandbox, done.stderr, APART)


@pytest.mark.slow
def test_what_was_not_tried_is_in_the_json(folder: Path, sandbox: Sandbox) -> None:
    sandbox.change(key="another")
    span = ["--from", "2023-12-20", "--to", "2024-03-31"]
    done = run_command(folder, "ingest", *span, "--json", **settings(sandbox))
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["not_tried"] == [["2023-12-20", "2023-12-22"]]
    assert (document["stored"], len(document["runs"]), document["symbols_failure"]) == ({}, 1, None)
    sandbox.change(key="good")
    goes_on(folder, sandbox, done.stderr, list(date_range(dt.date(2023, 12, 20), dt.date(2024, 3, 31))))


def test_a_date_that_fails_holds_up_no_run(folder: Path, sandbox: Sandbox) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 6))
    named = ["--date", "2024-01-09", "--date", "2024-01-03", "--date", "2024-01-01"]
    done = run_command(folder, "ingest", *named, **settings(sandbox))
    assert done.returncode == 1
    assert "not tried" not in done.stderr
    assert [status for *_, status in runs(folder)] == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert stored_dates(folder / "fx.db") == {"2024-01-01", "2024-01-03"}


def test_many_dates_in_vain_end_the_ingest(folder: Path, sandbox: Sandbox) -> None:
    """The provider has no older days, say: each further run would ask for each of its dates for nothing."""
    sandbox.change(today=lambda: dt.date(2023, 1, 6))
    named = ["--date", "2023-01-01"]
    named += [part for day in range(1, 13) for part in ("--date", f"2024-01-{day:02}")]
    done = run_command(folder, "ingest", *named, **settings(sandbox))
    assert done.returncode == 1
    assert "not tried  1 day: 2023-01-01 to 2023-01-01\n" in done.stderr
    assert [status for *_, status in runs(folder)] == ["FAILURE"]


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_starts_no_further_run(
    folder: Path, sandbox: Sandbox, signal_: signal.Signals
) -> None:
    sandbox.change(latency=0.3)
    with subprocess.Popen(
        [*PROGRAM, "ingest", *NAMED],
        cwd=folder,
        env=environment(**settings(sandbox)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as command:
        while sandbox.stats()["total"] < 3:
            assert command.poll() is None
            time.sleep(0.01)
        command.send_signal(signal_)
        output, errors = command.communicate()
    assert command.returncode == 1
    statuses = [status for *_, status in runs(folder)]
    assert 3 <= len(statuses) < len(APART)
    assert set(statuses[:-1]) == {"SUCCESS"}
    assert statuses[-1] in ("SUCCESS", "CANCELED")  # the signal may come between two runs
    assert output.endswith(" days stored.\n")
    assert f"not tried  {len(APART) - len(statuses)} days: {APART[0]} to " in errors
    assert "symbols" not in sandbox.stats()["endpoints"]
    sandbox.change(latency=0.0)
    goes_on(folder, sandbox, errors, APART)
