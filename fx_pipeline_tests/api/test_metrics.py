"""Metrics: each request is counted once, in all workers, and Prometheus accepts the document."""

import datetime as dt
import http.client
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from socket import AF_INET
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fx_pipeline.api.metrics import port as metrics_port
from fx_pipeline.api.metrics.counters import MOST_RECORDS, Counters, Kind, totals_in
from fx_pipeline.api.metrics.folder import run_folder
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.dagster_numbers import DagsterNumbers, LastRun, replace_numbers
from fx_pipeline_tests.api.conftest import NOW, Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import Server, ask, one_connection_each, serving
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import PATIENCE, wait_for

EVERYWHERE = "0.0.0.0"  # noqa: S104

LATEST = "/rates/latest?symbols=USD"
LOAD = int(os.environ.get("FX_TESTS_METRICS_REQUESTS", "150"))
"""Requests of each client while workers are killed."""


def samples(document: str) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Return the values by name and labels."""
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(document):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def requests(document: str) -> Counter[tuple[str, str, str]]:
    """Return the number of requests by operation, status and use of the cache."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for labels, value in samples(document)["fx_http_requests_total"].items():
        by_name = dict(labels)
        counted[by_name["operation"], by_name["status"], by_name["cache"]] = int(value)
    return +counted


async def scraped(api: Api, token: str) -> str:
    response = await api.get("/-/metrics", apikey=token)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.text


async def test_counts_each_request_once(api: Api, token: str) -> None:
    for path in (
        "/rates/2026-03-09/",
        "/rates/2026-03-09/",
        "/rates/1980-01-01/",
        "/rates/x/y",
        "/nothing",
        "/",
    ):
        await api.get(path, apikey=token)
    await api.get("/rates/latest")
    await api.get("/rates/latest", apikey="wrong")
    await api.client.post("/rates/latest")
    assert requests(await scraped(api, token)) == {
        ("rates_of_day", "200", "bypass"): 2,
        ("rates_of_day", "404", "bypass"): 1,
        ("other", "404", "bypass"): 2,
        ("home_page", "200", "bypass"): 1,
        ("latest_rates", "401", "bypass"): 2,
        ("latest_rates", "405", "bypass"): 1,
    }
    assert requests(await scraped(api, token))["metrics", "200", "bypass"] == 1


async def test_distinguishes_hits_and_misses(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_cache_mb=1)
    first = await api.get(LATEST)
    for _ in range(3):
        await api.get(LATEST)
    await api.get(LATEST, if_none_match=first.headers["etag"])
    await api.get("/rates/2026-03-08/", if_none_match="*")
    await api.get("/rates/1980-01-01/")
    await api.get("/coverage")
    totals = api.datasette.counters.totals()
    assert {kind: sum(sums.buckets) for kind, sums in totals.requests.items() if any(sums.buckets)} == {
        Kind("latest_rates", 200, "miss"): 1,
        Kind("latest_rates", 200, "hit"): 3,
        Kind("latest_rates", 304, "hit"): 1,
        Kind("rates_of_day", 304, "miss"): 1,
        Kind("rates_of_day", 404, "miss"): 1,
        Kind("coverage_page", 200, "bypass"): 1,
    }
    size = len(first.content)
    assert totals.requests[Kind("latest_rates", 200, "hit")].size == 3 * size
    assert totals.requests[Kind("latest_rates", 304, "hit")].size == 0


async def test_counts_an_unexpected_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(api.datasette.routes, "find", fail)
    monkeypatch.setattr(api.datasette.operation_names, "of", lambda path: "x")
    assert (await api.get("/rates/latest")).status_code == 500
    assert sum(api.datasette.counters.totals().requests[Kind("x", 500, "bypass")].buckets) == 1


