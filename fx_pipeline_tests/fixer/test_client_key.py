"""The access key goes to Fixer and nowhere else: every way to fail is walked, and what remains searched."""

import datetime as dt
import gzip
import json
import logging
import os
import pickle
import socket
import traceback
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from html import escape
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

import pytest
import urllib3

import fx_pipeline
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    hang_up,
    reply,
    reset,
    scripted,
    silence,
    then_hang_up,
    then_silence,
)

DATE = dt.date(2000, 1, 3)
PACKAGE = str(Path(fx_pipeline.__file__).parent)
KEYS = {
    "as Fixer makes them": "4f9d0c7be21a58d36e0b9c2f71a84d55",
    "full of signs": "p/4+s%=w&0\"r'd<\\>#?k;y~",
}


def forms(key: str) -> set[str]:
    """Return the forms that a leaked key can have."""
    encoded = {key, quote(key, safe=""), quote(key), quote_plus(key), escape(key), json.dumps(key)[1:-1]}
    return encoded | {form.lower() for form in encoded} | {repr(form)[1:-1] for form in encoded}


def error_with_key(code: int, type: str, key: str) -> bytes:
    """Return an error of Fixer whose text repeats the key."""
    return reply({"success": False, "error": {"code": code, "type": type, "info": f"Key {key} was refused."}})


CODES = [
    (101, "invalid_access_key"),
    (102, "inactive_user"),
    (103, "invalid_api_function"),
    (104, "usage_limit_reached"),
    (105, "function_access_restricted"),
    (105, "base_currency_access_restricted"),
    (105, "https_access_restricted"),
    (106, "no_rates_available"),
    (201, "invalid_base_currency"),
    (202, "invalid_currency_codes"),
    (302, "invalid_date"),
    (404, "404_not_found"),
    (500, "internal_error"),
]


