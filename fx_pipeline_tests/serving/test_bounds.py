"""Limits on clients, tested on a real server with short timeouts."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from fx_pipeline.serving import bounds
from fx_pipeline.serving.bounds import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, BoundedProtocol
from fx_pipeline_tests.waiting import PATIENCE, wait_for_async

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
LARGE = 20_000_000


async def respond(request: Request) -> Response:
    """Respond with the length of the body."""
    if request.url.path == "/large":
        return PlainTextResponse(b"x" * LARGE)
    if request.url.path == "/never":
        await asyncio.Event().wait()
    return PlainTextResponse(str(len(await request.body())))


async def echo(websocket: WebSocket) -> None:
    """Echo each message."""
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


APP = Starlette(
    routes=[
        WebSocketRoute("/echo", echo),
        Route("/{path:path}", respond, methods=["GET", "POST"]),
    ]
)


@asynccontextmanager
async def listening() -> AsyncIterator[int]:
    """Yield the port of a server with the limits."""
    async with served() as (port, _):
        yield port


@asynccontextmanager
async def served() -> AsyncIterator[tuple[int, uvicorn.Server]]:
    """Yield the port and the server."""
    config = uvicorn.Config(
        APP,
        port=0,
        http=BoundedProtocol,
        log_config=None,
        timeout_keep_alive=1,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1], server
    finally:
        server.should_exit = True
        await running


class Connection:
    """A client's connection for raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def to(cls, port: int, data: bytes = b"") -> "Connection":
        self = cls(*await asyncio.open_connection("127.0.0.1", port))
        await self.send(data)
        return self

    async def send(self, data: bytes) -> None:
        """Send bytes. The server may have closed the connection."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            pass

    async def until(self, end: bytes) -> bytes:
        """Return the bytes up to `end`."""
        return await asyncio.wait_for(self._reader.readuntil(end), PATIENCE)

    async def part(self) -> bytes:
        """Return some bytes."""
        return await asyncio.wait_for(self._reader.read(65536), PATIENCE)

    async def rest(self) -> bytes:
        """Return all bytes until the server closes the connection."""
        received = b""
        try:
            while part := await self.part():
                received += part
        except ConnectionError:
            pass
        await self.close()
        return received

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def request_of(size: int) -> bytes:
    """Return a request whose first line and headers have this many bytes."""
    start, end = GET + b"Connection: close\r\nX: ", b"\r\n\r\n"
    return start + b"a" * (size - len(start) - len(end)) + end


def many(count: int) -> bytes:
    """Return a request with this many headers."""
    return GET + b"Connection: close\r\n" + b"X: a\r\n" * (count - 2) + b"\r\n"


CHUNKED = POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
TOO_LARGE = (431, f"Request Header Fields Too Large: more than {MAX_HEAD_BYTES} bytes of headers.\n")

SENT: list[tuple[str, bytes, tuple[int, str]]] = [
    ("headers that just fit", request_of(MAX_HEAD_BYTES), (200, "0")),
    ("one byte more", request_of(MAX_HEAD_BYTES + 1), TOO_LARGE),
    ("a header without an end", GET + b"Cookie: " + b"a=b; " * 2_000_000, TOO_LARGE),
    ("a name without an end", GET + b"A" * 2_000_000, TOO_LARGE),
    ("an address without an end", b"GET /" + b"a" * 2_000_000, (414, "")),
    ("the maximum number of headers", many(MAX_HEADERS), (200, "0")),
    (
        "one header more",
        many(MAX_HEADERS + 1),
        (431, f"Request Header Fields Too Large: more than {MAX_HEADERS} headers.\n"),
    ),
    ("small headers without an end", GET + b"A: b\r\n" * 500_000, TOO_LARGE),
    (
        "a large body",
        POST + b"Connection: close\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000,
        (200, "3000000"),
    ),
    ("chunks", CHUNKED + b"5\r\nabcde\r\n" * 50_000 + b"0\r\n\r\n", (200, "250000")),
    ("chunks and trailers", CHUNKED + b"5\r\nabcde\r\n0\r\nX: y\r\n\r\n", (200, "5")),
    ("a trailer without an end", CHUNKED + b"5\r\nabcde\r\n0\r\nX: " + b"y" * 2_000_000, TOO_LARGE),
    ("trailers without an end", CHUNKED + b"5\r\nabcde\r\n0\r\n" + b"X: y\r\n" * 500_000, TOO_LARGE),
    ("a chunk's extension without an end", CHUNKED + b"5;x=" + b"y" * 2_000_000, TOO_LARGE),
    ("no HTTP", b"\x16\x03\x01" * 1000, (400, "Invalid HTTP request received.")),
]


def parsed(response: bytes) -> tuple[int, str]:
    """Return the status and body of a response."""
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize(("sent", "expected"), [case[1:] for case in SENT], ids=[case[0] for case in SENT])
async def test_the_size_of_a_request_is_limited(
    sent: bytes, expected: tuple[int, str], caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as port:
        connection = await Connection.to(port)
        sending = asyncio.create_task(connection.send(sent))
        status, body = parsed(await connection.rest())
        await sending
        assert (status, body[: len(expected[1])]) == expected
        # The next client is served.
        assert parsed(await (await Connection.to(port, request_of(200))).rest()) == (200, "0")
    logged = [record.message for record in caplog.records if record.name == bounds.__name__]
    assert len(logged) == (status in (431, 414))
    assert not any("a=b" in line or "yyy" in line for line in logged)


async def test_pipelined_requests_are_limited() -> None:
    async with listening() as port:
        few = await Connection.to(port, (GET + b"\r\n") * 20 + GET + b"Connection: close\r\n\r\n")
        assert (await few.rest()).count(b"HTTP/1.1 200 OK") == 21
        too_many = await Connection.to(port, (GET + b"\r\n") * (10 * MAX_PIPELINED))
        assert (await too_many.rest()).count(b"HTTP/1.1 200 OK") <= MAX_PIPELINED + 1


async def test_a_client_may_wait_for_100_continue() -> None:
    async with listening() as port:
        headers = b"Connection: close\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        connection = await Connection.to(port, POST + headers)
        assert await connection.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await connection.send(b"abcde")
        assert parsed(await connection.rest()) == (200, "5")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set timeouts that a test can wait for."""
    for name in ("HEAD_SECONDS", "BODY_SECONDS", "SEND_SECONDS", "LINGER_SECONDS"):
        monkeypatch.setattr(bounds, name, 1)


