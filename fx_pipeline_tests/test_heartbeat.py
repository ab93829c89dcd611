"""The dead man's switch over real HTTP: the daily run, the drill, and a service that is down."""

import datetime as dt
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from fx_pipeline import heartbeat
from fx_pipeline.clock import utc_now
from fx_pipeline.definitions import defs
from fx_pipeline.defs import tries
from fx_pipeline.defs.run_config import range_tags
from fx_pipeline.drilled import DrillState, write_drill
from fx_pipeline.heartbeat import report
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.replication.backup import back_up, default_place, note_backup
from fx_pipeline.settings import SettingsError, load_settings
from fx_pipeline_tests.defs.rates_run import QUIET, resources
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

SECRET = "3a7e0c1d-5b6f-4a39-9f0e-secret000001"

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


class Service(ThreadingHTTPServer):
    """Keeps what is reported to it, after it has answered with the statuses in `refusals`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, str]] = []
        self.refusals: list[int] = []
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{SECRET}"

    @property
    def signals(self) -> list[str]:
        """Return the end of the path of each report."""
        return [path.partition("?")[0].removeprefix(f"/{SECRET}") or "success" for path, _ in self.received]


class _Handler(BaseHTTPRequestHandler):
    server: Service

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.requests += 1
        status = self.server.refusals.pop(0) if self.server.refusals else 200
        if status == 200:
            self.server.received.append((self.path, text))
        self.send_response(status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to stderr."""


@contextmanager
def running_service() -> Iterator[Service]:
    with Service() as service:
        threading.Thread(target=service.serve_forever, args=(0.05,), daemon=True).start()
        yield service
        service.shutdown()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(heartbeat, "PAUSE", 0.01)
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    with running_service() as service:
        monkeypatch.setenv("FX_HEARTBEAT_URL", service.url)
        yield service


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path / "dagster") as instance:
        yield instance


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as sandbox:
        sandbox.change(today=lambda: dt.date(2024, 1, 6))
        yield sandbox


def run_daily(instance: dg.DagsterInstance, sandbox: Sandbox, **tags: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags={**range_tags("2024-01-04", "2024-01-05"), **tags},
        run_config=QUIET,
        raise_on_error=False,
        resources=resources(sandbox.url),
    )


TRY = {tries.MORNING: "2024-01-06", tries.NEXT_TRY: "60"}
LAST_TRY = {tries.MORNING: "2024-01-06"}


def test_the_daily_run_reports_its_start_and_its_end(
    instance: dg.DagsterInstance, sandbox: Sandbox, service: Service
) -> None:
    assert run_daily(instance, sandbox).success
    assert service.received == []  # an operator started it
    run = run_daily(instance, sandbox, **TRY)
    assert service.signals == ["/start", "success"]
    assert {path.partition("?")[2] for path, _ in service.received} == {f"rid={run.run_id}"}
    text = service.received[1][1]
    assert text.startswith("fx-pipeline: The daily run took ")
    assert text.endswith(f" s. http://127.0.0.1:3000/runs/{run.run_id}")

    service.received.clear()
    sandbox.change(faults={"server-error": 1.0})
    assert not run_daily(instance, sandbox, **TRY).success
    assert service.signals == ["/start"]  # another try of the morning follows
    assert not run_daily(instance, sandbox, **LAST_TRY).success
    assert service.signals == ["/start", "/start", "/fail"]

    sandbox.change(faults={})
    service.received.clear()
    load_settings().fx_database.parent.mkdir()
    write_drill(load_settings().fx_database, DrillState(at="2024-01-06T04:40:00+00:00", result="failed"))
    assert run_daily(instance, sandbox, **TRY).success
    assert service.signals == ["/start", "/fail"]
    assert "the last restore drill failed" in service.received[1][1]


def test_a_drill_is_reported_unless_the_daily_run_has_failed(
    instance: dg.DagsterInstance, sandbox: Sandbox, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drill() -> list[str]:
        service.received.clear()
        job = defs.resolve_job_def("database_job")
        run = job.execute_in_process(
            instance=instance, run_config=QUIET, resources=resources("http://127.0.0.1:9")
        )
        assert run.success
        return service.signals

    path = Path("fx.db").absolute()
    monkeypatch.setenv("FX_DATABASE", str(path))
    assert run_daily(instance, sandbox, **TRY).success
    assert drill() == []  # there is nothing to restore
    backup = back_up(path, path.with_name("tokens.db"), default_place(path), utc_now())
    note_backup(path, backup)
    assert drill() == ["success"]
    assert "The restore drill took " in service.received[0][1]
    sandbox.change(faults={"server-error": 1.0})
    assert not run_daily(instance, sandbox, **LAST_TRY).success
    assert drill() == []  # it would look as if the daily run were good
    os.truncate(backup / "fx.db", 9_000)
    assert drill() == ["/fail"]


def test_a_service_that_is_down_neither_fails_the_run_nor_leaks_the_address(
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    service.refusals = [404, 503, 429]
    run = run_daily(instance, sandbox, **TRY)
    assert run.success
    assert service.requests == 4  # 404 is final, 503 and 429 are not
    assert service.signals == ["success"]
    monkeypatch.setenv("FX_HEARTBEAT_URL", f"http://127.0.0.1:9/{SECRET}")
    refused = run_daily(instance, sandbox, **TRY)
    assert refused.success
    logs = [record.user_message for one in (run, refused) for record in instance.all_logs(one.run_id)]
    assert "FX_HEARTBEAT_URL did not accept the report (start): HTTP status 404." in logs
    assert (
        "FX_HEARTBEAT_URL did not accept the report (success): no connection: ConnectionRefusedError." in logs
    )
    output = capfd.readouterr()
    assert SECRET not in "".join([*logs, caplog.text, output.out, output.err])
    home = Path(instance.root_directory)
    assert not [path for path in home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_report_ends_however_slow_the_service_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "DEADLINE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = SecretStr(f"http://127.0.0.1:{silent.getsockname()[1]}/{SECRET}")
        failure = report(url, "start", run_id="1")
    assert failure == "no response within 0.2 s"


def test_the_query_of_the_address_stays(service: Service) -> None:
    assert report(SecretStr(f"{service.url}/?create=1"), "fail", run_id="r 1") is None
    assert service.received == [(f"/{SECRET}/fail?create=1&rid=r+1", "")]


@pytest.mark.parametrize(
    "value",
    [SECRET, f"file:///{SECRET}", f"https:///{SECRET}", f"http://h:x/{SECRET}", f"http://h/{SECRET}#1"],
)
def test_other_addresses_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FX_HEARTBEAT_URL", value)
    with pytest.raises(
        SettingsError, match="FX_HEARTBEAT_URL cannot be used: it is not an address"
    ) as raised:
        load_settings()
    assert SECRET not in str(raised.value)
