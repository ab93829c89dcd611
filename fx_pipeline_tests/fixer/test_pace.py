"""How the requests of one run wait for each other, and when the run stops making them."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import pytest

from fx_pipeline.fixer.errors import (
    FixerError,
    LongWaitRequested,
    NoRates,
    ProviderDown,
    RateLimited,
    ServerTrouble,
)
from fx_pipeline.fixer.pace import LONGEST_WAIT, Pace, Stopped, Turn
from fx_pipeline_tests.waiting import PATIENCE


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def fail(pace: Pace, error: FixerError | None = None) -> None:
    pace.end(pace.begin(), error or ServerTrouble())


def waits(turn: "Future[Turn]") -> bool:
    """Whether a turn is still not given after a moment in which it could have been."""
    time.sleep(0.05)
    return not turn.done()


def test_admits_all_requests_while_the_provider_responds() -> None:
    pace = Pace(backoff=1000)
    turns = [pace.begin() for _ in range(50)]
    for turn in turns:
        pace.end(turn, None)
    assert not any(turn.probe for turn in turns)


@pytest.mark.parametrize("outcome", [None, NoRates()], ids=["rates", "a refusal"])
def test_admits_one_request_at_a_time_after_a_failure(
    pool: ThreadPoolExecutor, outcome: FixerError | None
) -> None:
    pace = Pace(backoff=0)
    fail(pace)
    probe = pace.begin()
    others = [pool.submit(pace.begin) for _ in range(4)]
    assert all(map(waits, others))
    pace.end(probe, outcome)
    assert [other.result(PATIENCE).probe for other in others] == [False] * 4


def test_a_failed_probe_admits_one_other(pool: ThreadPoolExecutor) -> None:
    pace = Pace(backoff=0)
    fail(pace)
    turn = pace.begin()
    others = [pool.submit(pace.begin) for _ in range(3)]
    for left in (2, 1, 0):
        pace.end(turn, ServerTrouble())
        done, _ = wait(others, PATIENCE, return_when=FIRST_COMPLETED)
        [now] = done
        others.remove(now)
        turn = now.result(PATIENCE)
        assert (turn.probe, len(others)) == (True, left)
        assert all(map(waits, others))


def test_a_cancelled_probe_admits_another(pool: ThreadPoolExecutor) -> None:
    pace = Pace(backoff=0)
    fail(pace)
    probe = pace.begin()
    other = pool.submit(pace.begin)
    assert waits(other)
    pace.cancel(probe)
    assert other.result(PATIENCE).probe


def test_a_response_to_an_earlier_request_admits_all(pool: ThreadPoolExecutor) -> None:
    pace = Pace(backoff=1000)
    slow = pace.begin()
    fail(pace)
    fail(pace)  # the next wait is 2000 seconds
    other = pool.submit(pace.begin)
    assert waits(other)
    pace.end(slow, None)
    assert other.result(PATIENCE)


def test_counts_failures_in_flight_together_once() -> None:
    pace = Pace(backoff=0, patience=3)
    together = [pace.begin() for _ in range(20)]
    for turn in together:
        pace.end(turn, ServerTrouble())
    assert not pace.over
    fail(pace)
    assert not pace.over
    fail(pace, ServerTrouble("HTTP 503"))
    assert isinstance(pace.reason, ProviderDown)
    assert str(pace.reason) == (
        "Fixer: 22 requests in a row failed, the last with: HTTP 503. The run has stopped to "
        "save calls. Run the days again when Fixer responds."
    )
    with pytest.raises(Stopped):
        pace.begin()


def test_stops_after_one_failure_if_the_previous_run_had_an_outage(pool: ThreadPoolExecutor) -> None:
    pace = Pace(backoff=0, outage=True)
    probe = pace.begin()
    other = pool.submit(pace.begin)
    assert waits(other)
    pace.end(probe, ServerTrouble("HTTP 503"))
    assert str(pace.reason) == (
        "Fixer: still failing, as in the previous run: HTTP 503. The run has stopped to save calls. Run the "
        "days again when Fixer responds."
    )
    with pytest.raises(Stopped):
        other.result(PATIENCE)


def test_continues_after_one_response_after_an_outage() -> None:
    pace = Pace(backoff=0, patience=3, outage=True)
    pace.end(pace.begin(), None)
    fail(pace)
    fail(pace)
    assert not pace.over


def test_a_response_resets_the_count() -> None:
    pace = Pace(backoff=0, patience=3)
    for _ in range(20):
        fail(pace)
        fail(pace)
        pace.end(pace.begin(), None)
    assert not pace.over


@pytest.mark.parametrize("error", [RateLimited(retry_after=0.3), ServerTrouble(retry_after=0.3)])
def test_retry_after_applies_to_all_requests(error: FixerError) -> None:
    pace = Pace(backoff=0)
    slow = pace.begin()
    fail(pace, error)
    asked = time.monotonic()
    pace.end(slow, None)
    pace.begin()
    assert time.monotonic() - asked > 0.29


def test_a_long_retry_after_stops_the_run(pool: ThreadPoolExecutor) -> None:
    pace = Pace(backoff=0)
    fail(pace)
    probe = pace.begin()
    others = [pool.submit(pace.begin) for _ in range(3)]
    pace.end(probe, RateLimited(retry_after=LONGEST_WAIT + 1))
    for other in others:
        with pytest.raises(Stopped):
            other.result(PATIENCE)
    assert isinstance(pace.reason, LongWaitRequested)
    assert (pace.reason.scope, pace.reason.retryable) == ("run", False)


@pytest.mark.parametrize(
    "waiting", [lambda pace: pace.begin(), lambda pace: pace.wait(1000)], ids=["a turn", "a repetition"]
)
def test_the_end_of_the_run_ends_every_wait(
    pool: ThreadPoolExecutor, waiting: Callable[[Pace], object]
) -> None:
    pace = Pace(backoff=1000)
    fail(pace)
    fail(pace)
    begun = threading.Event()

    def begin_to_wait() -> None:
        begun.set()
        waiting(pace)

    waiter = pool.submit(begin_to_wait)
    assert begun.wait(PATIENCE)
    pace.stop()
    assert isinstance(waiter.exception(PATIENCE), Stopped | type(None))
    assert pace.reason is None


def test_the_first_reason_counts() -> None:
    pace = Pace()
    first = ValueError("first")
    pace.stop(first)
    pace.stop(ValueError("second"))
    assert pace.reason is first
