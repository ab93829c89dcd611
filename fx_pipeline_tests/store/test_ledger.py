"""The ledger on a real file: calls counted before they are made, by whoever makes them."""

import datetime as dt
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import DayRates
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.ledger import AlreadyInFlight, Ledger, Quota, QuotaReached
from fx_pipeline.store.store import RateStore

DAY = dt.date(2024, 5, 17)
Process = subprocess.Popen[bytes]
Opened = Callable[..., AbstractContextManager[Ledger]]


def at(text: str) -> Callable[[], dt.datetime]:
    return lambda: dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "fx.db"
    RateStore(path).close()
    return path


@pytest.fixture
def opened(path: Path) -> Opened:
    @contextmanager
    def opened(
        limit: int | None = None, daily_calls: int = 0, run_id: str = "run", now: str = "2024-05-20T12:00:00"
    ) -> Iterator[Ledger]:
        with Ledger(path, limit=limit, daily_calls=daily_calls, run_id=run_id, now=at(now)) as ledger:
            yield ledger

    return opened


def ask(ledger: Ledger, date: dt.date = DAY) -> int:
    return ledger.open("historical", date, date, base="EUR")


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def answered(fetch_id: int, date: dt.date = DAY, **more: int) -> Fetch:
    day = DayRates(date=date, base="EUR", timestamp=0, rates={"USD": 1.08})
    return Fetch(
        endpoint="historical",
        base="EUR",
        symbols=(),
        start_date=date,
        end_date=date,
        asked_at=at("2024-05-20T12:00:00")(),
        status="ok",
        body=b"",
        days=(day,),
        fetch_id=fetch_id,
        quota_limit=more.get("limit"),
        quota_remaining=more.get("remaining"),
        calls=more.get("calls", 1),
    )


def test_without_a_limit_there_is_no_quota(opened: Opened) -> None:
    with opened() as ledger:
        ledger.spend(ask(ledger))
        assert ledger.quota() is None


def test_a_call_over_the_limit_is_refused_and_not_counted(opened: Opened, path: Path) -> None:
    with opened(limit=3) as ledger:
        fetch_id = ask(ledger)
        for _ in range(3):
            ledger.spend(fetch_id)
        with pytest.raises(QuotaReached, match=r"^3 of the 3 calls .* restarts on 2024-06-01\.$"):
            ledger.spend(fetch_id)
        assert ledger.quota() == Quota(limit=3, used=3, reserved=0, renewed_on=dt.date(2024, 6, 1))
    assert rows(path, "SELECT calls FROM fetches") == [(3,)]


def test_reserves_the_last_calls_for_the_daily_runs_of_the_month(opened: Opened) -> None:
    with opened(limit=40, daily_calls=3, now="2024-05-20T12:00:00") as ledger:
        assert ledger.quota() == Quota(limit=40, used=0, reserved=33, renewed_on=dt.date(2024, 6, 1))
        fetch_id = ask(ledger)
        for _ in range(7):
            ledger.spend(fetch_id)
        with pytest.raises(QuotaReached, match="33 are reserved for its daily runs"):
            ledger.spend(fetch_id)
        for _ in range(33):
            ledger.spend(fetch_id, daily=True)
        with pytest.raises(QuotaReached):
            ledger.spend(fetch_id, daily=True)


@pytest.mark.parametrize(
    ("now", "kept", "renewed_on"),
    [
        ("2024-02-01T00:00:00", 84, dt.date(2024, 3, 1)),
        ("2024-02-29T23:59:59", 0, dt.date(2024, 3, 1)),
        ("2024-12-31T00:00:00", 0, dt.date(2025, 1, 1)),
        ("2024-12-01T00:00:00", 90, dt.date(2025, 1, 1)),
    ],
)
def test_reserves_fewer_calls_as_the_month_passes(
    opened: Opened, now: str, kept: int, renewed_on: dt.date
) -> None:
    with opened(limit=100, daily_calls=3, now=now) as ledger:
        assert ledger.quota() == Quota(limit=100, used=0, reserved=kept, renewed_on=renewed_on)


def test_a_new_month_starts_at_zero(opened: Opened) -> None:
    with opened(limit=1, now="2024-05-31T23:59:59") as ledger:
        ledger.spend(ask(ledger))
        with pytest.raises(QuotaReached):
            ledger.spend(ask(ledger))
    with opened(limit=1, now="2024-06-01T00:00:00") as ledger:
        ledger.spend(ask(ledger))


