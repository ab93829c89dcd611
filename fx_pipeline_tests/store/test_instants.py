"""The instants of fetches under a clock that jumps: always in order, and corrected as soon as they can be."""

import datetime as dt
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fx_pipeline.clock import instant_text, parse_instant
from fx_pipeline.rates import DayRates
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.instants import TOLERANCE, Ahead, chosen
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of

START = dt.datetime(2026, 3, 1, 12, tzinfo=dt.timezone.utc)
DAY = dt.date(2026, 2, 27)
STEP = dt.timedelta(microseconds=1)
SECOND = dt.timedelta(seconds=1)
NONE = dt.timedelta()


def hours(count: float) -> dt.timedelta:
    return dt.timedelta(hours=count)


@dataclass(frozen=True)
class Attempt:
    """A fetch: so long after the one before, with a clock that is so far ahead (negative: behind)."""

    after: dt.timedelta
    error: dt.timedelta = NONE
    provider_dates: bool = False


def store(path: Path, fetches: Sequence[Attempt]) -> list[dt.datetime]:
    """Store a new rate with each; return when that truly was."""
    truth, true_instants = START, []
    with closing(Machine(path)) as machine:
        for number, fetch in enumerate(fetches):
            truth += fetch.after
            true_instants.append(truth)
            machine.fetch(1 + number / 100, truth, fetch)
    return true_instants


class Machine:
    """A store whose clock is set by the test."""

    def __init__(self, path: Path) -> None:
        self.clock = START
        self.store = RateStore(path, now=lambda: self.clock)

    def fetch(self, rate: float, truth: dt.datetime, fetch: Attempt) -> None:
        self.clock = truth + fetch.error
        day = DayRates(date=DAY, base="EUR", timestamp=0, rates={"EUR": 1, "USD": rate})
        answer = fetch_of(day, asked_at=self.clock)
        self.store.record([replace(answer, provider_at=truth if fetch.provider_dates else None)])

    def close(self) -> None:
        self.store.close()


def instants(path: Path) -> list[dt.datetime]:
    """Return the stored instants, in the order of their fetches."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            parse_instant(text)
            for (text,) in connection.execute("SELECT fetched_at FROM fetches ORDER BY id")
        ]


def stored(fetches: Sequence[Attempt]) -> tuple[list[dt.datetime], list[dt.datetime]]:
    """When each was stored in truth, and as the file says."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fx.db"
        return store(path, fetches), instants(path)


AHEAD = Attempt(hours(24), error=hours(24 * 400))
RIGHT = Attempt(hours(24))


def test_one_wrong_instant_is_corrected_by_the_next_fetch() -> None:
    truth, said = stored([RIGHT, AHEAD, RIGHT, RIGHT])
    assert said == [truth[0], truth[2] - STEP, truth[2], truth[3]]


def test_a_run_of_wrong_instants_keeps_its_order() -> None:
    truth, said = stored([RIGHT, AHEAD, AHEAD, AHEAD, RIGHT])
    assert said == [truth[0], truth[4] - 3 * STEP, truth[4] - 2 * STEP, truth[4] - STEP, truth[4]]


def test_moves_wrong_instants_even_if_little_time_has_passed() -> None:
    soon = Attempt(STEP)
    truth, said = stored([RIGHT, Attempt(STEP, AHEAD.error), Attempt(STEP, AHEAD.error), soon])
    assert truth[3] == truth[0] + 3 * STEP
    assert said == truth
    truth, said = stored([RIGHT, Attempt(NONE, AHEAD.error), Attempt(NONE, AHEAD.error), soon])
    assert said == [truth[3] - 3 * STEP, truth[3] - 2 * STEP, truth[3] - STEP, truth[3]]


@pytest.mark.parametrize("error", [hours(24 * 400), hours(-24 * 400), hours(5), hours(-5)])
def test_uses_the_providers_time_if_the_clock_disagrees(error: dt.timedelta) -> None:
    wrong = Attempt(hours(24), error, provider_dates=True)
    truth, said = stored([replace(RIGHT, provider_dates=True), wrong, wrong, RIGHT])
    assert said == truth


def test_a_small_step_back_moves_nothing() -> None:
    truth, said = stored([RIGHT, Attempt(hours(1), 40 * SECOND), Attempt(SECOND)])
    assert said == [truth[0], truth[1] + dt.timedelta(seconds=40), said[1] + STEP]


NOW = START
LATER, EARLIER = NOW + hours(50), NOW - hours(50)


@pytest.mark.parametrize(
    ("clock", "provider", "newest", "expected"),
    [
        (NOW, None, None, NOW),
        (NOW, None, LATER, NOW),
        (NOW, NOW + hours(1), EARLIER, NOW),
        (LATER, NOW, None, NOW),
        (LATER, NOW, EARLIER, NOW),
        (EARLIER, NOW, None, NOW),
        (EARLIER, NOW, NOW, NOW),
        (EARLIER, NOW, LATER, NOW),
        # A provider's instant from a cache: clock and file agree.
        (LATER, EARLIER, NOW, LATER),
        # Half an hour ahead before, and days ahead now.
        (LATER, NOW, NOW + hours(0.5), NOW),
    ],
)
def test_chooses_between_the_clock_and_the_providers(
    clock: dt.datetime, provider: dt.datetime | None, newest: dt.datetime | None, expected: dt.datetime
) -> None:
    assert chosen(clock, provider, newest) == expected


