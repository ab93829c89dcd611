"""The provider is down or asks for a wait: a run makes as few calls as it can, and says when to come back."""

import datetime as dt
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.store.ledger import Ledger
from fx_pipeline_tests.defs.rates_run import QUIET
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    hang_up,
    reply,
    reset,
    scripted,
    silence,
)
from fx_pipeline_tests.proofs.content import stored_dates
from fx_pipeline_tests.sandbox_server import running_sandbox

PAGE = "<!DOCTYPE html><html><body>We are back soon.</body></html>"


class Hasty(FixerResource):
    """Fixer, asked by a client that waits for nothing long."""

    retries: int = 5

    def client(self) -> FixerClient:
        return FixerClient(
            self.base_url, "a-key", timeout=(2.0, 0.2), retries=self.retries, backoff=0.01, base=self.base
        )


def run(
    instance: dg.DagsterInstance, url: str, first: str, last: str, *, concurrency: int = 1
) -> dg.ExecuteInProcessResult:
    config = rates_config(skip_stored=True).to_config_dict()  # type: ignore[no-untyped-call]
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config={**config, **QUIET},
        raise_on_error=False,
        resources={
            "fixer": Hasty(base_url=url, base="EUR", symbols=[], concurrency=concurrency),
            "database": DatabaseResource(path="fx.db"),
        },
    )


def why(result: dg.ExecuteInProcessResult) -> str:
    """What the failure of a run says; it has failed for good, without another attempt."""
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.description or ""


def used(folder: Path) -> int:
    """How many calls the ledger has counted this month."""
    with Ledger(folder / "fx.db", limit=100, daily_calls=0) as ledger:
        quota = ledger.quota()
    assert quota is not None
    return quota.used


