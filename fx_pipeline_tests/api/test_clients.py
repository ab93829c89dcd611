"""Published clients of Fixer, exchangeratesapi and Frankfurter. Only the base URL is changed.

Each gets, as far as it can, the rates of a date, the latest, a series, a conversion, and an error.
"""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fixer_currency.client
import fixer_currency.exceptions
import frankfurter.engine
import frankfurter.exceptions
import py_exchangeratesapi
import pytest
import trustme

from fx_pipeline_tests.api.conftest import NAMES
from fx_pipeline_tests.api.javascript import CLIENTS, node
from fx_pipeline_tests.api.server import Server, serving

SIXTH = {"USD": 1.1618, "GBP": 0.8672}
NINTH_IN_USD = {"EUR": 0.8583690987, "GBP": 0.7441201717}
DAY = {
    "success": True,
    "timestamp": 1772841599,
    "historical": True,
    "base": "EUR",
    "date": "2026-03-06",
    "rates": SIXTH,
}
LATEST = {
    "success": True,
    "timestamp": 1773100799,
    "historical": False,
    "base": "USD",
    "date": "2026-03-09",
    "rates": NINTH_IN_USD,
}
SERIES = {
    "success": True,
    "timeseries": True,
    "start_date": "2026-03-07",
    "end_date": "2026-03-09",
    "base": "EUR",
    "rates": {"2026-03-08": {"USD": 1.162}, "2026-03-09": {"USD": 1.165}},
}
CONVERSION = {
    "success": True,
    "query": {"from": "GBP", "to": "JPY", "amount": 25},
    "info": {"timestamp": 1772841599, "rate": 211.0239852},
    "historical": True,
    "date": "2026-03-06",
    "result": 5275.59963,
}
FRANKFURTER = [
    (100, "GBP", "USD", 134.3868958),
    (10, "EUR", "USD", 11.65),
    (0.5, "GBP", "JPY", 106.19736995),
    (1000, "USD", "GBP", 744.1201717),
]
"""An amount, two currencies, and the converted amount on the newest day."""
STORED = {code: name for code, name in NAMES.items() if code != "ZWL"}
NEVER_STORED = "Unknown currency: QQQ. See /rates/symbols for the available codes."