async def test_shows_what_is_stored(api: Api, token: str) -> None:
    found = samples(await scraped(api, token))
    values = {name: round(next(iter(by_labels.values()))) for name, by_labels in found.items()}
    shown = {name: value for name, value in values.items() if not name.startswith(("fx_http", "fx_data"))}
    midnight = NOW.timestamp() - 36 * 3600
    assert shown == {
        "fx_workers": 1,
        "fx_build_info": 1,
        "fx_stored_dates": 7,
        "fx_missing_dates": shown["fx_missing_dates"],
        "fx_stored_rates": 38,
        "fx_stored_revisions": 2,
        "fx_rejected_rates": 0,
        "fx_quota_calls_used": shown["fx_quota_calls_used"],
        "fx_newest_day_timestamp_seconds": midnight,
        "fx_newest_rates_timestamp_seconds": midnight + 86399,
        "fx_unchanged_since_timestamp_seconds": midnight,
        "fx_rates_frozen": 0,
        "fx_last_response_timestamp_seconds": midnight + 86400 + 300,
        "fx_last_change_timestamp_seconds": midnight + 86400 + 300,
    }
    assert values["fx_database_up"] == 1
    assert values["fx_database_size_bytes"] > 0


async def test_shows_the_quota(history: History, open_api: OpenApi, token: str) -> None:
    found = samples(await scraped(open_api(history.path, fixer_monthly_quota=100), token))
    used, left, limit = (found[f"fx_quota_calls_{name}"][frozenset()] for name in ("used", "left", "limit"))
    assert (limit, left) == (100, 100 - used)


async def test_counts_without_a_database(history: History, api: Api, token: str) -> None:
    await api.get("/rates/latest", apikey=token)
    history.path.rename(history.path.with_name("elsewhere.db"))
    api.datasette.served._next_check = 0
    document = await scraped(api, token)
    assert samples(document)["fx_database_up"] == {frozenset(): 0}
    assert requests(document)["latest_rates", "200", "bypass"] == 1


async def test_shows_the_state_of_dagster(history: History, api: Api, token: str) -> None:
    replace_numbers(
        history.path,
        DagsterNumbers(
            at=1000.5,
            heartbeats={"scheduler": 990, "sensor": 991},
            queued=3,
            in_progress=1,
            failed=2,
            backfills=1,
            last_runs=[
                LastRun(job="rates", outcome="success", ended=900, seconds=12.5),
                LastRun(job="rates", outcome="canceled", ended=800, seconds=None),
            ],
            checks={"gaps": "error", "jump": "warn", "clock": "passed"},
        ),
    )
    lines = (await scraped(api, token)).splitlines()
    assert [line for line in lines if line.startswith("fx_dagster")] == [
        "fx_dagster_read_timestamp_seconds 1000.5",
        'fx_dagster_daemon_heartbeat_timestamp_seconds{daemon="scheduler"} 990.0',
        'fx_dagster_daemon_heartbeat_timestamp_seconds{daemon="sensor"} 991.0',
        "fx_dagster_runs_queued 3.0",
        "fx_dagster_runs_in_progress 1.0",
        "fx_dagster_runs_failed 2.0",
        "fx_dagster_backfills_in_progress 1.0",
        'fx_dagster_last_run_timestamp_seconds{job_name="rates",outcome="success"} 900.0',
        'fx_dagster_last_run_timestamp_seconds{job_name="rates",outcome="canceled"} 800.0',
        'fx_dagster_last_run_duration_seconds{job_name="rates",outcome="success"} 12.5',
        'fx_dagster_check_failed{check="gaps",severity="error"} 1.0',
        'fx_dagster_check_failed{check="gaps",severity="warn"} 0.0',
        'fx_dagster_check_failed{check="jump",severity="error"} 0.0',
        'fx_dagster_check_failed{check="jump",severity="warn"} 1.0',
        'fx_dagster_check_failed{check="clock",severity="error"} 0.0',
        'fx_dagster_check_failed{check="clock",severity="warn"} 0.0',
    ]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"at": 1}', "\x00"])
async def test_shows_nothing_of_dagster_if_its_numbers_cannot_be_read(
    history: History, api: Api, token: str, content: str
) -> None:
    history.path.with_name(f"{history.path.name}-dagster.json").write_text(content)
    document = await scraped(api, token)
    assert "fx_stored_dates" in document
    assert "fx_dagster" not in document


