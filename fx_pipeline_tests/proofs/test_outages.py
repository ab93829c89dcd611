"""The provider is down or asks for a wait: a run makes few calls, and reports when to try again."""

import datetime as dt
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from fx_pipeline.clock import end_of_day
from fx_pipeline.store.ledger import Ledger
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    hang_up,
    reply,
    reset,
    scripted,
    silence,
    together,
)
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.proofs.runs import ImpatientFixer, failure_text, run_with
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.stored import stored_dates
from fx_pipeline_tests.waiting import PATIENCE

PAGE = "<!DOCTYPE html><html><body>We are back soon.</body></html>"


def run(
    instance: dg.DagsterInstance,
    url: str,
    first: str,
    last: str,
    *,
    concurrency: int = 1,
    read_timeout: float = PATIENCE,
) -> dg.ExecuteInProcessResult:
    fixer = ImpatientFixer(
        base_url=url, base="EUR", symbols=[], concurrency=concurrency, read_timeout=read_timeout
    )
    return run_with(instance, fixer, first, last, skip_stored=True)


def used(folder: Path) -> int:
    """Return how many calls the ledger has counted this month."""
    with Ledger(folder / "fx.db", limit=100, daily_calls=0) as ledger:
        quota = ledger.quota()
    assert quota is not None
    return quota.used


def good(path: str, **headers: str) -> bytes:
    """Return Fixer's response for the day that the path names."""
    day = dt.date.fromisoformat(urlsplit(path).path[-10:])
    return reply(
        {
            "success": True,
            "timestamp": end_of_day(day),
            "historical": True,
            "base": "EUR",
            "date": f"{day}",
            "rates": {"EUR": 1, "USD": 1.1},
        },
        200,
        **headers,
    )


@pytest.fixture(autouse=True)
def _quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the free plan's quota. Without a reserve for daily runs, a test counts the same on each day."""
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", "100")
    monkeypatch.setattr("fx_pipeline.settings.Settings.daily_calls", 0)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_refused_connection_costs_no_call(
    folder: Path, instance: dg.DagsterInstance, concurrency: int
) -> None:
    with reserved_port() as port:
        down = run(instance, f"http://127.0.0.1:{port}", "2024-01-01", "2024-01-10", concurrency=concurrency)
    assert "in a row failed, the last with: the connection was refused." in failure_text(down)
    assert used(folder) == 0
    with running_sandbox(quota=100) as sandbox:
        assert run(instance, sandbox.url, "2024-01-01", "2024-01-10", concurrency=concurrency).success
        assert sandbox.stats()["total"] == used(folder) == 10
    assert len(stored_dates(folder / "fx.db")) == 10


DOWN: dict[str, Play] = {
    "503": reply("", 503),
    "502 with a page": reply(PAGE, 502),
    "200 with a page": reply(PAGE),
    "500 of Fixer's": reply({"success": False, "error": {"code": 500, "type": "internal_error"}}),
    "429 without a wait": reply("", 429),
    "no answer in time": silence,
    "hung up": hang_up,
    "reset": reset,
}


@pytest.mark.parametrize("play", DOWN.values(), ids=DOWN.keys())
def test_an_outage_stops_the_run_after_eight_requests(
    folder: Path, instance: dg.DagsterInstance, play: Play
) -> None:
    with scripted(play) as server:
        read_timeout = 0.2 if play is silence else PATIENCE
        result = run(instance, server.url, "2024-01-01", "2024-01-24", read_timeout=read_timeout)
        text = failure_text(result)
        assert len(server.requests) == used(folder) == 8
    stopped, *failed, left = text.splitlines()
    assert stopped.startswith("Fixer: 8 requests in a row failed, the last with: ")
    assert failed  # the day with six requests, and the day with two
    assert left == "Not fetched: 2024-01-01 to 2024-01-22"


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_next_runs_of_a_backfill_make_one_request_each(
    folder: Path, instance: dg.DagsterInstance, concurrency: int
) -> None:
    with scripted(reply("", 503)) as server:
        failure_text(run(instance, server.url, "2024-03-01", "2024-03-31"))
        for first, last in (("2024-02-01", "2024-02-29"), ("2024-01-01", "2024-01-31")):
            before = len(server.requests)
            text = failure_text(run(instance, server.url, first, last, concurrency=concurrency))
            assert text.startswith("Fixer: still failing, as in the previous run: a problem on the provider")
            assert len(server.requests) == before + 1
        assert used(folder) == 8 + 2
    with scripted(by_path=good) as server:
        assert run(instance, server.url, "2024-01-01", "2024-01-10", concurrency=concurrency).success
        assert len(server.requests) == 10
    with scripted(
        reply("", 503)
    ) as server:  # the outage is over and forgotten: a new one gets eight requests
        failure_text(run(instance, server.url, "2024-02-01", "2024-02-29"))
        assert len(server.requests) == 8


