"""One client: counting, the fallback to EUR, and concurrent use."""

import datetime as dt
import gzip
import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import pytest

from fx_pipeline.fixer import errors
from fx_pipeline_tests.fixer.calls import DATE, DAY, GOOD, client_of, refused, timeout_for
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    hang_up,
    reply,
    scripted,
    silence,
)


class Spent(OSError):
    """What a ledger raises; an OSError, which HTTP libraries are quick to catch."""


@pytest.mark.parametrize("play", [reply("", 500), hang_up, silence], ids=["500", "closed", "silent"])
@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_counts_each_request_before_it_is_sent_and_passes_on_a_refusal(allowed: int, play: Play) -> None:
    asked = 0
    refusal = Spent("no call is left")

    def spend() -> None:
        nonlocal asked
        if asked == allowed:
            raise refusal
        asked += 1

    timeout = timeout_for("silent" if play is silence else "")
    with scripted(play) as server, client_of(server.url, timeout=timeout) as client:
        with pytest.raises(Spent) as caught:
            client.historical(DATE, spend=spend)
        assert (len(server.requests), asked) == (allowed, allowed)
    assert caught.value is refusal
    assert (refusal.__cause__, refusal.__context__) == (None, None)


def test_each_endpoint_counts_its_requests() -> None:
    counted: list[str] = []
    with scripted(GOOD) as server, client_of(server.url) as client:
        client.historical(DATE, spend=lambda: counted.append("historical"))
        with pytest.raises(errors.FixerError):
            client.symbols(spend=lambda: counted.append("symbols"))
        with pytest.raises(errors.FixerError):
            client.timeseries(DATE, DATE, spend=lambda: counted.append("timeseries"))
    assert counted == ["historical", "symbols", "timeseries"]


EUR_ONLY = refused(105, "base_currency_access_restricted")


def test_requests_eur_after_the_plan_refuses_the_base(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(EUR_ONLY, GOOD) as server:
        with client_of(server.url, base="USD", symbols=["GBP"]) as client:
            first, second = client.historical(DATE), client.historical(DATE)
        asked = [dict(parse_qsl(urlsplit(path).query)) for path in server.paths]
    assert [(query["base"], query["symbols"]) for query in asked] == [
        ("USD", "GBP,USD"),
        ("EUR", "GBP,USD"),
        ("EUR", "GBP,USD"),
    ]
    assert (first.calls, second.calls) == (2, 1)
    assert (first.base, first.symbols, first.body) == ("USD", ("GBP", "USD"), GOOD.partition(b"\r\n\r\n")[2])
    assert first.days == second.days
    assert (first.days[0].base, first.days[0].rates["GBP"]) == ("USD", 0.6146468469)
    assert [record.message for record in caplog.records] == [
        "The plan refuses rates in USD: converting from rates in EUR instead."
    ]


def test_a_series_falls_back_to_eur_too() -> None:
    series = {
        "success": True,
        "start_date": "2000-01-03",
        "end_date": "2000-01-03",
        "base": "EUR",
        "rates": {"2000-01-03": DAY["rates"]},
    }
    with scripted(EUR_ONLY, reply(series)) as server, client_of(server.url, base="USD") as client:
        answer = client.timeseries(DATE, DATE)
    assert (answer.calls, answer.days[0].rates["GBP"]) == (2, 0.6146468469)


def test_counts_the_calls_of_a_failed_fallback() -> None:
    with scripted(EUR_ONLY, reply("", 500)) as server:
        with (
            client_of(server.url, base="USD", retries=2) as client,
            pytest.raises(errors.ServerTrouble) as caught,
        ):
            client.historical(DATE)
        assert len(server.requests) == caught.value.calls == 4


def test_reports_a_plan_without_timeseries() -> None:
    with (
        scripted(refused(105, "function_access_restricted")) as server,
        client_of(server.url) as client,
        pytest.raises(errors.EndpointRestricted) as caught,
    ):
        client.timeseries(DATE, DATE)
    assert (caught.value.scope, caught.value.retryable) == ("endpoint", False)


def test_serves_many_threads() -> None:
    dates = [dt.date(2000, 1, 1) + dt.timedelta(days) for days in range(200)]
    counted: list[int] = []

    asked: Counter[str] = Counter()

    def answer(path: str) -> Play:
        """Each date's own answer, after a failure for every third."""
        day = dt.date.fromisoformat(urlsplit(path).path[-10:])
        asked[path] += 1
        if day.toordinal() % 3 == 0 and asked[path] == 1:
            return hang_up
        end = int(dt.datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=dt.timezone.utc).timestamp())
        rates = {"EUR": 1, "USD": day.toordinal()}
        return reply({**DAY, "date": day.isoformat(), "timestamp": end, "rates": rates})

    with (
        scripted(by_path=answer) as server,
        client_of(server.url) as client,
        ThreadPoolExecutor(16) as pool,
    ):
        fetch = partial(client.historical, spend=lambda: counted.append(1))
        answers = list(pool.map(fetch, dates))
    assert [(a.days[0].date, a.days[0].rates["USD"]) for a in answers] == [(d, d.toordinal()) for d in dates]
    assert len(counted) == sum(asked.values()) == sum(a.calls for a in answers)


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        reply(gzip.compress(GOOD.partition(b"\r\n\r\n")[2], mtime=0), Content_Encoding="gzip"),
        reply("", 500),
    ],
    ids=["plain", "gzip", "an error"],
)
def test_reuses_a_connection(answer: bytes) -> None:
    with scripted(answer, GOOD) as server, client_of(server.url) as client:
        for _ in range(5):
            client.historical(DATE)
        assert server.connections == 1


def test_a_closed_client_can_be_used_again(caplog: pytest.LogCaptureFixture) -> None:
    with scripted(GOOD) as server:
        with client_of(server.url) as client:
            client.historical(DATE)
        assert client.historical(DATE).status == "ok"
        client.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
