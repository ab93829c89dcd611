"""`doctor` and other machines: the provider, the key, the clock, alerts, and time limits."""

import datetime as dt
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fx_pipeline.alerted import AlertState, Letter, write_alerts
from fx_pipeline.clock import utc_now, yesterday
from fx_pipeline.commands.doctor import provider, replica, subjects
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding
from fx_pipeline.rates import DayRates
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.commands.doctor.conftest import Doctor, run_doctor
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.fixer.calls import tls
from fx_pipeline_tests.fixer.conftest import certificate
from fx_pipeline_tests.fixer.scripted_server import reply, scripted
from fx_pipeline_tests.inbox import TOKEN, open_inbox
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.quality.corruption import one
from fx_pipeline_tests.sandbox_server import running_sandbox

__all__ = ["certificate"]

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NETWORK = "Check the network, the name server, the proxy and FIXER_BASE_URL."
CORRECT = "Correct it, for example with NTP: `as_of` needs a correct clock."
NAMES = reply({"success": True, "symbols": {"USD": "Dollar"}}, Date="Fri, 01 Jan 2021 00:00:00 GMT")


@pytest.fixture
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")


@contextmanager
def silent_port() -> Iterator[int]:
    """Yield a port whose connections are never accepted."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as queued:
        queued.connect(full.getsockname())  # fills the queue: the next connection waits for ever
        yield int(full.getsockname()[1])


@pytest.mark.usefixtures("_key")
def test_a_provider_that_cannot_be_reached_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    monkeypatch.setenv("FIXER_BASE_URL", "https://fixer.invalid/api")
    unresolved = "the name of fixer.invalid cannot be resolved"
    assert doctor()["provider"] == [("fault", unresolved, NETWORK)]
    with reserved_port() as port:
        monkeypatch.setenv("FIXER_BASE_URL", f"http://127.0.0.1:{port}/api")
        refused = "127.0.0.1 cannot be reached: connection refused"
        assert doctor()["provider"] == [("fault", refused, NETWORK)]
        monkeypatch.setenv("http_proxy", f"http://user:{TOKEN}@127.0.0.1:{port}")
        monkeypatch.setenv("FIXER_BASE_URL", "http://fixer.invalid/api")
        assert doctor()["provider"] == [("fault", "the proxy cannot be reached: connection refused", NETWORK)]


@pytest.mark.usefixtures("_key")
def test_without_call_only_a_connection_is_made(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, certificate: Path
) -> None:
    with scripted(NAMES, tls=tls(certificate)) as server:
        monkeypatch.setenv("FIXER_BASE_URL", server.url)
        [(state, text, remedy)] = doctor()["provider"]
        assert state == "fault"
        assert text.startswith("the certificate of 127.0.0.1 is not trusted (self")
        assert remedy == (
            "Check FIXER_BASE_URL and the clock. Behind a proxy, set REQUESTS_CA_BUNDLE to its certificates."
        )
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", f"{certificate}.crt")
        found = doctor()
        assert found["provider"] == [("ok", "127.0.0.1 accepts connections", None)]
        assert found["key"] == [("ok", "FIXER_ACCESS_KEY is set. `--call` tests it with one call", None)]
        assert server.requests == []


def test_no_key_is_a_fault(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    with running_sandbox() as sandbox:
        monkeypatch.setenv("FIXER_BASE_URL", sandbox.url)
        assert doctor("--call")["key"] == [
            ("fault", "FIXER_ACCESS_KEY is not set", "Set it to the key of your Fixer account in .env.")
        ]
        assert sandbox.stats()["endpoints"] == {}


@pytest.mark.usefixtures("_key")
def test_call_tests_the_key_with_one_call_that_is_counted(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    with running_sandbox(key="a-key") as sandbox:
        monkeypatch.setenv("FIXER_BASE_URL", sandbox.url)
        found = doctor("--call")
        assert found["key"] == [("ok", "the provider accepts it (one call)", None)]
        assert found["clock"] == [("ok", "it agrees with the provider's", None)]
        assert not (tmp_path / "data").exists()
        with RateStore(load_settings().fx_database):
            pass
        monkeypatch.setenv("FIXER_MONTHLY_QUOTA", "40")
        assert doctor("--call")["key"] == [("ok", "the provider accepts it (one call)", None)]
        database = tmp_path / "data" / "fx.db"
        assert tuple(one(database, "SELECT count(*), sum(calls) FROM fetches")) == (1, 1)
        monkeypatch.setenv("FIXER_MONTHLY_QUOTA", "1")
        [(state, text, _)] = doctor("--call")["key"]
        assert state == "warning"
        assert text.startswith("no call was made: 1 of the 1 calls of this month are used")
        monkeypatch.delenv("FIXER_MONTHLY_QUOTA")
        monkeypatch.setenv("FIXER_ACCESS_KEY", "another-key")
        [(state, text, remedy)] = doctor("--call")["key"]
        assert (state, text) == (
            "fault",
            "the access key is missing or unknown (101 invalid_access_key)",
        )
        assert remedy == (
            "Set FIXER_ACCESS_KEY to the key shown in your Fixer account, and FIXER_BASE_URL to its host."
        )
        assert sandbox.stats()["endpoints"] == {"symbols": {"ok": 2, "101": 1}}


@pytest.mark.usefixtures("_key")
def test_a_clock_that_differs_from_the_providers_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    with scripted(NAMES) as server:
        monkeypatch.setenv("FIXER_BASE_URL", server.url)
        [(state, text, remedy)] = doctor("--call")["clock"]
    assert (state, remedy) == ("fault", CORRECT)
    assert text.startswith("it is ")
    assert text.endswith(" minutes ahead of the provider's now")


@pytest.mark.usefixtures("_key")
def test_rates_of_the_sandbox_and_of_fixer_are_not_mixed(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    day = DayRates(date=yesterday(), base="EUR", timestamp=0, rates={"USD": 1.1})
    with RateStore(load_settings().fx_database) as store:
        store.record([fetch_of(day, provider="sandbox")])
    monkeypatch.setattr(
        subjects, "SUBJECTS", [one for one in subjects.SUBJECTS if one.checks != ("provider",)]
    )
    [(state, text, remedy)] = doctor()["database"]
    assert state == "fault"
    assert text == f"{tmp_path}/data/fx.db holds rates from the sandbox"
    assert str(remedy).startswith("Rates from Fixer are not added to them")


def test_alerts_are_checked_and_a_test_is_sent_only_on_request(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_ALERT_URLS", f"{inbox.url} slck://{TOKEN}")
        assert doctor()["alerts"] == [
            (
                "fault",
                "FX_ALERT_URLS, entry 2: not a URL that Apprise supports. Did you mean slack://?",
                "Correct FX_ALERT_URLS.",
            )
        ]
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        assert doctor()["alerts"] == [("ok", "1 address can be used. `--alert` sends a test message", None)]
        assert inbox.received == []
        assert doctor("--alert")["alerts"] == [("ok", "1 address accepted a test message", None)]
        assert [message["title"] for message in inbox.received] == ["fx-pipeline: test"]
        inbox.closed = True
        assert doctor("--alert")["alerts"] == [
            (
                "fault",
                "FX_ALERT_URLS, entry 1 (JSON): the alert was not accepted (HTTP status 503)",
                "Correct the address, or check the service.",
            )
        ]


def test_a_watcher_that_does_not_run_and_undelivered_alerts_are_faults(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    database, now = tmp_path / "data" / "fx.db", utc_now()
    database.parent.mkdir()
    failure = "FX_ALERT_URLS, entry 1 (JSON): the alert was not accepted (no connection)"
    letter = Letter("fx-pipeline: the disk is full", "", "failure", now, failures=(failure,))
    write_alerts(database, AlertState(now, sending=True, outbox=[letter]))
    found = doctor()
    assert found["watcher"] == [("ok", f"it last looked at {now:%Y-%m-%dT%H:%M:%S+00:00}", None)]
    assert found["undelivered alerts"] == [
        (
            "fault",
            f'The alert "fx-pipeline: the disk is full" was not delivered: {failure}',
            "Send a test with `fx-pipeline doctor --alert`.",
        )
    ]
    write_alerts(database, AlertState(dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc), sending=True))
    assert doctor()["watcher"] == [
        (
            "fault",
            "No alert is sent: the watcher last looked at 2024-01-01T00:00:00+00:00",
            "Start `fx-pipeline up` or `fx-pipeline watch`.",
        )
    ]


def test_the_service_of_the_dead_mans_switch_is_only_connected_to(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_HEARTBEAT_URL", inbox.url.replace("json:", "http:"))
        text = "the service in FX_HEARTBEAT_URL accepts connections"
        assert doctor()["heartbeat"] == [("ok", text, None)]
        assert inbox.received == []
    with reserved_port() as port:
        for host, reason in (
            ("secret-name.invalid", "its name cannot be resolved"),
            (f"127.0.0.1:{port}", "it does not answer"),
        ):
            monkeypatch.setenv("FX_HEARTBEAT_URL", f"http://{host}/uuid")
            text = f"the service in FX_HEARTBEAT_URL cannot be reached: {reason}"
            assert doctor()["heartbeat"] == [("fault", text, "Check the address and the network.")]


@pytest.mark.usefixtures("_key")
def test_a_check_that_hangs_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    released = threading.Event()

    def hang(_: Facts) -> list[Finding]:
        released.wait()
        return []

    patched = [
        replace(one, look=hang, seconds=0.1) if one.checks == ("provider",) else one
        for one in subjects.SUBJECTS
    ]
    monkeypatch.setattr(subjects, "SUBJECTS", patched)
    with silent_port() as port:
        monkeypatch.setenv("FIXER_BASE_URL", f"http://127.0.0.1:{port}")
        found = doctor()
    released.set()
    assert found["provider"] == [
        ("fault", "no answer within 0.1 s", "Check the disk, the network or the service that this asks.")
    ]
    assert found["key"][0][0] == "ok"


def test_a_silent_provider_is_a_fault(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    monkeypatch.setattr(provider, "CONNECT_SECONDS", 0.2)
    with silent_port() as port:
        monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
        monkeypatch.setenv("FIXER_BASE_URL", f"http://127.0.0.1:{port}")
        assert doctor()["provider"] == [("fault", "127.0.0.1 cannot be reached: no answer", NETWORK)]


CANARY = "c4naryOfASecret"


@pytest.mark.parametrize("is_valid", [True, False])
def test_no_secret_is_printed(monkeypatch: pytest.MonkeyPatch, is_valid: bool) -> None:
    with reserved_port() as port:
        place = f"127.0.0.1:{port}"
        secrets = {
            "FIXER_ACCESS_KEY": CANARY,
            "FX_REPLICA_URL": f"s3://fx/path?endpoint=http://{CANARY}:{CANARY}@{place}",
            "FX_ALERT_URLS": f"json://user:{CANARY}@{place}/{CANARY}",
            "FX_HEARTBEAT_URL": f"http://{place}/{CANARY}",
            "FX_DAGSTER_PASSWORD": CANARY,
            "DATASETTE_SECRET": CANARY,
            "SENTRY_DSN": f"http://{CANARY}@{place}/1",
            "FX_DAGSTER_POSTGRES_URL": f"postgresql://user:{CANARY}@{place}/dagster",
        }
        assert {*secrets} == {
            name.upper()
            for name, field in Settings.model_fields.items()
            if "SecretStr" in str(field.annotation)
        }
        for name, value in secrets.items():
            monkeypatch.setenv(name, value if is_valid else f'"{value}')
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://user:{CANARY}@{place}")
        monkeypatch.setenv("FIXER_BASE_URL", f"http://fixer.invalid/{'' if is_valid else f'?key={CANARY}'}")
        monkeypatch.setattr(replica, "STORE_SECONDS", 1)
        for options in ([], ["--call", "--alert", "--json"]):
            result = run_doctor(*options)
            assert result.exit_code == 1
            assert CANARY not in result.output
        states = {one["check"]: one["state"] for one in json.loads(result.stdout)}
        unreachable = {"provider", "key", "dagster", "replica", "alerts", "watcher", "heartbeat"}
        failing = unreachable if is_valid else {"settings"}
        assert {check for check, state in states.items() if state == "fault"} == failing