@pytest.mark.parametrize("on_its_port", [False, True])
async def test_judges_the_content_once_for_each_commit(
    history: History,
    open_api: OpenApi,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    on_its_port: bool,
) -> None:
    """It may have to read all days, which takes half a second."""
    read: list[str] = []
    rows = Queries.rows

    def observed(queries: Queries, name: str, **parameters: str) -> list[tuple[Any, ...]]:
        read.append(name)
        return rows(queries, name, **parameters)

    monkeypatch.setattr(Queries, "rows", observed)
    api = open_api(history.path)
    with reserved_port() as port:
        if on_its_port:
            metrics_port.start(api.datasette.fx_settings, port, api.datasette.counters.totals)
        for day in (9, 10, 11):
            rates = {"USD": 1.0 + day, "GBP": 0.8}
            history.fetch(f"2026-03-{day + 1:02d}T00:05:00.000000Z", {f"2026-03-{day:02d}": rates})
            read.clear()
            for _ in range(2):
                document = on_port(port)[1] if on_its_port else await scraped(api, token)
                since = samples(document)["fx_unchanged_since_timestamp_seconds"][frozenset()]
                assert since == dt.datetime(2026, 3, day, tzinfo=dt.timezone.utc).timestamp()
            assert (read.count("content_changes"), read.count("coverage")) == (1, 2)


async def test_needs_a_token_even_if_the_rates_do_not(api: Api) -> None:
    response = await api.get("/-/metrics")
    assert response.status_code == 403
    assert "FX_METRICS_PORT" in response.json()["message"]


async def test_needs_a_valid_token(api: Api, token: str) -> None:
    assert (await api.get("/-/metrics")).status_code == 401
    assert (await api.get("/-/metrics", apikey=f"{token}x")).status_code == 401


