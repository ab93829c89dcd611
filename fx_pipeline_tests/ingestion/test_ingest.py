"""From a running sandbox into a real file: one outcome per date, newest first."""

import datetime as dt
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fx_pipeline.clock import end_of_day
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import InvalidKey, MislabelledBase, NoRates, ProviderDown, QuotaExhausted
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import Call, plan_calls, quota_warning
from fx_pipeline.ingestion.results import Outcome
from fx_pipeline.rates import date_range
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.ledger import Ledger, QuotaReached
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fixer.scripted_server import Play, reply, scripted
from fx_pipeline_tests.sandbox_server import Sandbox

DATES = list(date_range(dt.date(2024, 1, 1), dt.date(2024, 1, 20)))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RateStore]:
    with RateStore(tmp_path / "fx.db") as store:
        yield store


@pytest.fixture
def ledger(store: RateStore) -> Iterator[Ledger]:
    with Ledger(store.path, run_id="run") as ledger:
        yield ledger


def refused(code: int, type: str) -> bytes:
    return reply({"success": False, "error": {"code": code, "type": type}})


def day_of(path: str) -> bytes:
    """Return the response to `/<date>`."""
    date = dt.date.fromisoformat(urlsplit(path).path[-10:])
    rates = {"EUR": 1, "USD": 1.2}
    return reply(
        {"success": True, "timestamp": end_of_day(date), "base": "EUR", "date": f"{date}", "rates": rates}
    )


def client(sandbox: Sandbox, key: str = "a-key") -> FixerClient:
    return FixerClient(sandbox.url, key, retries=0)


def test_fetches_each_date_once_and_stores_it(sandbox: Sandbox, store: RateStore, ledger: Ledger) -> None:
    with client(sandbox) as fixer:
        outcomes = list(ingest(plan_calls(DATES), fixer, store, ledger))
    assert sorted(outcome.date for outcome in outcomes) == DATES
    assert all(outcome.stored and outcome.stored.inserted == 31 for outcome in outcomes)
    assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES)
    assert sandbox.stats()["endpoints"] == {"historical": {"ok": 20}}


def test_fetches_the_newest_dates_first(sandbox: Sandbox, store: RateStore, ledger: Ledger) -> None:
    with client(sandbox) as fixer:
        assert [
            outcome.date for outcome in ingest(plan_calls(DATES), fixer, store, ledger, concurrency=1)
        ] == DATES[::-1]


def test_yields_an_outcome_only_after_its_commit(
    sandbox: Sandbox, store: RateStore, ledger: Ledger, tmp_path: Path
) -> None:
    with client(sandbox) as fixer, RateStore(tmp_path / "fx.db") as other:
        for outcome in ingest(plan_calls(DATES), fixer, store, ledger):
            assert other.stored_dates(outcome.date, outcome.date) == {outcome.date}


def test_a_failed_date_delays_no_other_and_can_be_refetched(
    sandbox: Sandbox, store: RateStore, ledger: Ledger
) -> None:
    sandbox.change(faults={"wrong-date": 0.3}, seed=3)
    with client(sandbox) as fixer:
        first = list(ingest(plan_calls(DATES), fixer, store, ledger))
        failed = [outcome.date for outcome in first if outcome.error]
        assert 0 < len(failed) < 20
        assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES) - set(failed)
        sandbox.change(faults={})
        assert all(outcome.stored for outcome in ingest(plan_calls(failed), fixer, store, ledger))
    assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES)
    assert sandbox.stats()["total"] == 20 + len(failed)


@pytest.mark.parametrize("timeseries", [False, True])
@pytest.mark.parametrize("symbols", [(), ("EUR", "GBP")])
def test_stores_no_rates_with_a_mislabelled_base(
    sandbox: Sandbox, store: RateStore, ledger: Ledger, symbols: tuple[str, ...], timeseries: bool
) -> None:
    sandbox.change(faults={"mislabelled-base": 1.0})
    asked = plan_calls(DATES, timeseries=timeseries)
    with FixerClient(sandbox.url, "a-key", base="USD", symbols=symbols, retries=0) as fixer:
        outcomes = list(ingest(asked, fixer, store, ledger))
        assert all(isinstance(outcome.error, MislabelledBase) for outcome in outcomes)
        assert {outcome.date for outcome in outcomes} == set(DATES)
        assert store.coverage().days == 0
        sandbox.change(faults={})
        assert all(outcome.stored for outcome in ingest(asked, fixer, store, ledger))


