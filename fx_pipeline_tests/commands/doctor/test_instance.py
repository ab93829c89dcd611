"""`doctor` and what runs: ports, Dagster's instance, replication."""

import datetime as dt
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.testing import record_heartbeat
from fx_pipeline.definitions import defs
from fx_pipeline.following import Position, folder_of, write_position
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.replicated import ReplicationState, write_state
from fx_pipeline.replicated import folder_of as replication_folder
from fx_pipeline.replication import fencing
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.settings import load_settings
from fx_pipeline.store.writer import write_record
from fx_pipeline_tests.commands.doctor.conftest import Doctor
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.postgres_server import PostgresServer
from fx_pipeline_tests.quality.corruption import execute
from fx_pipeline_tests.storages import on_both_storages

FREE = "Set {} to a free port, or stop the program that listens there."


@contextmanager
def answering(port: int, body: str) -> Iterator[None]:
    """Serve this body at each path of a port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Write nothing to stderr."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield
        server.shutdown()


def test_a_port_of_another_program_is_a_fault(ports: list[int], doctor: Doctor) -> None:
    with answering(ports[0], "hello"), socket.create_server(("127.0.0.1", ports[1])):
        api, dagster, free = doctor()["ports"]
    assert api == (
        "fault",
        f"{ports[0]} (FX_API_PORT) is in use by another program",
        FREE.format("FX_API_PORT"),
    )
    assert dagster == (
        "fault",
        f"{ports[1]} (FX_DAGSTER_PORT) is in use by another program",
        FREE.format("FX_DAGSTER_PORT"),
    )
    assert free == ("ok", f"free: {ports[2]} (FX_SANDBOX_PORT)", None)


@pytest.mark.usefixtures("stored")
def test_a_port_of_another_instance_is_a_fault(ports: list[int], doctor: Doctor) -> None:
    health = json.dumps({"status": "ok", "latest_date": "2020-01-01", "days": 7})
    home = json.dumps(
        {
            "dagster_webserver_version": "1",
            "data": {"instance": {"info": "config:\n  base_dir: /elsewhere\n"}},
        }
    )
    with answering(ports[0], health), answering(ports[1], home):
        api, dagster, _ = doctor()["ports"]
    assert api[1] == f"{ports[0]} (FX_API_PORT) is in use by another instance of fx-pipeline"
    assert dagster[1] == f"{ports[1]} (FX_DAGSTER_PORT) is in use by the Dagster UI of another instance"


def test_one_port_for_two_settings_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, ports: list[int], doctor: Doctor
) -> None:
    monkeypatch.setenv("FX_METRICS_PORT", str(ports[0]))
    assert doctor()["ports"][0] == (
        "fault",
        f"FX_API_PORT and FX_METRICS_PORT are both {ports[0]}",
        "Set one of them to another port.",
    )


def test_an_address_of_another_machine_is_a_fault(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    monkeypatch.setenv("FX_METRICS_HOST", "192.0.2.1")
    with reserved_port() as port:
        monkeypatch.setenv("FX_METRICS_PORT", str(port))
        assert doctor()["ports"][0] == (
            "fault",
            "192.0.2.1 cannot be used (Cannot assign requested address)",
            "Set FX_METRICS_HOST to an address of this machine.",
        )


@on_both_storages
@pytest.mark.usefixtures("stored", "storage")
def test_what_is_wrong_with_an_instance_is_a_fault(doctor: Doctor, tmp_path: Path) -> None:
    died = utc_now() - dt.timedelta(minutes=6)
    beat = died.isoformat(timespec="seconds")
    with open_instance(tmp_path / "data" / "dagster") as instance:
        record_heartbeat(instance, died)
        run = instance.create_run_for_job(
            defs.resolve_job_def("rates_job"), tags={"dagster/max_retries": "0"}
        )
        instance.report_run_failed(run, "Its process was killed.")
    execute(tmp_path / "data" / "fx.db", "UPDATE fetches SET run_id = 'of-another-home'")
    found = doctor()
    home = tmp_path / "data" / "dagster"
    storage_of, other = found["dagster"]
    assert storage_of[0] == "ok"
    assert [other] == [
        (
            "warning",
            f"{home} does not have the run of-another-home, which made the newest fetch",
            "If the home is that of another instance, set DAGSTER_HOME. After a restore, this is normal.",
        ),
    ]
    assert found["daemon"] == [
        (
            "fault",
            f"Dagster's daemon is not running: its last heartbeat was at {beat}",
            "Start `fx-pipeline up` or `fx-pipeline daemon`.",
        )
    ]
    [(state, text, remedy)] = found["schedules"]
    assert (state, text.partition(" daily_checks, ")[0]) == ("fault", "Dagster has never run")
    assert str(remedy).startswith("Start `fx-pipeline up`, or ")
    [(state, text, remedy)] = found["last run"]
    assert (state, text.partition(":")[0]) == ("fault", "a run failed")
    assert str(remedy).startswith('"Re-execute all" on the page of the run, or ')


def test_a_file_of_dagster_that_it_refuses_is_a_fault(doctor: Doctor, tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("no_such_option: 1\n", encoding="utf-8")
    [(state, text, remedy)] = doctor()["dagster"]
    assert (state, remedy) == ("fault", "Correct it, or remove it to get that of fx-pipeline.")
    assert text.startswith(f"{home}/dagster.yaml cannot be used (")


@pytest.mark.usefixtures("stored")
def test_a_database_without_an_instance_is_a_fault(doctor: Doctor, tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    assert doctor()["dagster"] == [
        (
            "fault",
            f"{home} has no instance yet",
            "Start `fx-pipeline up`, or set DAGSTER_HOME to the home that it uses.",
        )
    ]
    assert not home.exists()


def test_postgres_without_a_server_is_a_fault(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    with reserved_port() as port:
        monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", f"postgresql://u:p@127.0.0.1:{port}/dagster")
        [(state, text, remedy)] = doctor()["dagster"]
    assert state == "fault"
    assert text.startswith(f"Dagster's PostgreSQL database 127.0.0.1:{port}/dagster cannot be used (")
    assert remedy == "Check FX_DAGSTER_POSTGRES_URL and the server."


def test_a_code_server_of_another_machine_is_connected_to(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("FX_CODE_SERVER", address)
        assert doctor()["code server"] == [("ok", f"{address} accepts connections", None)]
    text = f"{address} cannot be reached: it does not answer"
    remedy = "Start `fx-pipeline code-server` there, or correct FX_CODE_SERVER."
    assert doctor()["code server"] == [("fault", text, remedy)]


@pytest.mark.slow
def test_an_empty_postgres_database_is_a_warning_and_stays_empty(
    monkeypatch: pytest.MonkeyPatch, postgres: PostgresServer, doctor: Doctor
) -> None:
    url = postgres.new_database()
    monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", url)
    for _ in range(2):
        [(state, text, _)] = doctor()["dagster"]
        assert (state, text.partition(" database ")[0]) == ("warning", "the PostgreSQL")


def replicated(database: Path, **state: object) -> None:
    replication_folder(database).mkdir(exist_ok=True)
    now = utc_now().isoformat(timespec="seconds")
    write_state(database, ReplicationState(**{"at": now, "confirmed_at": now, **state}))  # type: ignore[arg-type]


def stopped(database: Path, replica: ReplicaAddress) -> None:
    fencing.record(replica, database, fencing.claim(replica, 1))
    replicated(database, at="2020-01-01T00:00:00+00:00")


def failing(database: Path, replica: ReplicaAddress) -> None:
    fencing.record(replica, database, fencing.claim(replica, 1))
    replicated(database, fault="The disk of the store is full. Free some space there.")


def of_another_host(database: Path, replica: ReplicaAddress) -> None:
    fencing.claim(replica, 1)
    replicated(database)


def superseded(database: Path, _: ReplicaAddress) -> None:
    write_record(database, {"superseded": "Another host has taken over. Run `fx-pipeline replica`."})


def lagging(database: Path, replica: ReplicaAddress) -> None:
    folder_of(database).mkdir()
    write_position(database, Position(str(replica), 1, 7, utc_now() - dt.timedelta(hours=1)))


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("break_it", "text", "remedy"),
    [
        (
            stopped,
            "Replication is not running: it last reported at 2020-01-01T00:00:00+00:00",
            "Start `fx-pipeline up` or `fx-pipeline replicate`.",
        ),
        (failing, "The disk of the store is full", "Free some space there."),
        (
            of_another_host,
            "another host writes to file://{folder}/replica",
            "If it is lost, write here with `fx-pipeline restore --take-over`; otherwise run `fx-pipeline "
            "replica` to serve a copy.",
        ),
        (superseded, "Another host has taken over", "Run `fx-pipeline replica`."),
        (
            lagging,
            "this reader has not been current for 3,600 s. FX_MAX_LAG_SECONDS allows 60",
            "Start `fx-pipeline replica`, or read its log.",
        ),
    ],
)
def test_replication_that_does_not_work_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
    doctor: Doctor,
    tmp_path: Path,
    break_it: Callable[[Path, ReplicaAddress], None],
    text: str,
    remedy: str,
) -> None:
    url = f"file://{tmp_path}/replica"
    monkeypatch.setenv("FX_REPLICA_URL", url)
    break_it(load_settings().fx_database, ReplicaAddress.parse(url))
    [(state, found, advice)] = doctor()["replica"]
    assert (state, found.replace("3,601", "3,600"), advice) == ("fault", text.format(folder=tmp_path), remedy)
