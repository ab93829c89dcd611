"""`status`: what Dagster, the disk and the addresses of alerts show, and the exit code of `--check`."""

import datetime as dt
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from fx_pipeline.alerting import conditions
from fx_pipeline.business_days import business_days
from fx_pipeline.clock import utc_now, yesterday
from fx_pipeline.commands import dagster_state
from fx_pipeline.commands.cli import main
from fx_pipeline.dagster_internals.testing import launch_scheduled_runs, record_heartbeat
from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.processes.leftovers import DAEMON_LOCK, only_one
from fx_pipeline.rates import DayRates
from fx_pipeline.settings import load_settings
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.alerting.watching import Watching
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.inbox import TOKEN
from fx_pipeline_tests.storages import Storage, on_both_storages

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

ADDRESS = "FX_ALERT_URLS, entry 1 (JSON): the alert was not accepted (no connection)"

UNWATCHED = (
    "No alert is sent: the watcher has never looked at this database. Start `fx-pipeline up` or "
    "`fx-pipeline watch`."
)


@pytest.fixture(autouse=True)
def _stored() -> None:
    with RateStore(load_settings().fx_database) as store:
        store.record([fetch_of(DayRates(date=yesterday(), base="EUR", timestamp=0, rates={"USD": 1.1}))])


def status(*options: str) -> Result:
    return CliRunner().invoke(main, ["status", *options])


def without_sizes(lines: Iterable[str]) -> list[str]:
    """Replace the free space: other programs use the disk too."""
    return [re.sub(r"[0-9,]+ MB", "N MB", line) for line in lines]


@pytest.fixture
def instance(tmp_path: Path, storage: Storage) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path / "data" / "dagster") as instance:
        record_heartbeat(instance, utc_now())
        yield instance


def test_a_home_where_no_daemon_runs_fails_the_check(tmp_path: Path) -> None:
    """As with a typo in DAGSTER_HOME."""
    home = tmp_path / "data" / "dagster"
    result = status("--check")
    remedy = "Start `fx-pipeline up` or `fx-pipeline daemon`, or set DAGSTER_HOME to the home that it uses."
    assert (result.exit_code, result.stdout) == (1, f"Dagster's home {home} does not exist. {remedy}\n")
    assert result.stderr == (
        f"Database {tmp_path / 'data' / 'fx.db'}, tokens {tmp_path / 'data' / 'tokens.db'}, Dagster's home "
        f"{home}.\n"
    )
    document = json.loads(status("--json").stdout)
    assert document["problems"] == [result.stdout.strip()]
    assert (document["automation"], document["daemon"], document["alerts"]) == ({}, None, None)
    assert list(document["disk_free_mb"]) == [str(tmp_path / "data")]
    assert not home.exists()
    with open_instance(home):
        never_run = status("--check")
    assert (never_run.exit_code, never_run.stdout) == (
        1,
        f"Dagster's daemon has never run in {home}. {remedy}\n",
    )


@on_both_storages
def test_only_schedules_that_the_daemon_has_seen_pass_the_check(instance: dg.DagsterInstance) -> None:
    """With a typo in FX_ASSET_PREFIX, it has seen none of them."""
    result = status("--check")
    assert (result.exit_code, result.stdout) == (
        1,
        "Dagster has never run daily_checks, daily_rates, monthly_symbols, nightly_database, "
        "nightly_history. Start `fx-pipeline up`, or `daemon` and `code-server`, or set FX_ASSET_PREFIX as "
        "it was when they were started.\n",
    )
    lock = Path(instance.root_directory) / DAEMON_LOCK
    with only_one(lock.parent, lock.name, "another"):
        result = status("--check")
        assert (result.exit_code, result.stdout) == (0, "ok\n")
        assert set(json.loads(status("--json").stdout)["automation"].values()) == {"starting"}
        os.utime(lock, (0, 0))  # it began long ago
        assert status("--check").exit_code == 1
    with only_one(lock.parent, lock.name, "another"):
        assert status("--check").exit_code == 0
    with loaded_workspace(instance) as workspace:
        launch_scheduled_runs(workspace, utc_now())
    result = status("--check")
    assert (result.exit_code, result.stdout) == (0, "ok\n")