def test_a_wrong_key_stops_the_run_immediately(sandbox: Sandbox, store: RateStore, ledger: Ledger) -> None:
    sandbox.change(key="the-good-one")
    outcomes: list[Outcome] = []
    with client(sandbox, "another") as fixer, pytest.raises(InvalidKey, match="Set FIXER_ACCESS_KEY"):
        outcomes.extend(ingest(plan_calls(DATES), fixer, store, ledger, concurrency=2))
    assert sandbox.stats()["total"] <= 4
    assert store.coverage().days == 0


def test_stores_what_arrived_before_the_quota_was_used_up(
    sandbox: Sandbox, store: RateStore, ledger: Ledger
) -> None:
    sandbox.change(quota=5)
    stored = []
    with client(sandbox) as fixer, pytest.raises(QuotaExhausted):
        for outcome in ingest(plan_calls(DATES), fixer, store, ledger, concurrency=1):
            stored += [outcome.date] if outcome.stored else []
    assert stored == DATES[:-6:-1]
    assert store.stored_dates(DATES[0], DATES[-1]) == set(stored)


class InterruptedLedger(Ledger):
    """Raises an interrupt when the calls of a batch are open and none is submitted."""

    def stored_by_others(self, dates: Collection[dt.date]) -> list[StoredDay]:
        raise KeyboardInterrupt


def test_an_interrupt_before_any_request_leaves_no_row_in_the_ledger(
    sandbox: Sandbox, store: RateStore
) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        InterruptedLedger(store.path, run_id="run") as ledger,
        client(sandbox) as fixer,
    ):
        list(ingest(plan_calls(DATES), fixer, store, ledger))
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT count(*) FROM fetches").fetchone() == (0,)
    assert sandbox.stats()["total"] == 0


def test_stores_the_body_of_an_error_response(sandbox: Sandbox, store: RateStore, ledger: Ledger) -> None:
    sandbox.change(out_of_range_code=106, today=lambda: dt.date(2024, 1, 6))
    with client(sandbox) as fixer:
        [outcome] = ingest(plan_calls([dt.date(2024, 1, 9)]), fixer, store, ledger)
    assert outcome.error is not None
    assert outcome.error.code == 106
    assert not outcome.error.retryable
    assert (store.coverage().fetches, store.coverage().calls, store.coverage().days) == (1, 1, 0)


YEARS = list(date_range(dt.date(2021, 3, 1), dt.date(2024, 2, 28)))


@pytest.mark.parametrize(
    ("dates", "calls"),
    [
        ([], 0),
        (DATES, 1),
        (list(date_range(dt.date(2023, 1, 1), dt.date(2023, 12, 31))), 1),
        (list(date_range(dt.date(2024, 1, 1), dt.date(2024, 12, 31))), 2),  # a leap year has 366 days
        ([dt.date(2024, 1, 1), dt.date(2024, 12, 31)], 2),
        (YEARS, 3),
        ([dt.date(2024, 1, 1), dt.date(2023, 1, 2), dt.date(2021, 1, 1)], 2),
        (list(date_range(dt.date(1999, 1, 1), dt.date(2026, 11, 23))), 28),
    ],
)
def test_plans_as_few_calls_as_fixer_allows(dates: list[dt.date], calls: int) -> None:
    asked = plan_calls(dates, timeseries=True)
    assert len(asked) == calls
    assert sorted(date for question in asked for date in question.dates) == sorted(dates)
    assert all(question.days <= 365 for question in asked)


def test_plans_the_dates_of_the_daily_run_separately() -> None:
    daily = set(DATES[-3:])
    asked = plan_calls(DATES, timeseries=True, daily=daily)
    assert [(question.start, question.end, question.daily) for question in asked] == [
        (DATES[-3], DATES[-1], True),
        (DATES[0], DATES[-4], False),
    ]


def canonical(path: Path) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return [
            *connection.execute("SELECT date, currency, rate FROM rates ORDER BY date, currency"),
            *connection.execute("SELECT date, base, timestamp, currencies FROM days ORDER BY date"),
            *connection.execute("SELECT code, first_date, last_date FROM symbols ORDER BY code"),
        ]
    finally:
        connection.close()


def ingested(path: Path, sandbox: Sandbox, asked: list[Call]) -> list[Outcome]:
    with RateStore(path) as store, Ledger(path) as ledger, client(sandbox) as fixer:
        return list(ingest(asked, fixer, store, ledger))