HEAD_408 = "Request Timeout: waited 1 seconds for the rest of the headers.\n"
BODY_408 = "Request Timeout: waited 1 seconds for the rest of the body.\n"

SLOW: list[tuple[str, bytes, str]] = [
    ("nothing", b"", ""),
    ("empty lines", b"\r\n\r\n", ""),
    ("half a line", b"GET / HT", HEAD_408),
    ("half the headers", GET, HEAD_408),
    ("half a body", POST + b"Content-Length: 9\r\n\r\nabc", BODY_408),
    ("a chunk less", CHUNKED + b"5\r\nabcde\r\n", BODY_408),
]


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(("sent", "expected"), [case[1:] for case in SLOW], ids=[case[0] for case in SLOW])
async def test_a_slow_client_times_out(sent: bytes, expected: str) -> None:
    async with listening() as port:
        response = await (await Connection.to(port, sent)).rest()
        assert response == b"" if not expected else parsed(response) == (408, expected)


@pytest.mark.usefixtures("hurried")
async def test_sending_byte_by_byte_does_not_extend_the_timeout() -> None:
    async with listening() as port:
        connection = await Connection.to(port, GET)
        received = asyncio.create_task(connection.rest())
        while not received.done():
            await connection.send(b"A: b\r\n")
            await asyncio.sleep(0.1)
        assert parsed(await received) == (408, HEAD_408)