def test_what_needs_the_operator_fails_the_check_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(conditions, "MIN_FREE_MB", 2**40)
    monkeypatch.setenv("FX_ALERT_URLS", f"slck://{TOKEN}")
    lines = status("--check")
    assert lines.exit_code == 1
    expected = [
        f"Dagster's home {tmp_path / 'data' / 'dagster'} does not exist. Start `fx-pipeline up` or "
        "`fx-pipeline daemon`, or set DAGSTER_HOME to the home that it uses.",
        UNWATCHED,
        "FX_ALERT_URLS, entry 1: not a URL that Apprise supports. Did you mean slack://?",
        f"The disk of {tmp_path / 'data'} is nearly full: N MB are free.",
    ]
    assert without_sizes(lines.stdout.splitlines()) == expected
    document = status("--check", "--json")
    assert document.exit_code == 1
    assert without_sizes(json.loads(document.stdout)["problems"]) == expected
    assert status("--json").exit_code == 0
    shown = status()
    assert shown.exit_code == 0
    assert without_sizes(shown.stdout.splitlines()[-4:]) == [f"problem         {line}" for line in expected]


def test_rates_that_stand_still_are_a_problem() -> None:
    codes = ("USD", "GBP", "JPY")
    since = yesterday() - dt.timedelta(days=9)
    days = {since - dt.timedelta(days=ago): 1 + ago / 100 for ago in range(20)}
    days |= {since + dt.timedelta(days=after): 1.0 for after in range(1, 10)}
    with RateStore(load_settings().fx_database) as store:
        for date, rate in sorted(days.items()):
            rates = dict.fromkeys(codes, rate)
            store.record([fetch_of(DayRates(date=date, base="EUR", timestamp=0, rates=rates))])
    document = json.loads(status("--json").stdout)
    count = business_days(since + dt.timedelta(days=1), yesterday())
    assert document["content_age"] == {
        "unchanged_since": str(since),
        "business_days": count,
        "state": "frozen",
    }
    assert document["problems"][0] == (
        f"The provider sends old rates: those of {since} were sent again for {count} business days. Ask the "
        "provider, and refetch the later days when its rates change again."
    )


def test_a_paused_schedule_a_dead_daemon_and_an_undelivered_alert_are_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FX_ALERT_URLS", f"json://127.0.0.1:9/{TOKEN}")
    died = utc_now() - dt.timedelta(minutes=6)
    with open_instance(tmp_path / "data" / "dagster") as instance:
        run = instance.create_run_for_job(
            defs.resolve_job_def("rates_job"), tags={"dagster/max_retries": "0"}
        )
        instance.report_run_failed(run, "Its process was killed.")
        with loaded_workspace(instance) as workspace:
            launch_scheduled_runs(workspace, utc_now())
            location = workspace.create_request_context().get_code_location("fx_pipeline")
            [repository] = location.get_repositories().values()
            schedule = repository.get_schedule("daily_rates")
            instance.stop_schedule(schedule.get_remote_origin_id(), schedule.selector_id, schedule)
        record_heartbeat(instance, utc_now())
        Watching().look(minutes=1)
        record_heartbeat(instance, died)
    document = json.loads(status("--json").stdout)
    assert document["automation"] == {
        "daily_rates": "stopped",
        "daily_checks": "running",
        "nightly_database": "running",
        "nightly_history": "running",
        "monthly_symbols": "running",
    }
    beat = died.isoformat(timespec="seconds")
    assert document["daemon"] == {"running": False, "last_heartbeat": beat}
    title = "fx-pipeline: a run failed (rates)"
    assert document["alerts"]["undelivered"] == [{"title": title, "failures": [ADDRESS]}]
    assert [alert["kind"] for alert in document["alerts"]["open"]] == ["run_failed"]
    result = status("--check")
    failed = f"rates_job: Its process was killed. (http://127.0.0.1:3000/runs/{run.run_id})"
    assert (result.exit_code, result.stdout.splitlines()) == (
        1,
        [
            f"a run failed: {failed}",
            "daily_rates is stopped. Start it in the Dagster UI, under Automation.",
            f"Dagster's daemon is not running: its last heartbeat was at {beat}. Start `fx-pipeline up` or "
            "`fx-pipeline daemon`.",
            f'The alert "{title}" was not delivered: {ADDRESS}',
        ],
    )


def test_a_failed_day_that_an_earlier_run_stored_needs_no_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Unless Fixer may still revise it, or what was stored has been lost."""
    old, lost, newest = dt.date(2024, 5, 1), dt.date(2024, 5, 2), yesterday()
    with RateStore(load_settings().fx_database) as store:
        store.record([fetch_of(DayRates(date=old, base="EUR", timestamp=0, rates={"USD": 1.1}))])
    with open_instance(tmp_path / "data" / "dagster"):
        pass
    monkeypatch.setattr(dagster_state, "failed_days", lambda instance: [old, lost, newest])
    document = json.loads(status("--json").stdout)
    assert document["failed_but_kept"] == [[str(old)] * 2]
    assert document["failed_days"] == [[str(lost)] * 2, [str(newest)] * 2]
    assert document["refetch"]["days"] == 2
    monkeypatch.setattr(dagster_state, "failed_days", lambda instance: [old])
    assert "as failed" not in status("--check").stdout
