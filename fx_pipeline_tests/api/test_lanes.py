"""Long requests delay no other request, wait in a bounded queue, and are dropped with their client."""

import asyncio
import datetime as dt
import gzip
import json
import select
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Message

from fx_pipeline.api.errors import SERVER_BUSY, ApiError
from fx_pipeline.api.reading.lanes import Dropped, Effort, Lane, Limit, TooLong, while_connected
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import LONG_PLACES, Size
from fx_pipeline.api.replies import RETRY_SECONDS
from fx_pipeline.rates import calendar
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import ask, serving
from fx_pipeline_tests.waiting import PATIENCE, wait_for_async

ENDLESS = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n"
CODES = [f"{first}{second}X" for first in "AB" for second in "ABCD"]
DAYS = calendar(dt.date(1999, 1, 4), dt.date(2026, 3, 5))
SERIES = f"/rates/timeseries?start_date={DAYS[0]}&end_date={DAYS[-1]}&symbols={','.join(CODES)}"
AS_OF = f"{SERIES}&as_of=2026-03-06"
LIMIT = Limit(3600)


@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """27 years of 8 currencies: 79,000 rates."""
    history = History(tmp_path_factory.mktemp("long") / "fx.db")
    history.fetch("2026-03-06T00:05:00.000000Z", {day: rates_of(day) for day in (DAYS[0], DAYS[-1])})
    with history.db.atomic():
        history.db.conn.executemany(
            "INSERT OR IGNORE INTO rates VALUES (?, ?, ?, 1)",
            [(day, code, rate) for day in DAYS for code, rate in rates_of(day).items()],
        )
        history.db.conn.executemany(
            "INSERT OR IGNORE INTO days VALUES (?, 'EUR', 946943999, ?, 1)",
            [(day, len(CODES)) for day in DAYS],
        )
    history.close()
    return history.path


def rates_of(day: str) -> dict[str, float]:
    """Return the stored rates of a day."""
    return {code: int(day[8:]) + place / 8 for place, code in enumerate(CODES)}


def document(**more: str) -> dict[str, Any]:
    """Return the response to SERIES."""
    return {
        "success": True,
        "timeseries": True,
        "start_date": DAYS[0],
        "end_date": DAYS[-1],
        "base": "EUR",
        **more,
        "rates": {day: rates_of(day) for day in DAYS},
    }


@pytest.mark.slow
def test_short_requests_overtake_long_ones(long_history: Path, tmp_path: Path) -> None:
    """Short requests that come last are answered while long ones still wait."""
    with (
        serving(long_history, tmp_path / "log", FX_CACHE_MB="0") as server,
        closing(server.connect()) as short,
        ExitStack() as stack,
    ):
        for path in SHORT:  # the first page loads the templates
            assert ask(short, path)[0] == 200
        long = [
            stack.enter_context(closing(HTTPConnection("127.0.0.1", server.port, timeout=None)))
            for _ in range(8)
        ]
        for connection in long:
            connection.request("GET", AS_OF)
        for path in SHORT:
            assert ask(short, path)[0] == 200
        answered, _, _ = select.select([connection.sock for connection in long], [], [], 0)
        assert len(answered) < len(long)
        answers = {read(connection) for connection in long}
        assert "Traceback" not in server.log.read_text()
    ((status, body),) = answers
    assert (status, json.loads(body)) == (200, document(as_of="2026-03-06T23:59:59.999999Z"))


def read(connection: HTTPConnection) -> tuple[int, bytes]:
    """Return the status and body of the response."""
    response = connection.getresponse()
    return response.status, response.read()


