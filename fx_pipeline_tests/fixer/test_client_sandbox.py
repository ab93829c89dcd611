"""The client against the sandbox: it understands what the sandbox has, whatever goes wrong between."""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fx_pipeline.fixer import errors
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.parsing import parse_historical, parse_symbols, parse_timeseries
from fx_pipeline.rates import DayRates, date_range, rebase
from fx_pipeline_tests.sandbox_server import running_sandbox

START, END = dt.date(2012, 4, 27), dt.date(2012, 5, 6)


def client_of(url: str, **options: Any) -> FixerClient:
    return FixerClient(url, "a-good-key", **{"backoff": 0.0, **options})


def test_a_series_has_the_days_that_one_gets_one_by_one() -> None:
    with running_sandbox() as sandbox, client_of(sandbox.url) as client:
        series = client.timeseries(START, END)
        days = [client.historical(date) for date in date_range(START, END)]
        names = client.symbols()
    assert series.days == tuple(answer.days[0] for answer in days)
    assert [day.date for day in series.days] == list(date_range(START, END))
    assert set(series.days[0].rates) <= set(names.names)
    # bodies that were kept say the same years later
    assert parse_timeseries(series.body, START, END, series.base, asked_at=series.asked_at) == series.days
    assert parse_historical(days[0].body, START, "EUR", asked_at=days[0].asked_at) == days[0].days
    assert parse_symbols(names.body) == names.names


def test_symbols_narrow_an_answer_to_them_and_the_base() -> None:
    with running_sandbox() as sandbox, client_of(sandbox.url, symbols=["GBP", "USD"]) as client:
        (day,) = client.historical(START).days
    assert list(day.rates) == ["GBP", "USD", "EUR"]


@pytest.mark.parametrize("errors_style", ["legacy", "strict"])
def test_a_plan_that_gives_eur_alone(errors_style: str) -> None:
    with (
        running_sandbox(plan="free", errors=errors_style) as sandbox,
        client_of(sandbox.url, base="USD") as client,
        client_of(sandbox.url) as in_eur,
    ):
        (day,) = client.historical(START).days
        euro = in_eur.historical(START).days[0].rates
        assert day.rates == rebase(euro, stored_base="EUR", base="USD")
        with pytest.raises(errors.EndpointRestricted) as caught:
            client.timeseries(START, END)
    assert caught.value.scope == "endpoint"


@pytest.mark.parametrize("errors_style", ["legacy", "strict"])
@pytest.mark.parametrize(
    ("options", "asking", "kind"),
    [
        ({"key": "another"}, {}, errors.InvalidKey),
        ({"inactive": True}, {}, errors.InactiveAccount),
        ({"quota": 0}, {}, errors.QuotaExhausted),
        ({}, {"base": "QQQ"}, errors.InvalidBase),
        ({}, {"symbols": ["USD", "QQQ"]}, errors.InvalidSymbols),
    ],
)
@pytest.mark.parametrize("auth", ["query", "header"])
def test_what_the_sandbox_refuses_for_good(
    auth: str,
    options: dict[str, Any],
    asking: dict[str, Any],
    kind: type[errors.FixerError],
    errors_style: str,
) -> None:
    with (
        running_sandbox(errors=errors_style, **options) as sandbox,
        client_of(sandbox.url, auth=auth, **asking) as client,
    ):
        with pytest.raises(kind) as caught:
            client.historical(START)
        assert sandbox.stats()["total"] == caught.value.calls == 1
    scope = "symbols" if kind is errors.InvalidSymbols else "run"
    assert (caught.value.scope, caught.value.retryable) == (scope, False)


@pytest.mark.parametrize("auth", ["query", "header"])
def test_the_quota_that_the_gateway_names(auth: str) -> None:
    with running_sandbox(quota=7) as sandbox, client_of(sandbox.url, auth=auth) as client:
        answer = client.historical(START)
    named = (7, 6) if auth == "header" else (None, None)
    assert (answer.quota_limit, answer.quota_remaining) == named


DATES = list(date_range(dt.date(2012, 1, 1), dt.date(2012, 2, 9)))


def fetch(
    client: FixerClient, spend: Callable[[], None] = lambda: None
) -> tuple[dict[dt.date, DayRates], list[errors.FixerError]]:
    """Fetch every date until it arrives or fails for good. Return the failures on the way, too."""
    failures: list[errors.FixerError] = []

    def ask(date: dt.date) -> DayRates:
        for _ in range(20):
            try:
                return client.historical(date, spend=spend).days[0]
            except errors.FixerError as error:
                failures.append(error)
                if not error.retryable:
                    raise
        raise failures[-1]

    with ThreadPoolExecutor(8) as pool:
        return dict(zip(DATES, pool.map(ask, DATES), strict=True)), failures


@pytest.fixture(scope="module")
def undisturbed() -> dict[dt.date, DayRates]:
    """Return the days that arrive without faults."""
    with running_sandbox() as sandbox, client_of(sandbox.url) as client:
        arrived, failures = fetch(client)
    assert failures == []
    return arrived


@pytest.mark.parametrize(
    "fault",
    [
        "rate-limit",
        "server-error",
        "reset",
        "cut",
        "html",
        "plain",
        "fixer-error",
        "empty",
        "wrong-date",
        "wrong-base",
        "mislabelled-base",
        "transient",
    ],
)
def test_no_fault_changes_what_arrives_in_the_end(fault: str, undisturbed: dict[dt.date, DayRates]) -> None:
    counted: list[int] = []
    options = {"faults": {fault: 0.4}, "retry_after": 0, "timeout_seconds": 0.5}
    with (
        running_sandbox(**options) as sandbox,
        client_of(sandbox.url, timeout=(2.0, 0.2)) as client,
    ):
        arrived, failures = fetch(client, lambda: counted.append(1))
        assert arrived == undisturbed
        assert len(counted) == sandbox.stats()["total"] >= len(DATES) + (fault != "plain")
    assert {error.scope for error in failures} <= {"date"}
    if fault in {"wrong-date", "wrong-base", "mislabelled-base"}:
        assert all(isinstance(error, errors.BadResponse) for error in failures)
        assert all(error.fetch is not None and error.fetch.body for error in failures)


def test_a_bad_value_costs_its_currency_and_not_the_day() -> None:
    with running_sandbox(faults={"bad-value": 1.0}) as sandbox, client_of(sandbox.url) as client:
        arrived, _ = fetch(client)
    assert {len(day.rejected) for day in arrived.values()} == {1}
    assert all(day.rejected[0].currency not in day.rates for day in arrived.values())
