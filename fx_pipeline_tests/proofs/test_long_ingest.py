"""An `ingest` of several runs: it shows its progress, and starts no further run that cannot succeed."""

import datetime as dt
import json
import os
import pty
import shlex
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.child_processes import wait_while_running
from fx_pipeline_tests.command_line import PROGRAM, environment, messages, run_command, start_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates

EVERY_OTHER_DAY = dates_between("2024-01-01", "2024-01-17")[::2]
"""Nine dates that are not adjacent, so that each is a separate run."""

NAMED = [argument for date in EVERY_OTHER_DAY for argument in ("--date", date)]

RESUME = "continue with fx-pipeline "


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
    """Return first day, last day and status of each run of `rates_job`, in the order of their starts."""
    with open_instance(folder / "dagster") as instance:
        newest_first = [
            (
                run.tags["dagster/asset_partition_range_start"],
                run.tags["dagster/asset_partition_range_end"],
                run.status.value,
            )
            for run in instance.get_runs(dg.RunsFilter(job_name="rates_job"))
        ]
    return newest_first[::-1]


def assert_resumes(folder: Path, sandbox: Sandbox, errors: str, wanted: Sequence[str]) -> None:
    """Run the command that `ingest` printed, which fetches the rest and only that."""
    [command] = [line.removeprefix(RESUME) for line in errors.splitlines() if line.startswith(RESUME)]
    rest = set(wanted) - stored_dates(folder / "fx.db")
    before = sandbox.asked_dates()
    done = run_command(folder, *shlex.split(command), **settings(sandbox))
    assert done.returncode == 0, done.stderr
    assert sandbox.asked_dates() - before == Counter(rest)
    assert stored_dates(folder / "fx.db") == set(wanted)
    assert_consistent(folder / "fx.db")


@pytest.mark.slow
def test_a_line_shows_each_run_and_one_result_covers_all(folder: Path, sandbox: Sandbox) -> None:
    span = ["--from", "2023-12-20", "--to", "2024-03-31"]
    done = run_command(folder, "ingest", *span, **settings(sandbox))
    assert done.returncode == 0
    assert messages(done.stderr).splitlines() == [
        "forecast 103 days to fetch, 0 to skip; 103 calls, and no quota is set; no run has been measured "
        "yet, so the time is unknown.",
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
    assert list(document["stored"]) == dates_between("2023-12-20", "2024-03-31")
    assert (len(document["runs"]), document["not_tried"]) == (2, [])


@pytest.mark.slow
def test_a_terminal_shows_a_progress_bar_apart_from_the_result(folder: Path, sandbox: Sandbox) -> None:
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
    """Yield what is written to a terminal until its last process has closed it."""
    try:
        while block := os.read(terminal, 4096):
            yield block
    except OSError:  # Linux reports the closed terminal as an error
        return


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "stored", "reason"),
    [
        ({"quota": 2}, 2, "this month's calls are used up"),
        ({"inactive": True}, 0, "the account may not use this service"),
    ],
    ids=["quota", "account"],
)
def test_starts_no_run_after_a_failure_that_would_repeat(
    folder: Path, sandbox: Sandbox, change: dict[str, object], stored: int, reason: str
) -> None:
    sandbox.change(**change)
    done = run_command(folder, "ingest", *NAMED, **settings(sandbox))
    assert done.returncode == 1
    assert len(runs(folder)) == stored + 1
    assert len(stored_dates(folder / "fx.db")) == stored
    assert sandbox.stats()["total"] == stored + 1
    assert reason in done.stderr
    left = len(EVERY_OTHER_DAY) - stored - 1
    assert f"not tried  {left} days: {EVERY_OTHER_DAY[0]} to {EVERY_OTHER_DAY[left - 1]}\n" in done.stderr
    assert done.stdout.endswith(f"{stored} days stored.\n")
    sandbox.change(key="good", quota=None, inactive=False)
    assert_resumes(folder, sandbox, done.stderr, EVERY_OTHER_DAY)


@pytest.mark.slow
def test_the_json_lists_dates_that_were_not_tried(folder: Path, sandbox: Sandbox) -> None:
    sandbox.change(key="another")
    span = ["--from", "2023-12-20", "--to", "2024-03-31"]
    done = run_command(folder, "ingest", *span, "--json", **settings(sandbox))
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["not_tried"] == [["2023-12-20", "2023-12-22"]]
    assert (document["stored"], len(document["runs"]), document["symbols_failure"]) == ({}, 1, None)
    sandbox.change(key="good")
    assert_resumes(folder, sandbox, done.stderr, dates_between("2023-12-20", "2024-03-31"))


@pytest.mark.slow
def test_a_failed_date_stops_no_other_run(folder: Path, sandbox: Sandbox) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 6))
    named = ["--date", "2024-01-09", "--date", "2024-01-03", "--date", "2024-01-01"]
    done = run_command(folder, "ingest", *named, **settings(sandbox))
    assert done.returncode == 1
    assert "not tried" not in done.stderr
    assert [status for *_, status in runs(folder)] == ["FAILURE", "SUCCESS", "SUCCESS"]
    assert stored_dates(folder / "fx.db") == {"2024-01-01", "2024-01-03"}


@pytest.mark.slow
def test_many_failed_dates_end_the_ingest(folder: Path, sandbox: Sandbox) -> None:
    """If the provider has no older days, each further run would call it for each of its dates in vain."""
    sandbox.change(today=lambda: dt.date(2023, 1, 6))
    named = ["--date", "2023-01-01"]
    named += [part for day in range(1, 13) for part in ("--date", f"2024-01-{day:02}")]
    done = run_command(folder, "ingest", *named, **settings(sandbox))
    assert done.returncode == 1
    assert "not tried  1 day: 2023-01-01 to 2023-01-01\n" in done.stderr
    assert [status for *_, status in runs(folder)] == ["FAILURE"]


@pytest.mark.slow
def test_an_interrupt_starts_no_further_run(folder: Path, sandbox: Sandbox) -> None:
    sandbox.change(latency=0.3)
    with start_command(folder, "ingest", *NAMED, **settings(sandbox)) as command:
        wait_while_running(command, lambda: sandbox.stats()["total"] >= 3)
        command.send_signal(signal.SIGINT)
        output, errors = command.communicate()
    assert command.returncode == 1
    statuses = [status for *_, status in runs(folder)]
    assert 3 <= len(statuses) < len(EVERY_OTHER_DAY)
    assert set(statuses[:-1]) == {"SUCCESS"}
    assert statuses[-1] in ("SUCCESS", "CANCELED")  # the signal may come between two runs
    assert output.endswith(" days stored.\n")
    assert f"not tried  {len(EVERY_OTHER_DAY) - len(statuses)} days: {EVERY_OTHER_DAY[0]} to " in errors
    assert "symbols" not in sandbox.stats()["endpoints"]
    sandbox.change(latency=0.0)
    assert_resumes(folder, sandbox, errors, EVERY_OTHER_DAY)