def answers(key: str) -> dict[str, Play]:
    """Every kind of answer that is none, most of them repeating the key as a server or proxy may."""
    url = f"https://data.fixer.io/api/2000-01-03?access_key={quote(key, safe='')}&base=EUR"
    page = f"<html><a href='{escape(url)}'>{escape(key)}</a></html>"
    good = {"success": True, "timestamp": 946943999, "base": "EUR", "date": "2000-01-03", "rates": {"EUR": 1}}
    whole = reply({**good, "you": key})
    return {
        "closed": hang_up,
        "reset": reset,
        "silence": silence,
        "cut head": then_hang_up(whole[:30]),
        "cut body": then_hang_up(whole[:-3]),
        "silence in the body": then_silence(whole[:-3]),
        "cut chunk": then_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n{"),
        "no HTTP": then_hang_up(f"{key}\r\n".encode()),
        "bad header": then_hang_up(f"HTTP/1.1 200 OK\r\n{key}\r\n\r\n".encode()),
        "bad status line": then_hang_up(f"HTTP/1.1 {key} OK\r\n\r\n".encode()),
        "bad length": reply("", Content_Length=key),
        "bad gzip": reply(key, Content_Encoding="gzip"),
        "bad charset": reply(key, Content_Type=f"text/plain; charset={quote(key)}"),
        "bad Retry-After": reply(key, 429, Retry_After=key),
        "bad quota": reply(key, 429, x_ratelimit_remaining_month=key),
        "redirect": reply(page, 301, Location=url),
        "redirect to itself": reply(page, 302, Location=f"/api/2000-01-03?access_key={quote(key)}"),
        "redirect to nowhere": reply(page, 307, Location=f"http://[{key}"),
        "HTML": reply(page),
        "text": reply(key),
        "wrong date": reply({**good, "date": key}),
        "wrong base": reply({**good, "base": key}),
        "no rates": reply({**good, "rates": {key: key}}),
        "provisional": reply({**good, "timestamp": 946900000, "you": key}),
        **{f"HTTP {status}": reply(page, status) for status in (204, 400, 401, 403, 404, 407, 429, 500, 503)},
        **{f"gateway {status}": reply({"message": key}, status) for status in (400, 401, 403, 404, 429)},
        **{f"{code} {type}": error_with_key(code, type, key) for code, type in CODES},
    }


NOWHERE = {
    "refused": "http://127.0.0.1:1/api",
    "unknown host": "http://fixer.invalid/api",
    "unusable host": f"http://{'a' * 80}.invalid/api",
    "proxy": "http://fixer.invalid/api",
}


def ways_to_fail() -> list[str]:
    return [*answers(""), *NOWHERE, "not accepted", "no TLS"]


def url_of(way: str, key: str, stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> str:
    """Yield a base URL at which requests fail in this way."""
    if way == "not accepted":
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        stack.enter_context(socket.socket()).connect(full.getsockname())
        return f"http://127.0.0.1:{full.getsockname()[1]}/api"
    if way == "no TLS":
        server = stack.enter_context(scripted(then_hang_up(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        return server.url.replace("http:", "https:")
    if way == "proxy":
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    return NOWHERE.get(way) or stack.enter_context(scripted(answers(key)[way])).url


def remains(error: BaseException) -> Iterator[str]:
    """All that an error can tell a log, a page, another process, or who is shown its local variables."""
    yield str(error)
    yield repr(error)
    yield "".join(traceback.format_exception(type(error), error, error.__traceback__))
    yield pickle.dumps(error).decode("latin-1")
    seen: list[BaseException | None] = [None]
    waiting: list[BaseException | None] = [error]
    while waiting:
        part = waiting.pop()
        if part is None or part in seen:
            continue
        seen.append(part)
        waiting += [part.__cause__, part.__context__]
        yield repr(part) + repr(part.args) + repr(vars(part))
        frames = traceback.TracebackException(type(part), part, part.__traceback__, capture_locals=True)
        for frame in frames.stack:
            if not frame.filename.startswith(os.path.dirname(__file__)):  # noqa: PTH120 - this test has the key
                yield repr(frame.locals)


def logged(caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    for record in caplog.records:
        yield record.getMessage()
        yield repr(vars(record))


@pytest.mark.parametrize("auth", ["query", "header"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("way", ways_to_fail())
def test_no_failure_tells_the_key(
    way: str, key: str, auth: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    with ExitStack() as stack:
        url = url_of(way, key, stack, monkeypatch)
        client = FixerClient(url, key, auth=auth, retries=1, backoff=0, timeout=(0.1, 0.1))  # type: ignore[arg-type]  # a str of the Literal
        stack.enter_context(client)
        with pytest.raises(FixerError) as caught:
            client.historical(DATE)
    texts = [*remains(caught.value), *logged(caplog), repr(client), repr(vars(client))]
    assert [form for form in forms(key) for text in texts if form in text] == []


@pytest.mark.parametrize("auth", ["query", "header"])
def test_success_tells_no_key_either(auth: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = KEYS["full of signs"]
    body = {"success": True, "timestamp": 946943999, "base": "EUR", "date": "2000-01-03", "rates": {"EUR": 1}}
    with (
        scripted(reply({**body, "echo": key, "url": f"/?access_key={quote_plus(key)}"})) as server,
        FixerClient(server.url, key, auth=auth) as client,  # type: ignore[arg-type]  # a str of the Literal
    ):
        answer = client.historical(DATE)
        heads = server.requests[0]
    sent = (
        heads.split("apikey: ")[1].split("\r\n")[0] if auth == "header" else parameters(heads)["access_key"]
    )
    assert sent == key
    assert [form for form in forms(key) for text in [repr(answer), *logged(caplog)] if form in text] == []
    assert json.loads(answer.body) == {**body, "echo": "***", "url": "/?access_key=***"}
    assert any("access_key=***" in record.getMessage() for record in caplog.records) == (auth == "query")


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "utf-32-be"])
def test_a_day_that_repeats_the_key_in_disguise_is_read_and_kept_without_it(codec: str) -> None:
    key = KEYS["as Fixer makes them"]
    body = {"success": True, "timestamp": 946943999, "base": "EUR", "date": "2000-01-03", "rates": {"EUR": 1}}
    echoes = [f"user_{key}_x", b64encode(f"k={key}".encode()).decode(), "".join(f"&#{ord(c)};" for c in key)]
    with (
        scripted(reply(json.dumps({**body, "echoes": echoes}).encode(codec))) as server,
        FixerClient(server.url, key) as client,
    ):
        answer = client.historical(DATE)
    assert json.loads(answer.body) == {**body, "echoes": ["user_***_x", "***", "***"]}
    assert answer.days[0].rates == {"EUR": 1.0}


def test_an_error_that_is_no_text_is_not_kept_as_it_came() -> None:
    packed = gzip.compress(KEYS["as Fixer makes them"].encode())
    with (
        scripted(reply(packed, 403)) as server,
        FixerClient(server.url, KEYS["as Fixer makes them"]) as client,
        pytest.raises(FixerError) as caught,
    ):
        client.historical(DATE)
    assert caught.value.fetch is not None
    assert caught.value.fetch.body.decode() not in ("", packed.decode("latin-1"))


def test_another_user_of_urllib3_is_covered_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted(reply("", 500), hang_up, reply("")) as server, urllib3.PoolManager() as pool:
        pool.request("GET", f"{server.url}?base=EUR&access_key=open-secret&symbols=USD", retries=3)
    assert "access_key=***&symbols=USD" in caplog.text
    assert "open-secret" not in caplog.text


def parameters(head: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(head.split(" ")[1]).query))
