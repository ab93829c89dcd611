"""The tools for assistants, called over a socket by the client of the Model Context Protocol."""

import datetime as dt
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from mcp import Client
from mcp.types import CallToolResult, TextContent

from fx_pipeline.api.mcp import LONGEST_ANSWER, LONGEST_BODY
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.waiting import PATIENCE

JSON_RPC = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
PATH = "/-/mcp"


@pytest.fixture(scope="module")
def server(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve with two workers: either may get a request of the same assistant."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(written, folder / "fx.db")
    history = History(folder / "fx.db")
    many = dict.fromkeys((f"X{first}{second}" for first in "ABCDEFGHIJ" for second in "ABCDEFGH"), 1.234567)
    long = [(dt.date(2001, 1, 1) + dt.timedelta(days=day)).isoformat() for day in range(90)]
    history.fetch("2026-03-06T00:05:01.000000Z", dict.fromkeys(long, many))
    history.close()
    with serving(folder / "fx.db", folder / "log", workers=2) as server:
        yield server


def text_of(result: CallToolResult) -> str:
    """Return the text of a result, which has only one."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


async def test_lists_the_tools(server: Server) -> None:
    async with Client(f"{server.url}{PATH}") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    arguments = {name: list(tool.input_schema["properties"]) for name, tool in tools.items()}
    assert arguments == {
        "latest_rates": ["base", "symbols", "amount", "as_of"],
        "rates_of_day": ["date", "base", "symbols", "amount", "as_of"],
        "timeseries": ["start_date", "end_date", "base", "symbols", "amount", "as_of"],
        "convert": ["from", "to", "amount", "date", "as_of"],
        "fluctuation": ["start_date", "end_date", "base", "symbols", "as_of"],
        "symbols": [],
    }
    required = {name: tool.input_schema["required"] for name, tool in tools.items()}
    assert required == {
        "latest_rates": [],
        "rates_of_day": ["date"],
        "timeseries": ["start_date", "end_date"],
        "convert": ["from", "to", "amount"],
        "fluctuation": ["start_date", "end_date"],
        "symbols": [],
    }
    for tool in tools.values():
        assert tool.description
        assert tool.annotations
        assert tool.annotations.read_only_hint
        assert "$ref" not in json.dumps(tool.input_schema)
        assert "sql" not in tool.model_dump_json().lower()


CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("latest_rates", {"symbols": ["USD", "GBP"]}, "/rates/latest"),
    ("latest_rates", {"base": "usd", "symbols": "EUR"}, "/rates/latest"),
    ("latest_rates", {"base": "GBP", "symbols": ["USD"], "amount": 100}, "/rates/latest"),
    ("rates_of_day", {"date": "2026-03-06", "as_of": "2026-03-07"}, "/rates/2026-03-06/"),
    ("rates_of_day", {"date": "1999-01-04", "symbols": ["USD", "JPY"]}, "/rates/1999-01-04/"),
    (
        "timeseries",
        {"start_date": "2026-03-05", "end_date": "2026-03-09", "symbols": ["USD"], "base": None},
        "/rates/timeseries",
    ),
    ("convert", {"from": "GBP", "to": "JPY", "amount": 25, "date": "2026-03-06"}, "/rates/convert"),
    ("convert", {"from": "GBP", "to": "JPY", "amount": "1e-3"}, "/rates/convert"),
    ("fluctuation", {"start_date": "2026-03-05", "end_date": "2026-03-09"}, "/rates/fluctuation"),
    ("symbols", {}, "/rates/symbols"),
]


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_tools_return_the_documents_of_the_api(server: Server, mode: str) -> None:
    """With and without the initialize handshake."""
    async with Client(f"{server.url}{PATH}", mode=mode) as client:
        for name, arguments, path in CALLS:
            query = {
                name: ",".join(value) if isinstance(value, list) else value
                for name, value in arguments.items()
                if value is not None and str(value) not in path
            }
            status, body = server.get(f"{path}?{urlencode(query)}")
            result = await client.call_tool(name, arguments)
            assert (status, result.is_error) == (200, False)
            assert text_of(result) == body.decode()
            assert result.structured_content == json.loads(body)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (
        "rates_of_day",
        {"date": "2026-03-07"},
        "No rates are stored for 2026-03-07. Nearest: 2026-03-06 and 2026-03-08.",
    ),
    ("rates_of_day", {"date": "2023-02-29"}, "2023-02-29 does not exist: February 2023 has 28 days."),
    (
        "rates_of_day",
        {"date": "1999-01-04", "symbols": ["JPY"]},
        "No rate of JPY is stored for 1999-01-04. JPY has rates from 2000-01-03 to 2026-03-09.",
    ),
    ("latest_rates", {"base": "GBp"}, "The base 'GBp' mixes upper and lower case"),
    ("rates_of_day", {}, "rates_of_day needs: date."),
    ("rates_of_day", {"date": None}, "rates_of_day needs: date."),
    *(
        ("rates_of_day", {"date": text}, f"{text!r} is not a date of the form YYYY-MM-DD.")
        for text in ("2026-03-06.csv", "symbols", "openapi.json", "2026-03-05..2026-03-06", "../x", "")
    ),
    ("rates_of_day", {"date": "9999-12-31"}, "9999-12-31 is in the future: today is "),
    ("convert", {"from": "GBP", "to": "JPY"}, "convert needs: amount."),
    (
        "convert",
        {"from": "GBP", "to": "JPY", "amount": -1},
        "The amount '-1' is not a number from 1E-18 to 1E+18.",
    ),
    ("convert", {"from": "GBP", "to": ["JPY", "USD"], "amount": 1}, "'to' is 'JPY,USD', which is not a "),
    ("latest_rates", {"symbols": ["QQQ"]}, "Unknown currency: QQQ. "),
    ("latest_rates", {"base": {"a": 1}}, "The base \"{'a': 1}\" is not a three-letter currency code."),
    (
        "latest_rates",
        {"currency": "USD"},
        "latest_rates has no argument 'currency'. It has: base, symbols, amount, as_of.",
    ),
    ("symbols", {"date": "2026-03-06"}, "symbols has no argument 'date'. It has: none."),
    (
        "execute_sql",
        {"sql": "select 1"},
        "There is no tool 'execute_sql'. The tools are: latest_rates, rates_of_day, timeseries, convert, "
        "fluctuation, symbols.",
    ),
]


async def test_tools_explain_errors(server: Server) -> None:
    async with Client(f"{server.url}{PATH}") as client:
        for name, arguments, text in WRONG:
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert text_of(result).startswith(text)


async def test_refuses_a_result_that_is_too_long(server: Server) -> None:
    quarter = {"start_date": "2001-01-01", "end_date": "2001-03-31"}
    async with Client(f"{server.url}{PATH}") as client:
        whole = await client.call_tool("timeseries", quarter)
        part = await client.call_tool("timeseries", {**quarter, "symbols": ["XAA", "XJH"]})
    _, body = server.get(f"/rates/timeseries?{urlencode(quarter)}")
    assert whole.is_error
    assert text_of(whole) == (
        f"The result has {len(body)} bytes, more than the limit of {LONGEST_ANSWER}. Name the symbols that "
        "you need, or request fewer days."
    )
    assert not part.is_error


async def test_survives_malformed_arguments(server: Server) -> None:
    async with Client(f"{server.url}{PATH}") as client:
        for text in (
            "'; DROP TABLE rates;--",
            "../../fx/fetches",
            "symbols",
            "\x00",
            "٢٠٢٦-٠٣-٠٦",
            "%2e%2e",
            "",
        ):
            for name, arguments in (
                ("rates_of_day", {"date": text, "base": text}),
                ("latest_rates", {"symbols": [text, text], "as_of": text}),
                ("convert", {"from": text, "to": text, "amount": text, "date": text}),
            ):
                result = await client.call_tool(name, arguments)
                assert "logged" not in text_of(result)
    assert "Traceback" not in server.log.read_text()


def ask(server: Server, message: Any, **headers: str) -> httpx.Response:
    """Send one message of the protocol, as `curl` would."""
    fields = {**JSON_RPC, **{name.replace("_", "-"): value for name, value in headers.items()}}
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    return httpx.post(f"{server.url}{PATH}", content=content, headers=fields, timeout=PATIENCE)


def called(name: str, **arguments: Any) -> dict[str, Any]:
    """Return the message that calls a tool."""
    parameters = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}


def test_answers_each_message_of_a_conversation(server: Server) -> None:
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "curl", "version": "1"},
    }
    first = ask(server, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}).json()
    assert first["result"]["serverInfo"]["name"] == "fx-pipeline"
    assert first["result"]["protocolVersion"] == "2025-06-18"
    assert "symbols" in first["result"]["instructions"]
    assert ask(server, {"jsonrpc": "2.0", "method": "notifications/initialized"}).status_code == 202
    listed = ask(server, {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).json()
    assert len(listed["result"]["tools"]) == 6
    answer = ask(
        server, called("convert", **{"from": "EUR", "to": "USD", "amount": 25, "date": "2026-03-09"})
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["result"]["structuredContent"] == {
        "success": True,
        "query": {"from": "EUR", "to": "USD", "amount": 25},
        "info": {"timestamp": 1773100799, "rate": 1.165},
        "historical": True,
        "date": "2026-03-09",
        "result": 29.125,
    }


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"\xff", 400),
        ([], 400),
        ({"jsonrpc": "2.0", "id": 1, "method": "resources/list"}, 200),
    ],
    ids=["cut", "empty", "bytes", "list", "no such method"],
)
def test_refuses_malformed_messages(server: Server, message: Any, status: int) -> None:
    answer = ask(server, message)
    assert answer.status_code == status
    assert "error" in answer.json()


def test_refuses_a_message_that_is_too_long(server: Server) -> None:
    assert ask(server, b" " * (LONGEST_BODY + 1)).status_code == 413


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_refuses_other_methods(server: Server, method: str) -> None:
    answer = httpx.request(method, f"{server.url}{PATH}", headers=JSON_RPC)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")


def test_only_mcp_accepts_post(server: Server) -> None:
    for path in ("/-/mcp/x", "/rates/latest", "/fx/rates", "/%2D/mcp"):
        assert httpx.post(f"{server.url}{path}", json=called("symbols"), timeout=PATIENCE).status_code == 405


async def test_requires_a_token_if_the_api_does(written: Path, tmp_path: Path) -> None:
    shutil.copy(written, tmp_path / "fx.db")
    token = TokenFile(tmp_path / "tokens.db").create("assistant")
    with serving(tmp_path / "fx.db", tmp_path / "log") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = ask(server, called("symbols"), **headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        for headers in ({"Authorization": f"Bearer {token}"}, {"apikey": token}):
            assert ask(server, called("symbols"), **headers).json()["result"]["isError"] is False
        async with Client(f"{server.url}{PATH}?access_key={token}") as client:
            assert not (await client.call_tool("symbols")).is_error
        assert token not in server.log.read_text()


CALL_SYMBOLS = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "symbols", "arguments": {}},
}


@pytest.fixture(scope="module")
def named(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve under configured host names."""
    folder = tmp_path_factory.mktemp("named")
    shutil.copy(written, folder / "fx.db")
    with serving(
        folder / "fx.db",
        folder / "log",
        FX_API_URL="https://rates.example.org",
        FX_ALLOWED_HOSTS="rates.lan,192.168.7.1",
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://127.0.0.1:PORT"}, 200),
        ({"Host": "localhost:PORT", "Origin": "http://localhost:PORT"}, 200),
        ({"Host": "[::1]"}, 200),
        ({"Host": "rates.lan:8001"}, 200),
        ({"Host": "192.168.7.1"}, 200),
        ({"Host": "rates.example.org", "Origin": "https://rates.example.org"}, 200),
        ({"Origin": "https://rates.example.org"}, 200),
        ({"Host": "rates.example.org", "Origin": "http://rates.example.org"}, 403),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Origin": "http://localhost:PORT"}, 403),
        ({"Origin": "https://foreign.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "foreign.example"}, 403),
        ({"Host": "foreign.example:PORT", "Origin": "http://foreign.example:PORT"}, 403),
        ({"Host": "192.168.7.2"}, 403),
    ],
)
def test_refuses_pages_of_other_sites(named: Server, headers: dict[str, str], status: int) -> None:
    sent = {name: value.replace("PORT", str(named.port)) for name, value in headers.items()}
    answer = httpx.post(
        f"{named.url}{PATH}", headers={**JSON_RPC, **sent}, json=CALL_SYMBOLS, timeout=PATIENCE
    )
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["type"] == "function_access_restricted"
        assert "FX_A" in answer.json()["message"]