def test_a_series_stores_the_same_rows_as_single_days(sandbox: Sandbox, tmp_path: Path) -> None:
    days, series = tmp_path / "days.db", tmp_path / "series.db"
    ingested(days, sandbox, plan_calls(DATES))
    outcomes = ingested(series, sandbox, plan_calls(DATES, timeseries=True))
    assert [outcome.date for outcome in outcomes] == DATES[::-1]
    assert canonical(days) == canonical(series)
    assert sandbox.stats()["endpoints"] == {"historical": {"ok": 20}, "timeseries": {"ok": 1}}


def test_fetches_days_one_by_one_if_the_plan_lacks_timeseries(sandbox: Sandbox, store: RateStore) -> None:
    sandbox.change(plan="basic")
    notices: list[str] = []
    with client(sandbox) as fixer, Ledger(store.path) as ledger:
        outcomes = list(ingest(plan_calls(DATES, timeseries=True), fixer, store, ledger, warn=notices.append))
    assert all(outcome.stored for outcome in outcomes)
    assert len(outcomes) == 20
    assert notices == ["The plan lacks timeseries: the days are fetched one by one. Set FIXER_TIMESERIES=0."]
    assert sandbox.stats()["endpoints"] == {"historical": {"ok": 20}, "timeseries": {"105": 1}}


YEAR = list(date_range(dt.date(2023, 1, 1), dt.date(2023, 12, 31)))


@pytest.mark.parametrize(
    ("series_days", "dates", "calls"),
    [
        (365, YEAR, {"timeseries": {"ok": 1}}),
        (364, YEAR, {"timeseries": {"505": 1, "ok": 3}}),  # of 182, 182 and 1 days
        (182, YEAR, {"timeseries": {"505": 1, "ok": 3}}),
        (31, YEAR, {"timeseries": {"505": 4, "ok": 17}}),  # 365, 182, 91 and 45 are too many, 22 are not
        (31, YEARS, {"timeseries": {"505": 4, "ok": 50}}),
        (3, DATES, {"timeseries": {"505": 3, "ok": 10}}),  # 20, 10 and 5; then 2 each
        (1, DATES, {"timeseries": {"505": 4}, "historical": {"ok": 20}}),
    ],
)
def test_splits_a_series_that_is_too_long(
    sandbox: Sandbox,
    store: RateStore,
    ledger: Ledger,
    series_days: int,
    dates: list[dt.date],
    calls: dict[str, dict[str, int]],
) -> None:
    sandbox.change(series_days=series_days)
    with client(sandbox) as fixer:
        outcomes = list(ingest(plan_calls(dates, timeseries=True), fixer, store, ledger, concurrency=8))
    assert all(outcome.stored for outcome in outcomes)
    assert sorted(outcome.date for outcome in outcomes) == dates
    assert sandbox.stats()["endpoints"] == calls


def test_warns_about_shorter_series_and_the_calls_they_need(sandbox: Sandbox, store: RateStore) -> None:
    sandbox.change(series_days=31)
    notices: list[str] = []
    asked = plan_calls(YEAR, timeseries=True)
    with client(sandbox) as fixer, Ledger(store.path, limit=12, daily_calls=0) as ledger:
        assert quota_warning(asked, ledger.quota()) is None
        with pytest.raises(QuotaReached):
            # By one thread: several may spend the last calls on days that are not the newest.
            list(ingest(asked, fixer, store, ledger, concurrency=1, warn=notices.append))
    refuses = "Fixer refuses a series of this length (505)"
    assert [notice for notice in notices if notice.startswith(refuses)] == [
        f"{refuses}: requesting {days} days at a time." for days in (182, 91, 45, 22)
    ]
    assert notices[-1].startswith(
        "This needs 17 calls, but only 8 may be made: it fetches 2023-12-31 back to 2023-07-09. "
    )
    assert store.stored_dates(YEAR[0], YEAR[-1]) == set(date_range(dt.date(2023, 7, 9), YEAR[-1]))


@pytest.mark.parametrize("answer", [refused(505, "time_frame_too_long"), refused(505, "a_new_type")])
def test_fetches_days_one_by_one_if_every_series_is_too_long(
    store: RateStore, ledger: Ledger, answer: bytes
) -> None:
    notices: list[str] = []
    with (
        scripted(by_path=lambda path: answer if "timeseries" in path else day_of(path)) as server,
        FixerClient(server.url, "a-key", retries=0) as fixer,
    ):
        asked = plan_calls([DATES[0]], timeseries=True)
        [outcome] = ingest(asked, fixer, store, ledger, warn=notices.append)
    assert outcome.stored
    assert notices == [
        "Fixer refuses a series of this length (505): "
        "the days are fetched one by one. Set FIXER_TIMESERIES=0."
    ]