@pytest.mark.parametrize("concurrency", [2, 4, 16])
def test_concurrent_failures_count_as_one_and_then_one_thread_probes(
    folder: Path, instance: dg.DagsterInstance, concurrency: int
) -> None:
    answer = together(concurrency, reply("", 503, Connection="close"))
    with scripted(by_path=lambda _: answer()) as server:
        text = failure_text(run(instance, server.url, "2024-01-01", "2024-01-24", concurrency=concurrency))
        assert len(server.requests) == used(folder) == concurrency + 7
    assert text.startswith(f"Fixer: {concurrency + 7} requests in a row failed, ")


def test_waits_for_the_end_of_a_short_outage(folder: Path, instance: dg.DagsterInstance) -> None:
    requests = 0

    def answer(path: str) -> Play:
        nonlocal requests
        requests += 1
        return reply("", 503) if requests <= 7 else good(path)

    with scripted(by_path=answer) as server:
        assert run(instance, server.url, "2024-01-01", "2024-01-10").success
        # The first day fails after six requests; Dagster's next attempt fetches it.
        assert len(server.requests) == used(folder) == 7 + 10
    assert len(stored_dates(folder / "fx.db")) == 10


@pytest.mark.slow
def test_a_day_that_always_fails_stops_no_other(folder: Path, instance: dg.DagsterInstance) -> None:
    def answer(path: str) -> Play:
        return reply("", 500) if "2024-01-05" in path else good(path)

    with scripted(by_path=answer) as server:
        assert not run(instance, server.url, "2024-01-01", "2024-01-10", concurrency=4).success
        others = [path for path in server.paths if "2024-01-05" not in path]
        assert len(others) == len(set(others)) == 9
        assert len(server.requests) == used(folder)
    assert len(stored_dates(folder / "fx.db")) == 9


def test_a_single_day_that_always_fails_is_no_outage(folder: Path, instance: dg.DagsterInstance) -> None:
    with scripted(reply("", 500)) as server:
        failed = run(instance, server.url, "2024-01-05", "2024-01-05")
        assert not failed.success
        # Six requests in each of three attempts.
        assert len(server.requests) == used(folder) == 18
    with Ledger(folder / "fx.db") as ledger:
        assert not ledger.is_outage()


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_retry_after_stops_the_run_and_is_reported(
    folder: Path, instance: dg.DagsterInstance, status: int
) -> None:
    def answer(path: str) -> Play:
        return reply("", status, Retry_After="86400") if "2024-01-28" in path else good(path)

    before = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    with scripted(by_path=answer) as server:
        text = failure_text(run(instance, server.url, "2024-01-01", "2024-01-30"))
        assert [urlsplit(path).path[-10:] for path in server.paths] == [
            "2024-01-30",
            "2024-01-29",
            "2024-01-28",
        ]
        assert used(folder) == 3
    named = re.search(r"; it accepts no request before (\S+ \S+) UTC\. The run has stopped\.", text)
    assert named is not None, text
    until = dt.datetime.fromisoformat(named[1]).replace(tzinfo=dt.timezone.utc)
    day = dt.timedelta(days=1)
    assert before + day <= until <= dt.datetime.now(dt.timezone.utc) + day
    assert text.endswith("\nNot fetched: 2024-01-01 to 2024-01-27")


def test_a_long_retry_after_stops_all_threads(folder: Path, instance: dg.DagsterInstance) -> None:
    answer = together(4, reply("", 429, Retry_After="86400", Connection="close"))
    with scripted(by_path=lambda _: answer()) as server:
        text = failure_text(run(instance, server.url, "2024-01-01", "2024-01-30", concurrency=4))
        assert len(server.requests) == used(folder) == 4
    assert "it accepts no request before" in text


class Heard(logging.Handler):
    """Notices that the client has read a response that it must retry."""

    def __init__(self) -> None:
        super().__init__()
        self.again = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Retrying "):
            self.again.set()


@pytest.fixture
def heard() -> Iterator[Heard]:
    heard, logger = Heard(), logging.getLogger("fx_pipeline.fixer.client")
    logger.addHandler(heard)
    logger.setLevel(logging.INFO)
    yield heard
    logger.removeHandler(heard)
    logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("status", [429, 503])
def test_all_threads_respect_a_short_retry_after(
    folder: Path, instance: dg.DagsterInstance, heard: Heard, status: int
) -> None:
    """One of four requests is asked to wait for a second; the others are answered once the client knows."""
    came: list[float] = []
    asked_to_wait: list[float] = []
    all_begun = threading.Barrier(4)

    def wait(connection: socket.socket) -> None:
        all_begun.wait(PATIENCE)
        asked_to_wait.append(time.monotonic())
        connection.sendall(reply("", status, Retry_After="1", Connection="close"))

    def answer(path: str) -> Play:
        came.append(time.monotonic())

        def once_known(connection: socket.socket) -> None:
            all_begun.wait(PATIENCE)
            assert heard.again.wait(PATIENCE)
            connection.sendall(good(path, Connection="close"))

        return good(path) if len(came) > 4 else once_known if len(came) > 1 else wait

    with scripted(by_path=answer) as server:
        assert run(instance, server.url, "2024-01-01", "2024-01-12", concurrency=4).success
        assert len(server.requests) == used(folder) == 13
    assert min(came[4:]) >= asked_to_wait[0] + 1.0
    assert len(stored_dates(folder / "fx.db")) == 12