@pytest.fixture(scope="module")
def server(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(written, folder / "fx.db")
    with serving(folder / "fx.db", folder / "log") as server:
        yield server


def test_fixer_currency(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """fixer-currency, for Fixer at APILayer: its key is a header. It has neither series nor conversions."""
    monkeypatch.setattr(fixer_currency.client, "BASE_URL", f"{server.url}/rates/")
    client = fixer_currency.FixerClient("any")
    assert client.historical_rates("2026-03-06", symbols=["USD", "GBP"]) == DAY
    in_dollars = fixer_currency.FixerClient("any", base="USD", symbols=["EUR", "GBP"])
    assert in_dollars.latest() == LATEST
    assert client.available_currencies() == {"success": True, "symbols": STORED}
    with pytest.raises(fixer_currency.exceptions.FixerException, match=r"^400 Client Error: Bad Request"):
        client.latest(symbols="QQQ")


def test_py_exchangeratesapi(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """py-exchangeratesapi, for exchangeratesapi.io: its key is a parameter."""
    api = py_exchangeratesapi.Api
    monkeypatch.setattr(api, "API_URL", f"{server.url}/rates/{{endpoint}}{{params}}")
    client = api("any")
    assert client.get_rates(target_list=["USD", "GBP"], start_date="2026-03-06") == DAY
    assert client.get_rates("USD", ["EUR", "GBP"]) == LATEST
    assert client.get_rates(None, ["USD"], "2026-03-07", "2026-03-09") == SERIES
    assert client.convert(25, "GBP", "JPY", "2026-03-06") == CONVERSION["result"]
    assert client.fluctuation("EUR", "USD", "2026-03-06", "2026-03-09") == {
        "start_rate": 1.1618,
        "end_rate": 1.165,
        "change": 0.0032,
        "change_pct": 0.2754346703,
    }
    assert client.is_currency_supported("GBP")
    assert not client.is_currency_supported("ZWL")
    error = py_exchangeratesapi.api.ExchangeRatesApiException
    with pytest.raises(error, match=rf"^Web Message: 201 - {NEVER_STORED}"):
        client.get_rates("QQQ")


def test_frankfurter(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """frankfurter, for Frankfurter v1: it has no key, and uses only https."""
    shutil.copy(written, tmp_path / "fx.db")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "cert.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    # An earlier request in this process may have cached other certificate authorities.
    monkeypatch.setattr(urllib.request, "_opener", None)
    with serving(tmp_path / "fx.db", tmp_path / "log", certificate=tmp_path / "cert.pem") as server:
        address = server.url.removeprefix("https://")
        monkeypatch.setattr(frankfurter.engine, "BASE_URL", f"{address}/rates")
        client = frankfurter.engine.FrankfurterEngine()
        assert client.fetch_currencies() == STORED
        assert client.fetch_data_for_date("2026-03-06", symbols="USD,GBP") == DAY
        assert client.fetch_latest_data("USD", "EUR,GBP") == LATEST
        assert client.fetch_time_series_data("EUR", "USD", "2026-03-07", "2026-03-09") == SERIES
        to_newest = client.fetch_time_series_data("EUR", "USD", "2026-03-07")
        assert to_newest == {**SERIES, "start_date": "2026-03-07"}
        assert client.convert_currency(25, "USD", "GBP") == 25 * NINTH_IN_USD["GBP"]
        # The client multiplies by itself. The API gets the same result with Frankfurter's parameters.
        for amount, source, target, result in FRANKFURTER:
            assert round(client.convert_currency(amount, source, target), 6) == round(result, 6)
            asked = f"amount={amount}&from={source}&to={target}"
            for call in (f"latest?{asked}", f"2026-03-09?{asked}"):
                document = json.loads(server.get(f"/rates/{call}")[1])
                assert (document["amount"], document["base"]) == (amount, source)
                assert document["rates"] == {target: result}
            days = json.loads(server.get(f"/rates/2026-03-09..?{asked}")[1])["rates"]
            assert days == {"2026-03-09": {target: result}}
            rows = server.get(f"/rates/2026-03-09.csv?{asked}")[1].decode().splitlines()
            assert rows[1] == f"2026-03-09,{source},{amount},{target},{result}"
        with pytest.raises(
            frankfurter.exceptions.UnknownCurrencyException, match=r"^Unknown Currency : QQQ$"
        ):
            client.fetch_latest_data("QQQ")
        with pytest.raises(Exception, match=r"(?s)StatusCode : 404.*Reason : Not Found$"):
            client.fetch_data_for_date("2026-03-07")


def asked(client: str, server: Server) -> dict[str, Any]:
    """Return the results and errors of a client from npm, by call."""
    done = subprocess.run(
        [node(), CLIENTS / "ask.js", client, f"{server.url}/rates"],
        capture_output=True,
        text=True,
        check=True,
    )
    given: dict[str, Any] = json.loads(done.stdout)
    return given


def test_fixer_api(server: Server) -> None:
    """fixer-api from npm, for Fixer."""
    assert asked("fixer-api", server) == {
        "date": DAY,
        "latest": LATEST,
        "series": SERIES,
        "conversion": CONVERSION,
        "error": f"Error: invalid_base_currency: {NEVER_STORED}",
        "symbols": {"success": True, "symbols": STORED},
    }


def test_exchange_rates_api(server: Server) -> None:
    """exchange-rates-api from npm, for exchangeratesapi.io without keys. The script says what it lacks."""
    assert asked("exchange-rates-api", server) == {
        "date": SIXTH,
        "latest": NINTH_IN_USD,
        "conversion": CONVERSION["result"],
        "error": "ExchangeRatesError: Couldn't fetch the exchange rate, API returned a bad response "
        "(HTTP 404)",
    }