gaps = st.sampled_from([STEP, dt.timedelta(seconds=20), hours(1), hours(30), hours(24 * 30)])
small = st.sampled_from([NONE, NONE, dt.timedelta(seconds=20), dt.timedelta(seconds=-20)])
ahead = st.sampled_from([hours(2), hours(30), hours(24 * 400)])
any_fetch = st.builds(Attempt, gaps, small | ahead | ahead.map(lambda error: -error), st.booleans())
only_ahead = st.builds(Attempt, gaps, st.just(NONE) | ahead)
dated = st.builds(
    Attempt, gaps, small | ahead | ahead.map(lambda error: -error), provider_dates=st.just(True)
)
SOON = dt.timedelta(seconds=45)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(any_fetch, min_size=1, max_size=8))
def test_instants_are_in_the_order_of_the_fetches(fetches: list[Attempt]) -> None:
    _, said = stored(fetches)
    assert all(earlier < later for earlier, later in pairwise(said))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(dated, min_size=1, max_size=8))
def test_instants_are_correct_if_the_provider_sends_the_time(fetches: list[Attempt]) -> None:
    truth, said = stored(fetches)
    assert [fetch for fetch, is_off in zip(said, map(off, truth, said), strict=True) if is_off] == []


def off(truth: dt.datetime, said: dt.datetime) -> bool:
    """Whether an instant is wrong by more than small steps of the clock add up to."""
    return abs(said - truth) > SOON


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(only_ahead, max_size=8))
@example([RIGHT, AHEAD])
def test_after_a_correct_fetch_nothing_is_dated_too_early_or_in_the_future(fetches: list[Attempt]) -> None:
    """For each instant: at least what right fetches had brought, and at most what all had."""
    truth, said = stored([*fetches, RIGHT])
    right = [place for place, fetch in enumerate([*fetches, RIGHT]) if fetch.error == NONE]
    for instant in [*truth, *(moment + SOON for moment in truth), *said]:
        known = bisect_right(said, instant)
        came = bisect_right(truth, instant)
        least = max((place + 1 for place in right if truth[place] <= instant), default=0)
        # A right instant that is less than a minute before a wrong one follows it.
        assert least <= bisect_right(said, instant + TOLERANCE), instant
        assert known <= came, instant
    assert bisect_right(said, truth[-1]) == len(said)


@settings(max_examples=100, deadline=None)
@given(st.lists(any_fetch, max_size=6))
def test_a_clock_jump_does_not_change_later_instants(fetches: list[Attempt]) -> None:
    """Whatever was before: from a right fetch on, instants are right."""
    much_later = Attempt(hours(24 * 500))
    truth, said = stored([*fetches, much_later, RIGHT, RIGHT])
    assert said[-3:] == truth[-3:]
    assert said[-4] < truth[-3] if fetches else len(said) == 3


def test_a_rebuild_corrects_instants_in_the_future(tmp_path: Path) -> None:
    path = tmp_path / "fx.db"
    truth = store(path, [RIGHT, AHEAD, AHEAD])
    with RateStore(path, now=lambda: truth[2]) as rates:
        found = rates.ahead()
        assert found == Ahead(2, truth[2] + AHEAD.error)
        assert str(found) == (
            "2 fetches are dated in the future, up to 2027-04-08 12:00 UTC, so `as_of` leaves them out: the "
            "clock was ahead. Correct the clock; the next fetch or `fx-pipeline rebuild` then corrects them."
        )
        day = DayRates(date=DAY, base="EUR", timestamp=0, rates={"EUR": 1, "USD": 1.5})
        rates.rebuild(lambda answer: replace(answer, days=(day,)))
        assert rates.ahead() == Ahead(0, None)
        assert str(rates.ahead()) == "ok"
    assert instants(path) == [truth[0], truth[2] - 2 * STEP, truth[2] - STEP]


def test_a_run_refetches_days_that_are_dated_in_the_future(tmp_path: Path) -> None:
    """They were not stored while it runs, though their instants are later than its start."""
    path = tmp_path / "fx.db"
    store(path, [AHEAD])
    with Ledger(path, run_id="later") as ledger:
        assert ledger.stored_by_others([DAY]) == []


def test_instants_sort_as_text_in_time_order(tmp_path: Path) -> None:
    path = tmp_path / "fx.db"
    store(path, [RIGHT, AHEAD, RIGHT])
    with closing(sqlite3.connect(path)) as connection:
        texts = [text for (text,) in connection.execute("SELECT fetched_at FROM fetches ORDER BY fetched_at")]
    assert texts == [instant_text(instant) for instant in instants(path)]