@pytest.mark.usefixtures("hurried")
async def test_an_idle_connection_is_closed() -> None:
    """Even if it sends empty lines, which stop uvicorn's own timer."""
    async with listening() as port:
        connection = await Connection.to(port, GET + b"\r\n")
        await connection.until(b"\r\n\r\n0")
        received = asyncio.create_task(connection.rest())
        while not received.done():
            await connection.send(b"\r\n")
            await asyncio.sleep(0.1)
        assert await received == b""


@pytest.mark.usefixtures("hurried")
async def test_a_slow_response_is_not_cut_off() -> None:
    async with listening() as port:
        connection = await Connection.to(port, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        other = await Connection.to(port, GET)
        assert parsed(await other.rest()) == (408, HEAD_408)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.until(b"\r\n"), 0.01)
        await connection.close()


@pytest.mark.usefixtures("hurried")
async def test_a_response_that_is_not_read_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as port:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            await wait_for_async(
                lambda: caplog.text, lambda text: "did not read a response for 1 seconds" in text
            )


async def test_a_response_that_is_read_slowly_arrives() -> None:
    async with served() as (port, server):
        client = await Connection.to(port, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await client.until(b"\r\n\r\n")
        total = 0
        (one,) = server.server_state.connections
        assert isinstance(one, BoundedProtocol)
        now = asyncio.get_running_loop().time()
        while waiting := one.transport.get_write_buffer_size():
            now += bounds.SEND_SECONDS
            one.check(now)
            while one.transport.get_write_buffer_size() == waiting:
                total += len(await client.part())
        assert total + len(await client.rest()) == LARGE


async def test_a_websocket_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HEAD_SECONDS", 0)
    async with served() as (port, server), connect(f"ws://127.0.0.1:{port}/echo") as websocket:
        for text in ("one", "two", "three"):
            bounds._WATCHES[server.server_state]._look()
            await websocket.send(text)
            assert await websocket.recv() == text


@pytest.mark.parametrize("kind", ["half-open", "resting"])
async def test_the_longest_idle_connection_is_closed_for_a_new_one(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bounds, "MAX_CONNECTIONS", 5)
    async with served() as (port, server):
        busy = await Connection.to(port, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
        while not server.server_state.tasks:
            await asyncio.sleep(0.01)
        waiting = []
        for _ in range(4):
            waiting.append(await Connection.to(port, GET if kind == "half-open" else GET + b"\r\n"))
            if kind == "resting":
                await waiting[-1].until(b"\r\n\r\n0")
        assert parsed(await (await Connection.to(port, request_of(200))).rest()) == (200, "0")
        assert await waiting[0].rest() == b""
        assert "too many connections (5)" in caplog.text
        for connection in (busy, *waiting[1:]):
            await connection.close()


async def test_a_server_without_idle_connections_refuses_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "MAX_CONNECTIONS", 3)
    async with served() as (port, server):
        busy = [await Connection.to(port, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
        while len(server.server_state.tasks) < 3:
            await asyncio.sleep(0.01)
        refused = await (await Connection.to(port, request_of(200))).rest()
        assert parsed(refused) == (503, "Service Unavailable: too many connections (3).\n")
        assert b"retry-after: 5\r\n" in refused
        await busy[0].close()
        for connection in busy[1:]:
            await connection.close()


async def test_the_log_summarizes_refusals(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening() as port:
        for _ in range(20):
            await (await Connection.to(port, many(200))).rest()
        monkeypatch.setattr(bounds, "LOG_SECONDS", 0)
        await (await Connection.to(port, many(200))).rest()
    reason = f"more than {MAX_HEADERS} headers (431)"
    assert [record.message for record in caplog.records if record.name == bounds.__name__] == [
        f"Refused connections or requests, the last from 127.0.0.1: 1 × {reason}.",
        f"Refused connections or requests, the last from 127.0.0.1: 20 × {reason}.",
    ]
