"""Two processes work on one file: no call beyond the quota, no date fetched twice, no error about a lock."""

import datetime as dt
import json
import subprocess
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.ingestion.symbols import ingest_names
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import open_database
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.child_processes import wait_while_running
from fx_pipeline_tests.command_line import problems, run_command, start_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.proofs.daemon import running_daemon
from fx_pipeline_tests.proofs.runs import MATERIALIZED, shown_in_ui
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, dump, rows, stored_dates

pytestmark = pytest.mark.slow


def start_ingest(folder: Path, dates: list[str], settings: dict[str, str]) -> "subprocess.Popen[str]":
    return start_command(folder, "ingest", "--partial", "--from", dates[0], "--to", dates[-1], **settings)


def release_once_both_fetch(sandbox: Sandbox, database: Path, command: "subprocess.Popen[str]") -> None:
    """Wait until two processes fetch, and only then let the sandbox respond.

    Otherwise the second process would fetch what the first had stored by then, and rightly so.
    """

    def fetching_processes() -> int:
        sql = "SELECT count(DISTINCT process) FROM fetches WHERE status = 'asked' OR fetched_at IS NOT NULL"
        try:
            [(count,)] = rows(database, sql) if database.exists() else [(0,)]
        except sqlite3.OperationalError:  # the tables do not exist yet
            return 0
        return int(count)

    wait_while_running(command, lambda: fetching_processes() == 2)
    assert not stored_dates(database)
    sandbox.release()


def reserved_for_daily_runs(folder: Path, settings: dict[str, str]) -> int:
    open_database(folder / "fx.db").close()
    done = run_command(folder, "status", "--json", **{**settings, "FIXER_MONTHLY_QUOTA": "1000000"})
    return int(json.loads(done.stdout)["quota"]["kept"])


def without_waits(errors: str) -> list[str]:
    """Return the lines of stderr, except those about waiting for the other process."""
    return [line for line in problems(errors) if not line.startswith("Waiting for ")]


def named_dates(line: str) -> set[str]:
    """Return the dates that a line names, as single ones and ranges."""
    spans = [span.split(" to ") for span in line.partition(": ")[2].split(", ")]
    return {date for span in spans for date in dates_between(span[0], span[-1])}


def test_two_commands_use_the_quota_to_its_last_call_and_name_what_is_left(folder: Path) -> None:
    first, second = dates_between("2024-01-01", "2024-02-29"), dates_between("2024-01-21", "2024-03-20")
    wanted = {*first, *second}
    assert (len(first), len(second), len(wanted)) == (60, 60, 80)
    with running_sandbox() as sandbox:
        sandbox.hold()
        settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "FX_DATABASE": "fx.db"}
        reserved = reserved_for_daily_runs(folder, settings)
        limited = {**settings, "FIXER_MONTHLY_QUOTA": str(50 + reserved)}
        with start_ingest(folder, first, limited) as one, start_ingest(folder, second, limited) as other:
            release_once_both_fetch(sandbox, folder / "fx.db", one)
            ended = [(command.communicate()[1], own) for command, own in ((one, first), (other, second))]
        calls = sandbox.stats()["total"]
        # At midnight (UTC) the reserve shrinks, and so much more may be spent.
        freed = reserved - reserved_for_daily_runs(folder, limited)
        assert 50 <= calls <= 50 + freed
    stored = stored_dates(folder / "fx.db")
    assert sandbox.asked_dates() == Counter(stored)
    assert len(stored) == calls
    assert stored <= wanted
    assert (one.returncode, other.returncode) == (1, 1)
    for errors, own in ended:
        assert "locked" not in errors
        warned, failed, left = without_waits(errors)
        assert warned.startswith("quota   This needs 60 calls, but ")
        assert failed.startswith(
            f"failed  {calls} of the {50 + reserved} calls of this month are used (FIXER_"
        )
        assert left.startswith("Not fetched: ")
        # Dates that the other process was still fetching may be among them.
        assert set(own) - stored <= named_dates(left) <= set(own)
    assert rows(folder / "fx.db", "SELECT sum(calls) FROM fetches") == [(calls,)]
    assert_consistent(folder / "fx.db")


def test_a_command_and_a_scheduled_run_fetch_each_date_once(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
    by_schedule = dates_between("2024-01-30", "2024-02-29")
    by_command = dates_between("2024-02-10", "2024-03-10")
    wanted = {*by_schedule, *by_command}
    database, undisturbed = folder / "fx.db", folder / "undisturbed.db"
    with running_sandbox() as sandbox:
        sandbox.hold()
        settings = {
            "FIXER_BASE_URL": sandbox.url,
            "FIXER_ACCESS_KEY": "a-key",
            "FX_DATABASE": str(database),
            "DAGSTER_HOME": instance.root_directory,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with RateStore(database) as store:
            store.want(set(map(dt.date.fromisoformat, by_schedule)))
        with running_daemon(instance) as daemon:
            daemon.evaluate_schedules(midnight)
            with start_ingest(folder, by_command, settings) as command:
                [launched] = daemon.evaluate_schedules(midnight + dt.timedelta(minutes=15))
                release_once_both_fetch(sandbox, database, command)
                output, errors = command.communicate()
            daemon.wait_for_runs()
        assert (command.returncode, without_waits(errors)) == (0, [])
        assert output.endswith(f"{len(by_command)} days stored.\n")
        assert sandbox.asked_dates() == Counter(wanted)
        with (
            RateStore(undisturbed) as store,
            Ledger(undisturbed) as ledger,
            FixerClient(sandbox.url, "a-key") as client,
        ):
            ingest_names(client, store, ledger)
            calls = plan_calls([dt.date.fromisoformat(date) for date in wanted])
            assert all(outcome.stored for outcome in ingest(calls, client, store, ledger))
    run = instance.get_run_by_id(launched.run_id)
    assert run is not None
    assert run.is_success
    assert_consistent(database)
    assert dump(database) == dump(undisturbed)
    assert shown_in_ui(instance, wanted) == {MATERIALIZED: wanted}
