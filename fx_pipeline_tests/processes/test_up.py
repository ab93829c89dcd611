"""`fx-pipeline up` as a new user runs it: in an empty folder, on free ports, until Ctrl-C."""

import datetime as dt
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from fx_pipeline.alerted import read_alerts
from fx_pipeline.clock import yesterday
from fx_pipeline.processes.up import newest_day
from fx_pipeline.rates import DayRates, date_range
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.inbox import Inbox
from fx_pipeline_tests.processes.running_up import (
    BACKFILL,
    FETCHING,
    LAUNCH,
    RELOAD,
    SERVERS,
    Up,
    up,
)
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.waiting import PATIENCE, wait_for


def last_look(folder: Path) -> dt.datetime:
    """Return when the watcher looked last."""
    state = read_alerts(folder / "data" / "fx.db")
    assert state is not None
    return state.looked_at


PARTITIONS = (
    """{ assetNodes(assetKeys: [{path: ["rates"]}]) { partitionStats { numMaterialized numFailed } } }"""
)

INSTIGATORS = """{ repositoriesOrError { ... on RepositoryConnection { nodes {
    name location { name }
    schedules { name scheduleState { status } }
} } } }"""

RUNS = """query Runs($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results {
    jobName status repositoryOrigin { repositoryLocationName }
} } } }"""

CANCEL = "mutation Cancel($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename } }"


