"""Fixer's protocol over a real socket: whole documents, with the bank's real values."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.fixer.sandbox.ecb import ECB_NAMES
from fx_pipeline.fixer.sandbox.protocol import written
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.waiting import PATIENCE

TODAY = dt.date(2024, 6, 14)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(today=lambda: TODAY) as running:
        yield running


def ask(sandbox: Sandbox, path: str, **parameters: str) -> Any:
    response = requests.get(
        f"{sandbox.url}{path}", params={"access_key": "k", **parameters}, timeout=PATIENCE
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    return response.json()


def text(document: Any) -> str:
    """`document` with its order of keys, and 1 distinct from 1.0: equality of JSON, not of dicts."""
    return json.dumps(document)


DOCUMENTS: list[tuple[str, dict[str, str], Any]] = [
    (
        "/2000-01-03",
        {"base": "EUR", "symbols": "USD,GBP"},
        {
            "success": True,
            "timestamp": 946943999,
            "historical": True,
            "base": "EUR",
            "date": "2000-01-03",
            "rates": {"USD": 1.009, "GBP": 0.6246},
        },
    ),
    (
        "/2000-01-03",
        {"symbols": "gbp,EUR,USD,GBP"},
        {
            "success": True,
            "timestamp": 946943999,
            "historical": True,
            "base": "EUR",
            "date": "2000-01-03",
            "rates": {"GBP": 0.6246, "EUR": 1, "USD": 1.009},
        },
    ),
    (
        "/2000-01-03",
        {"base": "USD", "symbols": "GBP,EUR,USD"},
        {
            "success": True,
            "timestamp": 946943999,
            "historical": True,
            "base": "USD",
            "date": "2000-01-03",
            "rates": {"GBP": 0.619029, "EUR": 0.99108, "USD": 1},
        },
    ),
    (
        "/2018-02-22",
        {"base": "IDR", "symbols": "USD,CHF"},
        {
            "success": True,
            "timestamp": 1519343999,
            "historical": True,
            "base": "IDR",
            "date": "2018-02-22",
            "rates": {"USD": 7.2934156e-05, "CHF": 6.8371315e-05},
        },
    ),
    (
        "/1999-01-01",
        {"symbols": "USD,TRL,EUR"},
        {
            "success": True,
            "timestamp": 915235199,
            "historical": True,
            "base": "EUR",
            "date": "1999-01-01",
            "rates": {"USD": 1.1789, "TRL": 372274, "EUR": 1},
        },
    ),
    (
        "/convert",
        {"from": "GBP", "to": "JPY", "amount": "25", "date": "2018-02-22"},
        {
            "success": True,
            "query": {"from": "GBP", "to": "JPY", "amount": 25},
            "info": {"timestamp": 1519343999, "rate": 148.817677},
            "historical": True,
            "date": "2018-02-22",
            "result": 3720.441925,
        },
    ),
    (
        "/timeseries",
        {"start_date": "2012-05-01", "end_date": "2012-05-03", "base": "EUR", "symbols": "USD,AUD"},
        {
            "success": True,
            "timeseries": True,
            "start_date": "2012-05-01",
            "end_date": "2012-05-03",
            "base": "EUR",
            "rates": {
                "2012-05-01": {"USD": 1.3214, "AUD": 1.2684},
                "2012-05-02": {"USD": 1.3131, "AUD": 1.2718},
                "2012-05-03": {"USD": 1.3123, "AUD": 1.2762},
            },
        },
    ),
    (
        "/fluctuation",
        {"start_date": "2018-02-25", "end_date": "2018-02-26", "base": "EUR", "symbols": "USD,EUR"},
        {
            "success": True,
            "fluctuation": True,
            "start_date": "2018-02-25",
            "end_date": "2018-02-26",
            "base": "EUR",
            "rates": {
                "USD": {"start_rate": 1.2299, "end_rate": 1.232, "change": 0.0021, "change_pct": 0.1707},
                "EUR": {"start_rate": 1, "end_rate": 1, "change": 0, "change_pct": 0},
            },
        },
    ),
    (
        "/fluctuation",
        {"start_date": "2018-02-26", "end_date": "2018-02-25", "symbols": "USD"},
        {
            "success": True,
            "fluctuation": True,
            "start_date": "2018-02-26",
            "end_date": "2018-02-25",
            "base": "EUR",
            "rates": {
                "USD": {"start_rate": 1.232, "end_rate": 1.2299, "change": -0.0021, "change_pct": -0.1705}
            },
        },
    ),
    ("/symbols", {}, {"success": True, "symbols": dict(sorted(ECB_NAMES.items()))}),
]


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("path", "parameters", "document"), DOCUMENTS)
def test_documents(
    sandbox: Sandbox, path: str, parameters: dict[str, str], document: Any, slash: str
) -> None:
    assert text(ask(sandbox, path + slash, **parameters)) == text(document)


def test_a_small_number_has_an_exponent_and_a_whole_one_no_point(sandbox: Sandbox) -> None:
    body = requests.get(
        f"{sandbox.url}/2018-02-22?access_key=k&base=IDR&symbols=IDR,USD", timeout=PATIENCE
    ).text
    assert '"rates":{"IDR":1,"USD":7.2934156e-05}' in body


def test_all_rates_of_a_day_in_order_of_code(sandbox: Sandbox) -> None:
    rates = ask(sandbox, "/2024-06-13")["rates"]
    assert list(rates) == sorted(rates)
    assert len(rates) == 31
    assert isinstance(rates["EUR"], int)


def test_today_is_provisional(sandbox: Sandbox) -> None:
    latest = ask(sandbox, "/latest", symbols="USD")
    instant = dt.datetime.fromtimestamp(latest["timestamp"], dt.timezone.utc)
    assert instant.date() == TODAY
    assert text(latest | {"timestamp": 0}) == text(
        {"success": True, "timestamp": 0, "base": "EUR", "date": "2024-06-14", "rates": {"USD": 1.0686}}
    )
    assert ask(sandbox, "/2024-06-14", symbols="USD")["rates"] == {"USD": 1.0686}


def test_convert_without_a_date_uses_today(sandbox: Sandbox) -> None:
    document = ask(sandbox, "/convert", **{"from": "eur", "to": "USD", "amount": "2.5"})
    assert text(document | {"info": document["info"] | {"timestamp": 0}}) == text(
        {
            "success": True,
            "query": {"from": "EUR", "to": "USD", "amount": 2.5},
            "info": {"timestamp": 0, "rate": 1.0686},
            "date": "2024-06-14",
            "result": 2.6715,
        }
    )


def test_a_series_of_365_days_has_every_day(sandbox: Sandbox) -> None:
    rates = ask(sandbox, "/timeseries", start_date="2022-12-01", end_date="2023-11-30")["rates"]
    days = [dt.date(2022, 12, 1) + dt.timedelta(offset) for offset in range(365)]
    assert list(rates) == [day.isoformat() for day in days]
    assert [day for day in rates if "HRK" in rates[day]] == list(rates)[:30], "the kuna ends within it"


def test_a_series_day_equals_the_day_alone(sandbox: Sandbox) -> None:
    series = ask(sandbox, "/timeseries", start_date="2008-12-01", end_date="2008-12-31", base="GBP")["rates"]
    for date, rates in series.items():
        assert text(ask(sandbox, f"/{date}", base="GBP")["rates"]) == text(rates)


def test_a_known_code_without_a_value_that_day_is_left_out(sandbox: Sandbox) -> None:
    assert ask(sandbox, "/2010-01-04", symbols="ISK,USD")["rates"] == {"USD": 1.4389}


SERIES = {"start_date": "2020-01-01", "end_date": "2020-01-02"}
CONVERT = {"from": "EUR", "to": "USD", "amount": "1"}
REFUSALS = [
    ("/nonsense", {}, 103, "invalid_api_function"),
    ("/historical", {"date": "2020-01-01"}, 103, "invalid_api_function"),
    ("/", {}, 404, "404_not_found"),
    ("/a/b", {}, 404, "404_not_found"),
    ("/2020-01-01/x", {}, 404, "404_not_found"),
    ("/2024-02-30", {}, 302, "invalid_date"),
    ("/2024-1-5", {}, 302, "invalid_date"),
    ("/1998-12-31", {}, 302, "invalid_date"),
    ("/2024-06-15", {}, 302, "invalid_date"),
    ("/9999-12-31", {}, 302, "invalid_date"),
    ("/2020-01-01", {"base": "XXX"}, 201, "invalid_base_currency"),
    ("/2020-01-01", {"symbols": "USD,XXX"}, 202, "invalid_currency_codes"),
    ("/2020-01-01", {"symbols": "USD;GBP"}, 202, "invalid_currency_codes"),
    ("/latest", {"symbols": "USD,XXX"}, 202, "invalid_currency_codes"),
    ("/2010-01-04", {"symbols": "ISK"}, 106, "no_rates_available"),
    ("/2010-01-04", {"base": "ISK"}, 106, "no_rates_available"),
    ("/convert", CONVERT | {"from": ""}, 402, "invalid_from_currency"),
    ("/convert", CONVERT | {"from": "XXX"}, 402, "invalid_from_currency"),
    ("/convert", CONVERT | {"to": "XXX"}, 402, "invalid_to_currency"),
    ("/convert", CONVERT | {"amount": ""}, 403, "invalid_conversion_amount"),
    ("/convert", CONVERT | {"amount": "ten"}, 403, "invalid_conversion_amount"),
    ("/convert", CONVERT | {"amount": "-1"}, 403, "invalid_conversion_amount"),
    ("/convert", CONVERT | {"amount": "nan"}, 403, "invalid_conversion_amount"),
    ("/convert", CONVERT | {"amount": "inf"}, 403, "invalid_conversion_amount"),
    ("/convert", CONVERT | {"date": "yesterday"}, 302, "invalid_date"),
    ("/convert", CONVERT | {"to": "ISK", "date": "2010-01-04"}, 106, "no_rates_available"),
    ("/timeseries", {}, 501, "no_timeframe_supplied"),
    ("/timeseries", {"start_date": "2020-01-01"}, 501, "no_timeframe_supplied"),
    ("/timeseries", SERIES | {"start_date": "x"}, 502, "invalid_start_date"),
    ("/timeseries", SERIES | {"start_date": "1998-12-31"}, 502, "invalid_start_date"),
    ("/timeseries", SERIES | {"end_date": "2020-13-01"}, 503, "invalid_end_date"),
    ("/timeseries", SERIES | {"end_date": "2024-06-15"}, 503, "invalid_end_date"),
    ("/timeseries", SERIES | {"start_date": "2020-01-03"}, 504, "invalid_time_frame"),
    ("/timeseries", SERIES | {"end_date": "2021-01-01"}, 505, "time_frame_too_long"),
    ("/timeseries", SERIES | {"symbols": "XXX"}, 202, "invalid_currency_codes"),
    ("/timeseries", SERIES | {"symbols": "LTL"}, 106, "no_rates_available"),
    ("/fluctuation", {}, 501, "no_timeframe_supplied"),
    ("/fluctuation", SERIES | {"end_date": "x"}, 503, "invalid_end_date"),
]
WITHOUT_INFO = {201}
STRICT_STATUS = {103: 404, 404: 404, 106: 404}


@pytest.fixture(scope="module")
def styles(sandbox: Sandbox) -> Iterator[tuple[Sandbox, Sandbox]]:
    with running_sandbox(today=lambda: TODAY, errors="strict") as strict:
        yield sandbox, strict


@pytest.mark.parametrize(("path", "parameters", "code", "type_"), REFUSALS)
def test_refusals_in_both_styles(
    styles: tuple[Sandbox, Sandbox], path: str, parameters: dict[str, str], code: int, type_: str
) -> None:
    sandbox, strict_sandbox = styles
    document = ask(sandbox, path, **parameters)
    info = document["error"].pop("info", None)
    assert document == {"success": False, "error": {"code": code, "type": type_}}
    assert (info is None) == (code in WITHOUT_INFO)

    strict = requests.get(
        f"{strict_sandbox.url}{path}", params={"access_key": "k", **parameters}, timeout=PATIENCE
    )
    assert strict.status_code == STRICT_STATUS.get(code, 400)
    assert strict.json() == ask(sandbox, path, **parameters)


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/1998-12-31", {}),
        ("/2024-06-15", {}),
        ("/convert", CONVERT | {"date": "2024-06-15"}),
        ("/timeseries", SERIES | {"end_date": "2024-06-15"}),
    ],
)
def test_a_date_out_of_range_may_also_be_106(path: str, parameters: dict[str, str]) -> None:
    with running_sandbox(today=lambda: TODAY, out_of_range_code=106) as sandbox:
        assert ask(sandbox, path, **parameters)["error"]["code"] == 106
        assert ask(sandbox, "/2024-02-30")["error"]["code"] == 302, "no such day is not out of range"


@given(st.floats(1e-12, 1e14))
def test_numbers_are_written_as_fixer_writes_them(rate: float) -> None:
    number = written(rate)
    allowed = rate * 5.1e-8 if rate < 1e-4 else max(5.1e-7, rate * 5.1e-15)
    assert abs(number - rate) <= allowed
    digits = repr(number).split("e")[0].replace(".", "").strip("0")
    assert len(digits) <= 15
    assert isinstance(number, int) == float(number).is_integer()