SHORT = (
    "/-/health",
    "/",
    "/rates/latest",
    "/currency/AAX/",
    "/rates/2026-03-05?as_of=2026-03-06",
    "/fx/rates",
)


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[int]:
    """Run a server in this process and yield its port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await running


class Client:
    """A client that has sent one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def asking(cls, port: int, path: str, *headers: str) -> "Client":
        self = cls(*await asyncio.open_connection("127.0.0.1", port))
        lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode())
        return self

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        head, _, body = (await asyncio.wait_for(self.reader.read(-1), PATIENCE)).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        self.writer.close()
        await self.writer.wait_closed()
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body

    async def leave(self) -> None:
        """Close the connection without waiting for the response."""
        self.writer.close()
        await self.writer.wait_closed()


class Occupied:
    """A query that keeps the long lane busy until `free`."""

    def __init__(self, api: Api) -> None:
        api.datasette.reader.long.limit = LIMIT
        self.started = threading.Event()
        self._task = asyncio.create_task(
            api.datasette.reader.run_unchecked(("currencies",), self._never_end, size=Size.LARGE)
        )

    def _never_end(self, queries: Queries) -> None:
        self.started.set()
        queries._connection.execute(ENDLESS)

    async def free(self) -> None:
        """Cancel the query."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_the_queue_is_bounded_and_disconnected_clients_leave_it(
    long_history: Path, open_api: OpenApi
) -> None:
    api = open_api(long_history)
    lane = api.datasette.reader.long
    async with listening(api.app) as port:
        occupied = Occupied(api)
        await wait_for_async(occupied.started.is_set)
        waiting = [await Client.asking(port, SERIES) for _ in range(LONG_PLACES)]
        await wait_for_async(lambda: lane.waiting == LONG_PLACES)

        status, headers, body = await (await Client.asking(port, AS_OF)).answer()
        assert (status, headers["retry-after"]) == (503, str(RETRY_SECONDS))
        assert headers["cache-control"] == "no-store"
        info = f"{LONG_PLACES} requests like this are already waiting. Retry later."
        assert json.loads(body) == {
            "success": False,
            "status": 503,
            "message": info,
            "error": {"code": 503, "type": "server_busy", "info": info},
        }
        # Short requests are answered meanwhile.
        for path in SHORT:
            assert (await (await Client.asking(port, path)).answer())[0] == 200

        for client in waiting[2:]:
            await client.leave()
        await wait_for_async(lambda: lane.waiting == 2)
        await occupied.free()
        expected = (
            200,
            json.dumps(document(), separators=(",", ":")).replace(".0,", ",").replace(".0}", "}"),
        )
        for client in waiting[:2]:
            status, _, body = await client.answer()
            assert (status, body.decode()) == expected


async def test_work_stops_when_its_client_disconnects(api: Api) -> None:
    lane = api.datasette.reader.long
    lane.limit = LIMIT
    running, left = threading.Event(), asyncio.Event()

    def never_end(queries: Queries) -> None:
        running.set()
        queries._connection.execute(ENDLESS)

    async def receive() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    answer = asyncio.create_task(
        api.datasette.reader.run_unchecked(("currencies",), never_end, size=Size.LARGE, receive=receive)
    )
    await wait_for_async(running.is_set)
    left.set()
    with pytest.raises(ApiError):
        await answer
    # The lane is free, and its connection works.
    assert lane.waiting == 0
    assert (await api.get("/rates/1999-01-04..2026-03-09?symbols=USD")).status_code == 200


async def test_a_large_response_is_the_same_compressed(long_history: Path, open_api: OpenApi) -> None:
    """Its lane compresses and hashes it, not the event loop."""
    api = open_api(long_history)
    plain = await api.get(SERIES)
    async with listening(api.app) as port:
        status, headers, body = await (await Client.asking(port, SERIES, "Accept-Encoding: gzip")).answer()
        assert (status, headers["content-encoding"]) == (200, "gzip")
        assert headers["content-length"] == str(len(body))
        assert headers["etag"] == plain.headers["etag"]
        assert "Accept-Encoding" in headers["vary"]
        assert gzip.decompress(body) == plain.content
        request_headers = ("Accept-Encoding: gzip", f"If-None-Match: {headers['etag']}")
        status, headers, body = await (await Client.asking(port, SERIES, *request_headers)).answer()
        assert (status, headers["etag"], body) == (304, plain.headers["etag"], b"")
    assert plain.json() == document()


def reading(statement: str, started: threading.Event | None = None) -> Callable[..., Any]:
    """Return work that reads one row."""

    def work(connection: sqlite3.Connection, effort: Effort) -> Any:
        if started:
            started.set()
        with effort.reading(connection):
            return connection.execute(statement).fetchone()

    return work


async def test_work_runs_in_the_order_of_arrival(api: Api) -> None:
    connect = api.datasette.get_database("fx").connect
    lane = Lane("test", 3, LIMIT, api.datasette.served.hold(connect))
    done: list[int] = []
    started = threading.Event()
    first = asyncio.create_task(lane.run(reading(ENDLESS, started)))
    await wait_for_async(started.is_set)

    async def wait(number: int) -> None:
        await lane.run(reading(f"SELECT {number}"))
        done.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await wait_for_async(lambda: lane.waiting == 3)
    with pytest.raises(ApiError) as refused:
        await wait(3)
    assert refused.value.kind is SERVER_BUSY
    waiting[1].cancel()
    await wait_for_async(lambda: lane.waiting == 2)
    waiting.append(asyncio.create_task(wait(4)))
    await wait_for_async(lambda: lane.waiting == 3)
    first.cancel()
    await asyncio.wait([first, *waiting])
    assert done == [0, 2, 4]
    assert lane.waiting == 0


async def test_work_ends_at_its_limit(api: Api) -> None:
    connect = api.datasette.get_database("fx").connect
    lane = Lane("test", 1, Limit(0.01), api.datasette.served.hold(connect))
    with pytest.raises(TooLong):
        await lane.run(reading(ENDLESS))


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_paced_loop_ends_at_its_limit_or_when_stopped(is_stopped: bool) -> None:
    effort = Effort(Limit(0.01 if not is_stopped else 3600))
    seen = []
    with pytest.raises(Dropped if is_stopped else TooLong):
        for number in effort.paced(iter(int, 1), every=1):
            seen.append(number)
            if is_stopped and len(seen) == 3:
                effort.stop()
    assert not is_stopped or len(seen) == 3


async def test_work_that_is_stopped_before_its_start_does_not_run(api: Api) -> None:
    """Its thread may still be busy with other work."""
    effort = Effort(LIMIT)
    effort.stop()
    with pytest.raises(Dropped):
        effort.begin()


@pytest.mark.parametrize("path", [AS_OF, SERIES])
async def test_work_that_exceeds_a_lane_moves_to_the_long_lane_and_then_fails(
    long_history: Path, open_api: OpenApi, path: str
) -> None:
    api = open_api(long_history)
    reader = api.datasette.reader
    # Work that takes longer than estimated restarts in the long lane.
    reader.short.limit = Limit(0)
    assert (await api.get("/")).status_code == 200
    reader.long.limit = Limit(0)
    response = await api.get(path)
    assert (response.status_code, response.headers["retry-after"]) == (503, str(RETRY_SECONDS))
    assert response.json()["error"]["type"] == "server_busy"
    page = await api.get("/", accept="text/html")
    assert (page.status_code, page.headers["retry-after"]) == (503, str(RETRY_SECONDS))
    assert (await api.get("/-/health")).status_code == 200


async def test_a_connected_client_gets_the_result_or_the_error() -> None:
    async def stay() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def fail() -> None:
        raise ValueError("this")

    async def succeed() -> str:
        return "that"

    for receive in (stay, None):
        failing: Coroutine[Any, Any, None] = fail()
        with pytest.raises(ValueError, match="this"):
            await while_connected(receive, failing)
        assert await while_connected(receive, succeed()) == "that"