@pytest.mark.slow
def test_an_empty_folder_gets_ninety_days_a_backfill_and_a_second_start(tmp_path: Path, inbox: Inbox) -> None:
    with up(tmp_path, FX_ALERT_URLS=inbox.url) as first:
        first.wait_until_ready()
        assert "DEMO: FIXER_ACCESS_KEY is not set" in first.output
        assert "each day\n" in first.output
        assert "90 days stored." in first.output
        checked = run_command(tmp_path, "doctor", **first.settings)
        assert checked.returncode == 0, checked.stdout
        assert "warning" not in checked.stdout.replace("warning  sqlite", "")
        assert f"ok       ports: in use by this instance: {first.settings['FX_API_PORT']} " in checked.stdout
        answer = first.get(f"/rates/{yesterday()}/")
        assert answer.status_code == 200
        assert answer.json()["date"] == str(yesterday())
        assert first.asked() == {"historical": {"ok": 90}, "symbols": {"ok": 1}}

        [node] = first.graphql(PARTITIONS)["assetNodes"]
        assert node["partitionStats"] == {"numMaterialized": 90, "numFailed": 0}
        [repository] = first.graphql(INSTIGATORS)["repositoriesOrError"]["nodes"]
        assert repository["location"]["name"] == "fx_pipeline"
        states = {schedule["name"]: schedule["scheduleState"] for schedule in repository["schedules"]}
        assert {"daily_rates", "monthly_symbols"} <= set(states)
        assert all(state == {"status": "RUNNING"} for state in states.values()), states
        runs = first.graphql(RUNS)["runsOrError"]["results"]
        assert {run["jobName"]: run for run in runs}["rates_job"] == {
            "jobName": "rates_job",
            "status": "SUCCESS",
            "repositoryOrigin": {"repositoryLocationName": "fx_pipeline"},
        }

        # A killed code server is started again, and both the webserver and the daemon use the new one.
        [killed] = first.pids("grpc")
        os.kill(killed, signal.SIGKILL)
        first.wait("another code server", lambda: first.pids("grpc") not in ([], [killed]))
        first.wait("its start", first.has_code_server)
        first.wait("the definitions", lambda: first.location() == "RepositoryLocation")
        # So is a killed daemon, which launches the backfill below.
        [killed] = first.pids("daemon")
        os.kill(killed, signal.SIGKILL)
        first.wait("another daemon", lambda: first.pids("daemon") not in ([], [killed]))
        # A reload in the UI starts another code server too, to load changed code.
        [before] = first.pids("grpc")
        assert first.graphql(RELOAD)["reloadRepositoryLocation"] == {"__typename": "WorkspaceLocationEntry"}
        assert first.pids("grpc") not in ([], [before])
        assert first.location() == "RepositoryLocation"

        dates = [str(date) for date in date_range(dt.date(2024, 2, 27), dt.date(2024, 3, 2))]
        launched = first.graphql(
            LAUNCH,
            backfillParams={
                "tags": [{"key": "dagster/from_ui", "value": "true"}],
                "assetSelection": [{"path": ["rates"]}],
                "partitionNames": dates,
            },
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        backfill = launched["backfillId"]
        first.wait(
            "end of the backfill",
            lambda: (
                first.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"]
                not in ("REQUESTED", "COMPLETING")
            ),
        )
        status = first.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"]
        assert status == "COMPLETED_SUCCESS"
        of_backfill = {"tags": [{"key": "dagster/backfill", "value": backfill}]}
        runs = first.graphql(RUNS, filter=of_backfill)["runsOrError"]["results"]
        assert [run["status"] for run in runs] == ["SUCCESS"]
        assert all(first.get(f"/rates/{date}/").status_code == 200 for date in dates)
        assert first.asked()["historical"] == {"ok": 95}

        # A backfill that is cancelled submits no further run, but for one that the daemon is submitting.
        launched = first.graphql(
            LAUNCH,
            backfillParams={
                "assetSelection": [{"path": ["rates"]}],
                "partitionNames": dates_between("2000-01-01", "2004-12-31"),
            },
        )["launchPartitionBackfill"]
        long = launched["backfillId"]
        of_backfill = {"tags": [{"key": "dagster/backfill", "value": long}]}
        first.wait("a run", lambda: first.graphql(RUNS, filter=of_backfill)["runsOrError"]["results"])
        assert first.graphql(CANCEL, id=long)["cancelPartitionBackfill"] == {
            "__typename": "CancelBackfillSuccess"
        }
        submitted = len(first.graphql(RUNS, filter=of_backfill)["runsOrError"]["results"])
        first.wait(
            "end of the cancelled backfill",
            lambda: first.graphql(BACKFILL, id=long)["partitionBackfillOrError"]["status"] == "CANCELED",
        )
        runs = first.graphql(RUNS, filter=of_backfill)["runsOrError"]["results"]
        assert len(runs) <= submitted + 1

        here = os.getpriority(os.PRIO_PROCESS, 0)
        yielding = {command: min(19, here + 10) if command in FETCHING else here for command in SERVERS}
        assert first.priorities() == yielding
        assert len(first.processes()) > len(SERVERS)
        looked_at = last_look(tmp_path)
        assert first.interrupt() == 0
        assert first.processes() == set()

    with up(tmp_path, "--workers", "2", "--host", "0.0.0.0", **first.settings) as second:  # noqa: S104
        second.wait_until_ready()
        assert "The Dagster UI listens on 127.0.0.1 only. Set FX_DAGSTER_PASSWORD" in second.output
        assert second.output.count("Started server process") == 2
        assert second.asked() == {"historical": {"ok": 3}}  # yesterday, and the two revisable days
        assert "3 days stored." in second.output
        second.wait("look of the watcher", lambda: last_look(tmp_path) > looked_at)
        assert inbox.received == []
        os.kill(second.process.pid, signal.SIGTERM)
        assert second.process.wait(PATIENCE) == 0
        assert second.processes() == set()


@pytest.mark.slow
def test_with_a_wrong_key_up_says_what_to_do_in_json_and_serves_the_stored_days(tmp_path: Path) -> None:
    with running_sandbox(key="good") as sandbox:
        provider = {"FIXER_BASE_URL": sandbox.url}
        run_command(tmp_path, "ingest", "--date", "2000-01-03", FIXER_ACCESS_KEY="good", **provider)
        asked = sandbox.stats()["total"]
        with up(tmp_path, FIXER_ACCESS_KEY="k3y-unknown", FX_LOG_FORMAT="json", **provider) as running:
            running.wait_until_ready()
            lines = [json.loads(line) for line in running.output.splitlines()]
            said = "\n".join(line["message"] for line in lines)
            assert "DEMO" not in said
            assert "Set FIXER_ACCESS_KEY to the key shown in your Fixer account" in said
            assert "The stored ones are served." in said
            assert "/rates/2000-01-03/\n" in said
            assert sandbox.stats()["total"] - asked <= 4
            assert running.get("/rates/2000-01-03/").status_code == 200
            assert running.interrupt() == 0
        for line in running.output.splitlines():
            assert {"time", "level", "message", "process"} <= set(json.loads(line)), line
        assert {line["process"] for line in lines} >= {"system", "api", "ingest"}
    assert "k3y-unknown" not in running.output


@pytest.mark.slow
def test_a_damaged_home_ends_up_with_one_line(tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    home.mkdir(parents=True)
    (home / "history").write_text("not a folder", encoding="utf-8")
    with up(tmp_path) as running:
        assert running.process.wait(PATIENCE) == 1
        assert f"dagster | Error: Dagster's home {home} cannot be used (" in running.output
        assert "Traceback" not in running.output
        assert running.processes() == set()


@pytest.mark.slow
def test_when_a_server_dies_the_others_stop_but_replication_starts_again(tmp_path: Path) -> None:
    with up(tmp_path, FX_REPLICA_URL=f"file://{tmp_path}/replica") as running:
        running.wait("API", lambda: "api     | INFO:     Uvicorn running" in running.output)
        running.wait("replication", lambda: running.get("/-/health").json().get("replication") == "ok")
        [replicate] = running.pids("replicate")
        os.kill(replicate, signal.SIGKILL)
        running.wait("its restart", lambda: running.output.count("replica started") == 2)
        [pid] = [
            line.rpartition("pid=")[2].rstrip(")")
            for line in running.output.splitlines()
            if "api started" in line
        ]
        os.kill(int(pid), signal.SIGKILL)
        assert running.process.wait(PATIENCE) == 1
        assert "api stopped (rc=-9)" in running.output
        assert running.processes() == set()
    config = str(tmp_path / "data" / "fx.db-replication" / "litestream.yml")
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if config in (process.info["cmdline"] or ())
    ]


@pytest.mark.slow
def test_a_killed_up_leaves_no_process_after_the_next_start(
    tmp_path: Path, free_ports: dict[str, str]
) -> None:
    def names(killed: Up) -> str:
        return f"The last fx-pipeline up (process {killed.process.pid}, started "

    with up(tmp_path, **free_ports) as first:
        first.wait("all servers", lambda: first.priorities().keys() == set(SERVERS))
        first.process.kill()
        first.process.wait()
        wait_for(first.processes, lambda processes: processes == set())

    with up(tmp_path, **free_ports) as second:
        second.wait("all servers", lambda: second.priorities().keys() == set(SERVERS))
        assert names(first) in second.output
        assert "was killed. " in second.output
        for watchdog in psutil.Process(second.process.pid).children():
            if "fx_pipeline.processes.watchdog" in watchdog.cmdline():
                watchdog.kill()
        second.process.kill()
        second.process.wait()
        assert len(second.processes()) >= len(SERVERS)

        with up(tmp_path, **free_ports) as third:
            third.wait_until_ready()
            assert names(second) in third.output
            assert "of its processes were still running and had to be stopped: " in third.output
            assert third.interrupt() == 0
            assert third.processes() == set()
    assert not (tmp_path / "data" / "dagster" / "up.json").exists()


def test_the_newest_stored_day_is_read_from_the_database(tmp_path: Path) -> None:
    file = tmp_path / "a #1.db"
    assert newest_day(file) is None
    with RateStore(file) as store:
        assert newest_day(file) is None
        days = [dt.date(2024, 3, 1), dt.date(2024, 2, 1)]
        store.record(
            [fetch_of(DayRates(date=day, base="EUR", timestamp=0, rates={"USD": 1.1})) for day in days]
        )
    assert newest_day(file) == "2024-03-01"