def good(path: str, **headers: str) -> bytes:
    """Fixer's answer about the day that the path names."""
    day = dt.date.fromisoformat(urlsplit(path).path[-10:])
    end = dt.datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=dt.timezone.utc)
    return reply(
        {
            "success": True,
            "timestamp": int(end.timestamp()),
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
    """As on the free plan. Nothing is kept for daily runs, so that a test counts the same on each day."""
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", "100")
    monkeypatch.setattr("fx_pipeline.settings.Settings.daily_calls", 0)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_refused_connection_costs_no_call_and_the_next_run_fetches_every_day(
    folder: Path, instance: dg.DagsterInstance, concurrency: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    down = run(instance, f"http://127.0.0.1:{port}", "2024-01-01", "2024-01-10", concurrency=concurrency)
    assert "in a row were not answered, the last with: the connection was refused." in why(down)
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
        said = why(run(instance, server.url, "2024-01-01", "2024-01-24"))
        assert len(server.requests) == used(folder) == 8
    stopped, *failed, left = said.splitlines()
    assert stopped.startswith("Fixer: 8 requests in a row were not answered, the last with: ")
    assert failed  # the day that was asked for six times, and the one that was asked for twice
    assert left == "Not fetched: 2024-01-01 to 2024-01-22"


@pytest.mark.parametrize("concurrency", [1, 4])
def test_the_next_runs_of_a_backfill_find_out_with_one_request_each(
    folder: Path, instance: dg.DagsterInstance, concurrency: int
) -> None:
    with scripted(reply("", 503)) as server:
        why(run(instance, server.url, "2024-03-01", "2024-03-31"))
        for first, last in (("2024-02-01", "2024-02-29"), ("2024-01-01", "2024-01-31")):
            before = len(server.requests)
            said = why(run(instance, server.url, first, last, concurrency=concurrency))
            assert said.startswith("Fixer: still no answer, as in the run before: trouble on the provider's ")
            assert len(server.requests) == before + 1
        assert used(folder) == 8 + 2
    with scripted(by_path=good) as server:
        assert run(instance, server.url, "2024-01-01", "2024-01-10", concurrency=concurrency).success
        assert len(server.requests) == 10
    with scripted(reply("", 503)) as server:  # what is over is forgotten: all eight are made again
        why(run(instance, server.url, "2024-02-01", "2024-02-29"))
        assert len(server.requests) == 8


def together(number: int, play: bytes) -> Callable[[], Play]:
    """Fetch the first so many requests only when all of them have come; any others immediately."""
    barrier = threading.Barrier(number)
    begun = 0

    def first(connection: socket.socket) -> None:
        barrier.wait(60)
        connection.sendall(play)

    def next_play() -> Play:
        nonlocal begun
        begun += 1
        return first if begun <= number else play

    return next_play


@pytest.mark.parametrize("concurrency", [2, 4, 16])
def test_all_threads_of_a_run_find_out_together(
    folder: Path, instance: dg.DagsterInstance, concurrency: int
) -> None:
    """What was under way together is one failure; after it one thread asks, and the others wait for it."""
    answer = together(concurrency, reply("", 503, Connection="close"))
    with scripted(by_path=lambda _: answer()) as server:
        said = why(run(instance, server.url, "2024-01-01", "2024-01-24", concurrency=concurrency))
        assert len(server.requests) == used(folder) == concurrency + 7
    assert said.startswith(f"Fixer: {concurrency + 7} requests in a row were not answered, ")


def test_a_short_outage_is_waited_for(folder: Path, instance: dg.DagsterInstance) -> None:
    requests = 0

    def answer(path: str) -> Play:
        nonlocal requests
        requests += 1
        return reply("", 503) if requests <= 7 else good(path)

    with scripted(by_path=answer) as server:
        assert run(instance, server.url, "2024-01-01", "2024-01-10").success
        # The first day is given up after six requests, and fetched by Dagster's next attempt.
        assert len(server.requests) == used(folder) == 7 + 10
    assert len(stored_dates(folder / "fx.db")) == 10


def test_the_retry_of_a_single_unanswered_day_makes_one_request(
    folder: Path, instance: dg.DagsterInstance
) -> None:
    with scripted(reply("", 503)) as server:
        assert not run(instance, server.url, "2024-01-05", "2024-01-05").success
        assert len(server.requests) == used(folder) == 6 + 1


@pytest.mark.slow
def test_one_day_that_always_fails_stops_nothing_else(folder: Path, instance: dg.DagsterInstance) -> None:
    def answer(path: str) -> Play:
        return reply("", 500) if "2024-01-05" in path else good(path)

    with scripted(by_path=answer) as server:
        assert not run(instance, server.url, "2024-01-01", "2024-01-10", concurrency=4).success
        others = [path for path in server.paths if "2024-01-05" not in path]
        assert len(others) == len(set(others)) == 9
        assert len(server.requests) == used(folder)
    assert len(stored_dates(folder / "fx.db")) == 9


@pytest.mark.parametrize("status", [429, 503])
def test_a_long_wait_stops_the_run_and_is_named(
    folder: Path, instance: dg.DagsterInstance, status: int
) -> None:
    def answer(path: str) -> Play:
        return reply("", status, Retry_After="86400") if "2024-01-28" in path else good(path)

    before = dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
    with scripted(by_path=answer) as server:
        said = why(run(instance, server.url, "2024-01-01", "2024-01-30"))
        assert [urlsplit(path).path[-10:] for path in server.paths] == [
            "2024-01-30",
            "2024-01-29",
            "2024-01-28",
        ]
        assert used(folder) == 3
    named = re.search(r"; it asks for no request before (\S+ \S+) UTC\. The run has stopped\.", said)
    assert named is not None, said
    until = dt.datetime.fromisoformat(named[1]).replace(tzinfo=dt.timezone.utc)
    day = dt.timedelta(days=1)
    assert before + day <= until <= dt.datetime.now(dt.timezone.utc) + day
    assert said.endswith("\nNot fetched: 2024-01-01 to 2024-01-27")


def test_a_long_wait_stops_all_threads(folder: Path, instance: dg.DagsterInstance) -> None:
    answer = together(4, reply("", 429, Retry_After="86400", Connection="close"))
    with scripted(by_path=lambda _: answer()) as server:
        said = why(run(instance, server.url, "2024-01-01", "2024-01-30", concurrency=4))
        assert len(server.requests) == used(folder) == 4
    assert "it asks for no request before" in said


class Heard(logging.Handler):
    """Notices that the client has read an answer after which it is to ask again."""

    def __init__(self) -> None:
        super().__init__()
        self.again = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Asking again"):
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
def test_a_short_wait_is_kept_by_all_threads(
    folder: Path, instance: dg.DagsterInstance, heard: Heard, status: int
) -> None:
    """One of four requests is asked to wait for a second; the others are answered when that is known."""
    came: list[float] = []
    asked_to_wait: list[float] = []
    all_begun = threading.Barrier(4)

    def wait(connection: socket.socket) -> None:
        all_begun.wait(60)
        asked_to_wait.append(time.monotonic())
        connection.sendall(reply("", status, Retry_After="1", Connection="close"))

    def answer(path: str) -> Play:
        came.append(time.monotonic())

        def once_known(connection: socket.socket) -> None:
            all_begun.wait(60)
            assert heard.again.wait(60)
            connection.sendall(good(path, Connection="close"))

        return good(path) if len(came) > 4 else once_known if len(came) > 1 else wait

    with scripted(by_path=answer) as server:
        assert run(instance, server.url, "2024-01-01", "2024-01-12", concurrency=4).success
        assert len(server.requests) == used(folder) == 13
    assert min(came[4:]) >= asked_to_wait[0] + 1.0
    assert len(stored_dates(folder / "fx.db")) == 12
