"""Processes that work on one file at once: no call too many, no date twice, and nobody finds it locked."""

import datetime as dt
import json
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.defs.partitions import days
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.ingestion.symbols import ingest_names
from fx_pipeline.rates import date_range
from fx_pipeline.store.database import open_database
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import PROGRAM, environment, problems, run_command
from fx_pipeline_tests.proofs.content import broken, dump, stored_dates
from fx_pipeline_tests.proofs.daemon import running_daemon
from fx_pipeline_tests.sandbox_server import running_sandbox

UNTIL_BOTH_ASK = 20
"""Seconds that the first answers take: until then the other process has started, however slowly. What is
stored before it has, it asks for again, and rightly."""


def dates(first: str, last: str) -> list[dt.date]:
    return list(date_range(dt.date.fromisoformat(first), dt.date.fromisoformat(last)))


def texts(wanted: list[dt.date]) -> set[str]:
    return {str(date) for date in wanted}


def started(folder: Path, command: list[str], settings: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ingesting(folder: Path, wanted: list[dt.date], settings: dict[str, str]) -> "subprocess.Popen[str]":
    command = [*PROGRAM, "ingest", "--from", str(wanted[0]), "--to", str(wanted[-1])]
    return started(folder, command, settings)


def wait_until_both_ask(database: Path, runs: "list[subprocess.Popen[str]]") -> None:
    query = "SELECT count(DISTINCT process) FROM fetches WHERE status = 'asked' OR fetched_at IS NOT NULL"
    while not database.exists() or asking(database, query) < 2:
        assert all(run.poll() is None for run in runs), [run.communicate() for run in runs]
        time.sleep(0.02)
    assert not stored_dates(database), "one had stored before the other began"


def asking(database: Path, query: str) -> int:
    try:
        with closing(sqlite3.connect(database)) as connection:
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # its tables are being made
        return 0


def kept_for_daily_runs(folder: Path, settings: dict[str, str]) -> int:
    open_database(folder / "fx.db").close()
    done = run_command(folder, "status", "--json", **{**settings, "FIXER_MONTHLY_QUOTA": "1000000"})
    return int(json.loads(done.stdout)["quota"]["kept"])


@pytest.mark.slow
def test_two_commands_spend_the_quota_to_its_last_call_and_say_what_they_left(folder: Path) -> None:
    first, second = dates("2024-01-01", "2024-02-29"), dates("2024-01-21", "2024-03-20")
    wanted = texts(first) | texts(second)
    assert (len(first), len(second), len(wanted)) == (60, 60, 80)
    with running_sandbox(latency=UNTIL_BOTH_ASK) as sandbox:
        settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "FX_DATABASE": "fx.db"}
        kept = kept_for_daily_runs(folder, settings)
        limited = {**settings, "FIXER_MONTHLY_QUOTA": str(50 + kept)}
        runs = [ingesting(folder, one, limited) for one in (first, second)]
        wait_until_both_ask(folder / "fx.db", runs)
        sandbox.change(latency=0.01)
        said = [run.communicate() for run in runs]
        calls = sandbox.stats()["total"]
        # At midnight (UTC) less is kept, and so much more may be spent.
        freed = kept - kept_for_daily_runs(folder, limited)
        print(f"{calls} calls; kept for the daily runs {kept}, {freed} of them freed meanwhile")
        assert 50 <= calls <= 50 + freed
    stored = stored_dates(folder / "fx.db")
    assert sandbox.asked_dates() == Counter(stored)
    assert len(stored) == calls
    assert stored <= wanted
    assert [run.returncode for run in runs] == [1, 1]
    for (_, errors), own in zip(said, (first, second), strict=True):
        assert "locked" not in errors
        warned, failed, left = without_waits(errors)
        assert warned.startswith("quota   This needs 60 calls and ")
        assert failed.startswith(f"failed  {calls} of the {50 + kept} calls of this month are used (FIXER_")
        assert left.startswith("Not fetched: ")
        # What the other was still asking may be among them: that it would come was not known.
        assert texts(own) - stored <= named(left) <= texts(own)
    with closing(sqlite3.connect(folder / "fx.db")) as connection:
        assert connection.execute("SELECT sum(calls) FROM fetches").fetchone() == (calls,)
    assert list(broken(folder / "fx.db")) == []


def without_waits(errors: str) -> list[str]:
    """The lines of stderr, except those that say which process is waited for."""
    return [line for line in problems(errors) if not line.startswith("Waiting for ")]


def named(line: str) -> set[str]:
    """The dates that a line names, as single ones and ranges."""
    spans = [span.split(" to ") for span in line.partition(": ")[2].split(", ")]
    return {str(date) for span in spans for date in dates(span[0], span[-1])}


@pytest.mark.slow
def test_a_command_beside_a_run_of_dagsters_asks_for_no_date_twice(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    midnight = dt.datetime(2024, 3, 1, tzinfo=dt.timezone.utc)
    by_schedule, by_command = dates("2024-01-30", "2024-02-29"), dates("2024-02-10", "2024-03-10")
    wanted = sorted({*by_schedule, *by_command})
    database = folder / "fx.db"
    with running_sandbox(latency=UNTIL_BOTH_ASK) as sandbox:
        settings = {
            "FIXER_BASE_URL": sandbox.url,
            "FIXER_ACCESS_KEY": "a-key",
            "FX_DATABASE": str(database),
            "DAGSTER_HOME": instance.root_directory,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with running_daemon(instance) as daemon:
            daemon.looks(midnight)
            command = ingesting(folder, by_command, settings)
            [launched] = daemon.looks(midnight + dt.timedelta(minutes=15))
            wait_until_both_ask(database, [command])
            sandbox.change(latency=0.01)
            output, errors = command.communicate()
            daemon.waits()
        assert (command.returncode, without_waits(errors)) == (0, [])
        assert output.endswith(f"{len(by_command)} days stored.\n")
        assert sandbox.asked_dates() == Counter(texts(wanted))
        with (
            RateStore(folder / "undisturbed.db") as store,
            Ledger(store.path) as ledger,
            FixerClient(sandbox.url, "a-key") as client,
        ):
            ingest_names(client, store, ledger)
            assert all(outcome.stored for outcome in ingest(plan_calls(wanted), client, store, ledger))
    run = instance.get_run_by_id(launched.run_id)
    assert run is not None
    assert run.is_success
    with closing(sqlite3.connect(database)) as connection:
        shares = dict(connection.execute("SELECT run_id, count(*) FROM fetches GROUP BY run_id"))
    print(f"answers by run: {sorted(shares.values())}")
    assert list(broken(database)) == []
    assert dump(database) == dump(folder / "undisturbed.db")
    shown = instance.get_status_by_partition(dg.AssetKey("rates"), sorted(texts(wanted)), days)
    assert shown == dict.fromkeys(texts(wanted), dg.AssetPartitionStatus.MATERIALIZED)
