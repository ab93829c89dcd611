"""From a running sandbox into a real file: each date alone, newest first, and a stop at what concerns all."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import InvalidKey, QuotaExhausted
from fx_pipeline.ingestion import Outcome, ingest
from fx_pipeline.rates import date_range
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

DATES = list(date_range(dt.date(2024, 1, 1), dt.date(2024, 1, 20)))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RateStore]:
    with RateStore(tmp_path / "fx.db") as store:
        yield store


def client(sandbox: Sandbox, key: str = "a-key") -> FixerClient:
    return FixerClient(sandbox.url, key, retries=0)


def test_every_date_is_fetched_once_and_stored(sandbox: Sandbox, store: RateStore) -> None:
    with client(sandbox) as fixer:
        outcomes = list(ingest(DATES, fixer, store, run_id="run"))
    assert sorted(outcome.date for outcome in outcomes) == DATES
    assert all(outcome.stored and outcome.stored.inserted == 31 for outcome in outcomes)
    assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES)
    assert sandbox.stats()["endpoints"] == {"historical": {"ok": 20}}


def test_the_newest_dates_come_first(sandbox: Sandbox, store: RateStore) -> None:
    with client(sandbox) as fixer:
        assert [outcome.date for outcome in ingest(DATES, fixer, store, concurrency=1)] == DATES[::-1]


def test_what_was_told_is_committed(sandbox: Sandbox, store: RateStore, tmp_path: Path) -> None:
    with client(sandbox) as fixer, RateStore(tmp_path / "fx.db") as other:
        for outcome in ingest(DATES, fixer, store):
            assert other.stored_dates(outcome.date, outcome.date) == {outcome.date}


def test_a_date_that_fails_holds_up_no_other_and_can_be_asked_again(
    sandbox: Sandbox, store: RateStore
) -> None:
    sandbox.change(faults={"wrong-date": 0.3}, seed=3)
    with client(sandbox) as fixer:
        first = list(ingest(DATES, fixer, store))
        failed = [outcome.date for outcome in first if outcome.error]
        assert 0 < len(failed) < 20
        assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES) - set(failed)
        sandbox.change(faults={})
        assert all(outcome.stored for outcome in ingest(failed, fixer, store))
    assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES)
    assert sandbox.stats()["total"] == 20 + len(failed)


def test_a_wrong_key_stops_at_once(sandbox: Sandbox, store: RateStore) -> None:
    sandbox.change(key="the-good-one")
    outcomes: list[Outcome] = []
    with client(sandbox, "another") as fixer, pytest.raises(InvalidKey, match="Set FIXER_ACCESS_KEY"):
        outcomes.extend(ingest(DATES, fixer, store, concurrency=2))
    assert sandbox.stats()["total"] <= 4
    assert store.coverage().days == 0


def test_a_used_up_quota_keeps_what_had_arrived(sandbox: Sandbox, store: RateStore) -> None:
    sandbox.change(quota=5)
    stored = []
    with client(sandbox) as fixer, pytest.raises(QuotaExhausted):
        for outcome in ingest(DATES, fixer, store, concurrency=1):
            stored += [outcome.date] if outcome.stored else []
    assert stored == DATES[:-6:-1]
    assert store.stored_dates(DATES[0], DATES[-1]) == set(stored)


def test_an_answer_that_was_an_error_is_kept_with_its_body(sandbox: Sandbox, store: RateStore) -> None:
    sandbox.change(out_of_range_code=106, today=lambda: dt.date(2024, 1, 6))
    with client(sandbox) as fixer:
        [outcome] = ingest([dt.date(2024, 1, 9)], fixer, store)
    assert outcome.error is not None
    assert outcome.error.code == 106
    assert not outcome.error.retryable
    assert (store.coverage().fetches, store.coverage().calls, store.coverage().days) == (1, 1, 0)