def test_fetches_a_day_missing_from_a_series_by_its_date(
    sandbox: Sandbox, store: RateStore, ledger: Ledger, tmp_path: Path
) -> None:
    sandbox.change(faults={"gap": 1.0})
    notices: list[str] = []
    with client(sandbox) as fixer:
        asked = plan_calls(YEARS, timeseries=True)
        outcomes = list(ingest(asked, fixer, store, ledger, warn=notices.append))
    assert all(outcome.stored for outcome in outcomes)
    assert sorted(outcome.date for outcome in outcomes) == YEARS
    assert sandbox.stats()["endpoints"] == {"timeseries": {"gap": 3}, "historical": {"ok": 3}}
    assert sum(int(notice.rpartition(": ")[2][:-1]) for notice in notices) == 3


@pytest.mark.parametrize("empty", [..., [], {}, None, {"USD": None}, {"USD": 0}, "", 0])
@pytest.mark.parametrize("known", [True, False])
def test_handles_a_day_without_rates_in_a_series(
    store: RateStore, ledger: Ledger, empty: object, known: bool
) -> None:
    rates: dict[str, object] = {f"{date}": {"EUR": 1, "USD": 1.1} for date in DATES}
    gap = dt.date(2024, 1, 7)
    rates[f"{gap}"] = empty
    series = {
        "success": True,
        "base": "EUR",
        "start_date": f"{DATES[0]}",
        "end_date": f"{DATES[-1]}",
        "rates": {date: values for date, values in rates.items() if values is not ...},
    }

    def answer(path: str) -> Play:
        if "timeseries" in path:
            return reply(series)
        return day_of(path) if known else refused(106, "no_rates_available")

    with scripted(by_path=answer) as server, FixerClient(server.url, "a-key", retries=0) as fixer:
        outcomes = list(ingest(plan_calls(DATES, timeseries=True), fixer, store, ledger))
        assert [urlsplit(path).path for path in server.paths] == ["/api/timeseries", f"/api/{gap}"]
    [last] = [outcome for outcome in outcomes if outcome.date == gap]
    assert sorted(outcome.date for outcome in outcomes) == DATES
    assert (last.stored is not None, isinstance(last.error, NoRates)) == (known, not known)
    assert store.stored_dates(DATES[0], DATES[-1]) == set(DATES) - (set() if known else {gap})


def test_uses_the_quota_up_to_its_last_call(sandbox: Sandbox, store: RateStore) -> None:
    sandbox.change(faults={"server-error": 0.3}, seed=1)  # repetitions are calls, too
    with (
        FixerClient(sandbox.url, "a-key", retries=9, backoff=0.01) as fixer,
        Ledger(store.path, limit=15, daily_calls=0) as ledger,
        pytest.raises(QuotaReached),
    ):
        list(ingest(plan_calls(DATES), fixer, store, ledger))
    assert sandbox.stats()["total"] == 15


def test_concurrent_runs_fetch_each_date_only_once(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.change(latency=0.02)
    code = f"""
import datetime as dt, os, sys
from pathlib import Path
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import date_range
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore

dates = date_range(dt.date(2024, 1, 1), dt.date(2024, 1, 20))
with (
    RateStore(Path("fx.db")) as store,
    Ledger(Path("fx.db"), run_id=str(os.getpid())) as ledger,
    FixerClient({sandbox.url!r}, "a-key") as fixer,
):
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(outcome.stored is not None for outcome in ingest(plan_calls(dates), fixer, store, ledger)))
"""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [run.communicate()[0].strip() for run in runs] == ["20", "20", "20"]
    assert sandbox.stats()["total"] == 20
    with RateStore(tmp_path / "fx.db") as store:
        assert store.coverage().days == 20


def test_stops_early_if_the_network_is_down(store: RateStore) -> None:
    outcomes: list[Outcome] = []
    with (
        FixerClient("http://127.0.0.1:9", "a-key", retries=0, backoff=0.01) as fixer,
        Ledger(store.path, limit=100, daily_calls=0) as ledger,
        pytest.raises(ProviderDown, match=r"in a row failed, the last with: the connection was refused"),
    ):
        outcomes.extend(ingest(plan_calls(YEARS), fixer, store, ledger, concurrency=2))
    assert 8 <= len(outcomes) <= 9
    with Ledger(store.path, limit=100, daily_calls=0) as ledger:
        quota = ledger.quota()
    assert quota is not None
    assert quota.used == 0