async def test_promtool_accepts_the_document(api: Api, token: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: install Debian's package prometheus")
    await api.get(LATEST, apikey=token)
    document = (await scraped(api, token)).encode()
    done = subprocess.run([promtool, "check", "metrics"], input=document, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_new_worker_continues_the_file_of_a_dead_one(tmp_path: Path) -> None:
    # Only the end of the process releases the lock of a file.
    code = (
        "import sys, pathlib; from fx_pipeline.api.metrics.counters import Counters; "
        "counters = Counters(pathlib.Path(sys.argv[1])); counters.set_connections(7); "
        "counters.add(counters.record('a', 200, 'hit'), 0, 5)"
    )
    living = Counters(tmp_path)
    living.add(living.record("a", 200, "hit"), 0, 5)
    living.set_connections(1)
    for _ in range(3):
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    totals = totals_in(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    sums = totals.requests[Kind("a", 200, "hit")]
    assert (sum(sums.buckets), sums.size) == (4, 20)
    assert (totals.workers, totals.connections) == (1, 1)


def test_too_many_kinds_are_counted_together() -> None:
    counters = Counters()
    for status in range(MOST_RECORDS + 10):
        counters.add(counters.record("a", status, "hit"), 0, 1)
    totals = counters.totals()
    assert len(totals.requests) == MOST_RECORDS
    assert sum(sum(sums.buckets) for sums in totals.requests.values()) == MOST_RECORDS + 10


def test_counts_in_memory_if_there_is_no_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters(tmp_path / "nothing")
    counters.add(counters.record("a", 200, "hit"), 0, 5)
    assert "The requests of this worker are missing from /-/metrics" in caplog.text


def test_removes_the_folders_of_killed_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fx_pipeline.api.metrics.folder._parent", lambda: tmp_path)
    (tmp_path / "fx-pipeline-counters-old").mkdir()
    with run_folder(needed=True) as first:
        assert list(tmp_path.iterdir()) == [first]
        with run_folder(needed=True):
            assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
    with run_folder(needed=False) as none:
        assert none is None


def on_port(
    port: int, path: str = "/metrics", host: str = "localhost", address: str = "127.0.0.1"
) -> tuple[int, str]:
    """Return the status and the body of a response at the port for metrics."""
    with closing(http.client.HTTPConnection(address, port, timeout=PATIENCE)) as connection:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode()


def others() -> list[str]:
    """Return the addresses of this machine in its networks. There may be none."""
    found = (one for addresses in psutil.net_if_addrs().values() for one in addresses)
    return [one.address for one in found if one.family == AF_INET and not one.address.startswith("127.")]


def total(port: int, operation: str) -> int:
    status, document = on_port(port)
    assert status == 200
    return sum(count for (name, *_), count in requests(document).items() if name == operation)


@pytest.mark.slow
def test_the_sum_over_all_workers_is_exact_also_after_kills(history: History, tmp_path: Path) -> None:
    with (
        reserved_port() as port,
        serving(history.path, tmp_path / "log", workers=4, FX_METRICS_PORT=str(port)) as server,
    ):
        with one_connection_each(server, 4) as workers:
            for number, connection in enumerate(workers.values(), start=1):
                for _ in range(10 * number):
                    assert ask(connection, LATEST)[0] == 200
            found = samples(on_port(port)[1])
            assert total(port, "latest_rates") == 100
            assert found["fx_workers"][frozenset()] == 4
            assert found["fx_http_open_connections"][frozenset()] >= 4
            os.kill(min(workers), signal.SIGKILL)
        assert total(port, "latest_rates") == 100
        server.wait_for_workers(5)
        wait_for(lambda: samples(on_port(port)[1])["fx_workers"][frozenset()] == 4)
        for _ in range(20):
            assert server.get(LATEST)[0] == 200
        assert total(port, "latest_rates") == 120
        wait_for(lambda: samples(on_port(port)[1])["fx_http_open_connections"][frozenset()] == 0)
        assert on_port(port, "/nothing")[0] == 404
        assert on_port(port, host="evil.example")[0] == 403
        check_while_workers_are_killed(server, port)
    assert "Traceback" not in (tmp_path / "log").read_text()


def check_while_workers_are_killed(server: Server, port: int) -> None:
    """Kill workers under load. A request without a response may be counted. One with a response always is."""
    sent, received = Counter[int](), Counter[int]()
    before, started = total(port, "latest_rates"), len(server.workers())

    def client(number: int) -> None:
        while sent[number] < LOAD:
            with closing(server.connect()) as connection:
                try:
                    while sent[number] < LOAD:
                        sent[number] += 1
                        received[number] += ask(connection, LATEST)[0] == 200
                except (OSError, http.client.HTTPException):
                    continue

    clients = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for one in clients:
        one.start()
    seen = before
    for kills in (1, 2, 3):
        wait_for(lambda: sum(sent.values()) > kills * LOAD)  # noqa: B023
        alive = {one.pid for one in psutil.Process(server.process.pid).children()} & server.workers()
        os.kill(min(alive), signal.SIGKILL)
        server.wait_for_workers(started + kills)
        now = total(port, "latest_rates")
        assert now >= seen  # a counter never goes back
        seen = now
    for one in clients:
        one.join()
    assert sum(sent.values()) == 4 * LOAD
    counted = total(port, "latest_rates") - before
    assert sum(received.values()) <= counted <= sum(sent.values())


@pytest.mark.slow
def test_a_single_worker_has_the_port_too(history: History, tmp_path: Path) -> None:
    with (
        reserved_port() as port,
        serving(
            history.path, tmp_path / "log", FX_METRICS_PORT=str(port), FX_METRICS_HOST=EVERYWHERE
        ) as server,
    ):
        for _ in range(5):
            server.get(LATEST)
        assert server.raw(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n").startswith(b"HTTP/1.1 431 ")
        counted = requests(on_port(port, "/-/metrics")[1])
        assert sum(count for (name, *_), count in counted.items() if name == "latest_rates") == 5
        assert counted["refused", "431", "bypass"] == 1
        for address in others():
            assert on_port(port, address=address, host=f"{address}:{port}")[0] == 200
            assert on_port(port, address=address, host="evil.example")[0] == 403
        with reserved_port() as other:
            settings = {"FX_DATABASE": str(history.path), "FX_METRICS_PORT": str(port)}
            busy, foreign = (
                run_command(tmp_path, "serve", "--port", str(other), **settings, FX_METRICS_HOST=host)
                for host in ("127.0.0.1", "192.0.2.7")
            )
    assert (busy.returncode, busy.stderr.splitlines()[-1]) == (
        2,
        f"Error: Port {port} cannot be used (Address already in use): set FX_METRICS_PORT to a free port.",
    )
    assert (foreign.returncode, foreign.stderr.splitlines()[-1]) == (
        2,
        "Error: 192.0.2.7 cannot be used (Cannot assign requested address): set FX_METRICS_HOST to an "
        "address of this machine.",
    )
    assert "Traceback" not in (tmp_path / "log").read_text()