def test_the_providers_count_corrects_the_ledger(opened: Opened, path: Path) -> None:
    with opened(limit=100) as ledger, RateStore(path) as store:
        first = ask(ledger)
        ledger.spend(first)
        store.record([answered(first, limit=100, remaining=30)], run_id="run")  # others use this key, too
        second = ask(ledger)
        ledger.spend(second)
        quota = ledger.quota()
        assert quota is not None
        assert quota.used == 71
        store.record([answered(second, limit=100, remaining=90)], run_id="run")
        quota = ledger.quota()
        assert quota is not None
        assert quota.used == 10


@pytest.mark.parametrize(
    ("limit", "remaining"), [(10, 10), (0, 0), (10, 11), (10, 99_999_999_999), (10, -1), (-5, -9)]
)
def test_ignores_an_impossible_count_from_the_provider(
    opened: Opened, path: Path, limit: int, remaining: int
) -> None:
    with opened(limit=3) as ledger, RateStore(path) as store:
        for _ in range(3):
            fetch_id = ask(ledger)
            ledger.spend(fetch_id)
            store.record([answered(fetch_id, limit=limit, remaining=remaining)], run_id="run")
        with pytest.raises(QuotaReached, match=r"^3 of the 3 calls"):
            ledger.spend(ask(ledger))


@pytest.mark.parametrize(("used", "nearly"), [(79, False), (80, True), (100, True)])
def test_warns_when_four_fifths_are_used(used: int, nearly: bool) -> None:
    assert Quota(limit=100, used=used, reserved=0, renewed_on=DAY).nearly_used is nearly


def test_many_threads_never_exceed_the_quota(opened: Opened, path: Path) -> None:
    with opened(limit=50) as ledger:

        def spend(number: int) -> bool:
            try:
                ledger.spend(ask(ledger, DAY + dt.timedelta(days=number)))
            except QuotaReached:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(spend, range(80))) == 50
    assert rows(path, "SELECT sum(calls) FROM fetches") == [(50,)]


def claims(path: Path) -> list[Path]:
    """Return the files of processes that have a fetch open, or were killed with one."""
    return list(path.with_name("fx.db-processes").iterdir())


@contextmanager
def asking(path: Path, start: dt.date, end: dt.date, host: str | None = None) -> Iterator[Process]:
    """Start a process that has these days open, on a machine or in a container of that name."""
    named = "" if host is None else f"import socket; socket.gethostname = lambda: {host!r}\n"
    code = (
        f"{named}import sys, datetime as dt; from pathlib import Path\n"
        "from fx_pipeline.store.ledger import Ledger\n"
        f"ledger = Ledger(Path({str(path)!r}), limit=99, run_id='other')\n"
        f"question = ledger.open('timeseries', dt.{start!r}, dt.{end!r}, base='EUR')\n"
        "ledger.spend(question); print('asked', flush=True); sys.stdin.read()"
    ).replace("dt.datetime.date", "dt.date")
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"asked\n"
        try:
            yield process
        finally:
            process.kill()


YEAR = (dt.date(DAY.year, 1, 1), dt.date(DAY.year, 12, 31))


@pytest.mark.parametrize("host", [None, "another-container"])
def test_does_not_open_days_that_a_running_process_is_fetching(path: Path, host: str | None) -> None:
    with asking(path, *YEAR, host) as other, Ledger(path, run_id="run") as ledger:
        with pytest.raises(
            AlreadyInFlight,
            match=r"^Waiting for 2024-01-01 to 2024-12-31: "
            rf"process {host or os.uname().nodename}:{other.pid} has "
            r"been fetching this since ....-..-.. ..:..:.. UTC\. ",
        ):
            ask(ledger)
        ask(ledger, dt.date(2023, 12, 31))
        other.kill()
        other.wait()
        ask(ledger)  # its process has ended
        # The row of the dead process is closed, and the call that it may have made stays counted.
        assert rows(path, "SELECT start_date, calls, status FROM fetches ORDER BY id") == [
            ("2024-01-01", 1, "abandoned"),
            ("2023-12-31", 0, "asked"),
            ("2024-05-17", 0, "asked"),
        ]
        assert len(claims(path)) == 1


