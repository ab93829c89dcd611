"""`fx-pipeline up` as a new user runs it: in an empty folder, on free ports, until Ctrl-C."""

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from filelock import FileLock

from fx_pipeline.alerted import read_alerts
from fx_pipeline.clock import yesterday
from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance, prepare
from fx_pipeline.processes.leftovers import held, watched
from fx_pipeline.processes.up import Addresses, check_ports, newest_day
from fx_pipeline.rates import DayRates, date_range
from fx_pipeline.settings import SettingsError, load_settings
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.inbox import Inbox
from fx_pipeline_tests.processes.running_up import (
    BACKFILL,
    FETCHING,
    LAUNCH,
    PORTS,
    RELOAD,
    SERVERS,
    Up,
    reserved,
    up,
)
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.waiting import PATIENCE, wait_for


def last_look(folder: Path) -> dt.datetime:
    """Return when the watcher looked last."""
    state = read_alerts(folder / "data" / "fx.db")
    assert state is not None
    return state.looked_at


@pytest.fixture
def free_ports() -> Iterator[dict[str, str]]:
    """Yield settings with free ports."""
    with reserved() as settings:
        yield settings


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


def test_a_second_up_reports_the_first_not_its_ports(tmp_path: Path, free_ports: dict[str, str]) -> None:
    home = tmp_path / "data" / "dagster"
    with held(home), watched(home), socket.create_server(("127.0.0.1", 0)) as listener:
        taken = {**free_ports, "FX_API_PORT": str(listener.getsockname()[1])}
        done = run_command(tmp_path, "up", **taken)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Another fx-pipeline up or code-server is using Dagster's home {home}. Stop it, or set "
        "DAGSTER_HOME to another folder.\n"
    )


@pytest.mark.parametrize(
    ("host", "password", "expected"),
    [
        ("127.0.0.1", "", Addresses("127.0.0.1", "127.0.0.1")),
        ("localhost", "", Addresses("localhost", "localhost")),
        ("0.0.0.0", "", Addresses("0.0.0.0", "127.0.0.1")),  # noqa: S104
        ("0.0.0.0", "secret", Addresses("0.0.0.0", "0.0.0.0")),  # noqa: S104
        ("192.0.2.7", "", Addresses("192.0.2.7", "127.0.0.1")),
    ],
)
def test_only_a_ui_with_a_password_leaves_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, password: str, expected: Addresses
) -> None:
    monkeypatch.setenv("FX_DAGSTER_PASSWORD", password)
    assert Addresses.of(host, load_settings()) == expected


def test_an_address_of_another_machine_is_refused(tmp_path: Path, free_ports: dict[str, str]) -> None:
    done = run_command(tmp_path, "up", "--host", "192.0.2.7", **free_ports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: 192.0.2.7 cannot be used (Cannot assign requested address): set --host to an address of this "
        "machine.\n"
    )


@pytest.mark.parametrize("name", PORTS)
def test_a_busy_port_is_reported_with_its_setting(
    tmp_path: Path, free_ports: dict[str, str], name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        done = run_command(tmp_path, "up", **{**free_ports, name: port})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Port {port} cannot be used (Address already in use): "
        f"set {name} to a free port, or stop the program that listens there.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "other", "needed"),
    [
        ("FX_DAGSTER_PORT", "FX_API_PORT", {}),
        ("FX_SANDBOX_PORT", "FX_DAGSTER_PORT", {}),
        ("FX_METRICS_PORT", "FX_SANDBOX_PORT", {}),
        ("FX_LITESTREAM_PORT", "FX_API_PORT", {"FX_REPLICA_URL": "file:///replica"}),
    ],
)
def test_two_settings_with_the_same_port_are_named(
    monkeypatch: pytest.MonkeyPatch,
    free_ports: dict[str, str],
    name: str,
    other: str,
    needed: dict[str, str],
) -> None:
    for setting, value in {**free_ports, name: free_ports[other], **needed}.items():
        monkeypatch.setenv(setting, value)
    with pytest.raises(SettingsError, match=f"^{other} and {name} are both {free_ports[other]}: set one"):
        check_ports(load_settings())


@pytest.mark.parametrize("name", ["FX_SANDBOX_PORT", "FX_LITESTREAM_PORT"])
def test_an_unused_setting_may_have_the_port_of_another(
    monkeypatch: pytest.MonkeyPatch, free_ports: dict[str, str], name: str
) -> None:
    for setting, value in {
        **free_ports,
        name: free_ports["FX_API_PORT"],
        "FIXER_ACCESS_KEY": "a-key",
    }.items():
        monkeypatch.setenv(setting, value)
    check_ports(load_settings())


def test_the_sandboxs_port_may_be_busy_if_a_key_is_set(
    monkeypatch: pytest.MonkeyPatch, free_ports: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for name, port in {**free_ports, "FX_SANDBOX_PORT": listener.getsockname()[1]}.items():
            monkeypatch.setenv(name, str(port))
        with pytest.raises(SettingsError, match="set FX_SANDBOX_PORT"):
            check_ports(load_settings())
        monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
        check_ports(load_settings())


def test_an_unwritable_home_is_reported_with_its_setting(tmp_path: Path, free_ports: dict[str, str]) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    done = run_command(tmp_path, "up", DAGSTER_HOME="file/home", **free_ports)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: Dagster's home {tmp_path}/file/home cannot be used (")
    assert line.endswith("or set DAGSTER_HOME to another folder.")


def begun(instance: dg.DagsterInstance) -> str:
    """Create a run that has started but has no process, as after a power cut."""
    run = instance.create_run_for_job(defs.resolve_job_def("rates_job"))
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, run.job_name), run.run_id
    )
    return run.run_id


def test_an_abandoned_run_is_reported_as_failed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_instance(home) as instance:
        left, going_on = begun(instance), begun(instance)
        with FileLock(home / f"{going_on}.lock"):
            prepare(home, for_up=True)
            status = {run.run_id: run.status for run in instance.get_runs()}
    assert status == {left: dg.DagsterRunStatus.FAILURE, going_on: dg.DagsterRunStatus.STARTED}
    assert not (home / f"{left}.lock").exists()


@pytest.mark.slow
def test_a_home_is_used_by_one_up_only(tmp_path: Path, free_ports: dict[str, str]) -> None:
    home = tmp_path / "data" / "dagster"
    with held(home):
        done = run_command(tmp_path, "up", **free_ports)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Another fx-pipeline up or code-server is using Dagster's home {home}. Stop it, or set "
        "DAGSTER_HOME to another folder.\n"
    )
    with held(home):
        pass


@pytest.mark.slow
def test_processes_that_create_dagsters_home_concurrently_all_can_use_it(tmp_path: Path) -> None:
    """Dagster's own start is not safe: it leaves a home that nothing can open."""
    code = (
        "from pathlib import Path; from fx_pipeline.processes.dagster_home import open_instance; "
        "open_instance(Path('home'))"
    )
    command = [sys.executable, "-c", code]
    together = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], errors
