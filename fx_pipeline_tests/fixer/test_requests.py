"""Requests to Fixer: paths, parameters, the key, and what is refused without a request."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer import errors
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline_tests.fixer.calls import DATE, DAY, GOOD, KEY, client_of, refused
from fx_pipeline_tests.fixer.scripted_server import (
    reply,
    scripted,
)


@pytest.mark.parametrize(
    ("options", "ask", "path", "query"),
    [
        ({}, lambda client: client.historical(DATE), "/api/2000-01-03", {"base": "EUR"}),
        (
            {"base": "USD", "symbols": ["GBP", "JPY"]},
            lambda client: client.historical(DATE),
            "/api/2000-01-03",
            {"base": "USD", "symbols": "GBP,JPY,USD"},
        ),
        (
            {"symbols": ["GBP"]},
            lambda client: client.timeseries(dt.date(2012, 5, 1), dt.date(2013, 4, 30)),
            "/api/timeseries",
            {"start_date": "2012-05-01", "end_date": "2013-04-30", "base": "EUR", "symbols": "GBP,EUR"},
        ),
        ({"base": "USD", "symbols": ["GBP"]}, lambda client: client.symbols(), "/api/symbols", {}),
    ],
)
@pytest.mark.parametrize("auth", ["query", "header"])
def test_sends_the_path_the_parameters_and_the_key(
    auth: str, options: dict[str, Any], ask: Callable[[FixerClient], Fetch], path: str, query: dict[str, str]
) -> None:
    with scripted(refused(106, "no_rates_available")) as server:
        with client_of(server.url + "/", auth=auth, **options) as client, pytest.raises(errors.NoRates):
            ask(client)
        (head,) = server.requests
        parts = urlsplit(server.paths[0])
    assert head.startswith("GET ")
    assert parts.path == path
    if auth == "query":
        assert dict(parse_qsl(parts.query)) == {**query, "access_key": KEY}
        assert "apikey" not in head
    else:
        assert dict(parse_qsl(parts.query)) == query
        assert f"\r\napikey: {KEY}\r\n" in head
    assert "\r\nUser-Agent: fx-pipeline/" in head


@pytest.mark.parametrize(
    ("url", "carrier"),
    [
        ("https://api.apilayer.com/fixer", "header"),
        ("https://API.apilayer.com/fixer/", "header"),
        ("https://data.fixer.io/api", "query"),
        ("https://api.apilayer.com.example.org/fixer", "query"),
    ],
)
def test_the_host_decides_how_the_key_is_sent(url: str, carrier: str) -> None:
    with FixerClient(url, KEY) as client:
        assert repr(client) == f"FixerClient({url.rstrip('/')!r}, AccessKey('***', {carrier!r}), base='EUR')"


def test_stores_no_cookies_and_reads_no_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with scripted(reply(DAY, Set_Cookie="a=b; Path=/")) as server:
        with client_of(server.url) as client:
            client.historical(DATE)
            client.historical(DATE)
        assert not any("Cookie" in head or "Authorization" in head for head in server.requests)


@pytest.mark.parametrize(
    "url",
    [
        "data.fixer.io/api",
        "ftp://data.fixer.io",
        "https://",
        "https://data.fixer.io:port/api",
        "https://[::1/api",
        "https://me:pa55word@data.fixer.io/api",
        "https://data.fixer.io/api?access_key=pa55word",
        "https://data.fixer.io/api#pa55word",
    ],
)
def test_rejects_an_unusable_url_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="FIXER_BASE_URL must") as caught:
        FixerClient(url, KEY)
    assert "pa55word" not in str(caught.value)


@pytest.mark.parametrize("key", ["", " ", "abc def", "abc\n", "\tabc", "abc\r\nX-Evil: 1", "clé", "a\x00b"])
def test_rejects_an_invalid_key_immediately(key: str) -> None:
    with pytest.raises(errors.InvalidKey, match="empty, or contains white space") as caught:
        FixerClient("https://data.fixer.io/api", key)
    assert caught.value.scope == "run"


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://data.fixer.io/api", True),
        ("http://192.168.1.5:8002", True),
        ("https://data.fixer.io/api", False),
        ("http://127.0.0.1:8002", False),
        ("http://[::1]:8002", False),
        ("http://localhost:8002", False),
    ],
)
def test_warns_about_plain_http(url: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    FixerClient(url, KEY).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lambda client: client.historical(dt.date(1998, 12, 31)), errors.InvalidDate),
        (lambda client: client.historical(dt.datetime.now(dt.timezone.utc).date()), errors.Unfinished),
        (lambda client: client.historical(dt.date(9999, 12, 31)), errors.Unfinished),
        (lambda client: client.timeseries(DATE, dt.date(9999, 12, 31)), errors.InvalidTimeframe),
        (lambda client: client.timeseries(DATE, dt.date(2001, 1, 2)), errors.InvalidTimeframe),  # 366 days
        (lambda client: client.timeseries(DATE, dt.date(2000, 1, 2)), errors.InvalidTimeframe),
        (lambda client: client.timeseries(dt.date(1998, 12, 31), DATE), errors.InvalidTimeframe),
        (
            lambda client: client.timeseries(
                dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(3),
                dt.datetime.now(dt.timezone.utc).date(),
            ),
            errors.Unfinished,
        ),
    ],
)
def test_sends_no_request_that_fixer_would_refuse(
    ask: Callable[[FixerClient], Fetch], kind: type[errors.FixerError]
) -> None:
    with scripted(GOOD) as server:
        with client_of(server.url) as client, pytest.raises(kind) as caught:
            ask(client)
        assert (server.requests, caught.value.fetch, caught.value.calls) == ([], None, 0)