def test_a_reused_process_id_keeps_no_fetch_open(path: Path) -> None:
    """A new container numbers its processes from 1 again, and may have the host name of the old one."""
    with asking(path, *YEAR) as other:
        other.kill()
    with sqlite3.connect(path) as connection:
        own = f"{os.uname().nodename}:{os.getpid()}:"
        connection.execute("UPDATE fetches SET process = ? || substr(process, -16)", [own])
    connection.close()
    with Ledger(path, run_id="run") as ledger:
        ask(ledger)


@pytest.mark.parametrize(
    "name", ["gone:17", f"{os.uname().nodename}:{os.getpid()}"], ids=["another host", "this host"]
)
def test_takes_over_a_fetch_without_a_claim(opened: Opened, path: Path, name: str) -> None:
    """As an earlier version left it, or a backup holds it."""
    with opened() as ledger:
        ask(ledger)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE fetches SET process = ?", [name])
        connection.close()
        ask(ledger)
    assert rows(path, "SELECT status FROM fetches") == [("abandoned",), ("abandoned",)]


@pytest.mark.parametrize(
    ("now", "waits"),
    [
        (dt.timedelta(minutes=14), True),
        (dt.timedelta(minutes=16), False),
        (-dt.timedelta(minutes=14), True),
        (-dt.timedelta(days=400), False),
    ],
    ids=str,
)
def test_waits_a_quarter_of_an_hour_for_a_running_process(path: Path, now: dt.timedelta, waits: bool) -> None:
    clock = dt.datetime.now(dt.timezone.utc) + now
    with asking(path, *YEAR), Ledger(path, run_id="run", now=lambda: clock) as ledger:
        if waits:
            with pytest.raises(AlreadyInFlight):
                ask(ledger)
        else:
            ask(ledger)


@pytest.mark.parametrize(
    ("now", "lasts"),
    [
        ("2024-05-20T12:09:59", True),
        ("2024-05-20T12:10:01", False),
        ("2024-05-20T11:59:00", True),
        ("2023-05-20T12:00:00", False),
    ],
)
def test_remembers_an_outage_for_ten_minutes(opened: Opened, now: str, lasts: bool) -> None:
    with opened() as ledger:
        assert not ledger.is_outage()
        ledger.record_outage()
        ledger.record_outage()
    with opened(now=now) as ledger:
        assert ledger.is_outage() is lasts
        ledger.clear_outage()
        assert not ledger.is_outage()


def test_deletes_a_fetch_without_a_call(opened: Opened, path: Path) -> None:
    with opened() as ledger:
        ledger.close_unanswered(ask(ledger), "not asked", 0)
        ledger.close_unanswered(ask(ledger), "no response in time", 6)
    assert rows(path, "SELECT calls, status FROM fetches") == [(6, "no response in time")]


def test_closing_the_ledger_closes_its_fetches(opened: Opened, path: Path) -> None:
    with opened(limit=9) as ledger:
        ledger.spend(ask(ledger))
    [(calls, status, process)] = rows(path, "SELECT calls, status, process FROM fetches")
    assert (calls, status) == (1, "abandoned")
    assert str(process).startswith(f"{os.uname().nodename}:{os.getpid()}:")
    assert claims(path) == []


def test_returns_days_that_another_run_has_stored_meanwhile(opened: Opened, path: Path) -> None:
    other = DAY + dt.timedelta(days=1)
    with RateStore(path) as store:
        with opened(run_id="other") as ledger:
            store.record([answered(ask(ledger), DAY)], run_id="before")
        with Ledger(path, run_id="run") as ledger:
            assert ledger.stored_by_others([DAY, other]) == []
            store.record([answered(ask(ledger, other), other)], run_id="other")
            [day] = ledger.stored_by_others([DAY, other])
            assert (day.date, day.inserted, day.updated, day.unchanged) == (other, 0, 0, 1)
            assert ledger.stored_by_others([DAY]) == []


def test_numbers_fetches_in_the_order_of_storing(opened: Opened, path: Path) -> None:
    with opened() as ledger, RateStore(path) as store:
        first, second = ask(ledger), ask(ledger, DAY + dt.timedelta(days=1))
        store.record([answered(second, DAY + dt.timedelta(days=1))])
        store.record([answered(first)])
    stored = rows(path, "SELECT id, start_date FROM fetches ORDER BY fetched_at")
    assert stored == sorted(stored)
    assert [date for _, date in stored] == ["2024-05-18", "2024-05-17"]
    assert rows(path, "SELECT date, fetch_id FROM days ORDER BY date") == [
        (date, id_) for id_, date in stored[::-1]
    ]
