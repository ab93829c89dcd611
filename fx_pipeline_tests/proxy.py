"""A reverse proxy that has only one path prefix: it passes the paths below it unchanged, and nothing else.

With a certificate it ends TLS. As nginx does by default, it uses a connection to the server for one request
only. It also passes websockets.
"""

import asyncio
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from fx_pipeline_tests.waiting import PATIENCE

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_CONNECTION = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)


class Proxy:
    """A running proxy to the port `target` of this machine."""

    def __init__(self, prefix: str, context: ssl.SSLContext | None) -> None:
        self.prefix = prefix
        self.target = 0
        self.outside: list[str] = []
        """The requested paths that are not below the prefix."""
        self.port = 0
        self._context = context
        self._started = threading.Event()
        self._tasks: set[object] = set()
        self._stop: Callable[[], object] = lambda: None

    @property
    def origin(self) -> str:
        """Its scheme, host and port."""
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address of what it serves, without a slash at its end."""
        return f"{self.origin}{self.prefix}"

    def wait(self) -> None:
        """Wait until it listens."""
        assert self._started.wait(PATIENCE)

    def stop(self) -> None:
        """End `run` in its thread."""
        self._stop()

    async def run(self) -> None:
        """Serve until `stop`."""
        stopped = asyncio.Event()
        self._stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await stopped.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Otherwise a task that waits for both ends may be collected.
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await self._answer(reader, writer)
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode("latin-1")
        if not f"{path}/".startswith(f"{self.prefix}/"):
            self.outside.append(path)
            writer.write(NOT_FOUND)
            await writer.drain()
            return
        if b"\r\nupgrade: websocket" not in head.lower():
            head = _CONNECTION.sub(b"", head).replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        to_server.write(head)
        sending = asyncio.create_task(_copy(reader, to_server))
        try:
            await _copy(from_server, writer)
        finally:
            sending.cancel()
            to_server.close()


@contextmanager
def proxy(prefix: str, certificate: Path | None = None) -> Iterator[Proxy]:
    """Run a proxy. Set its `target` before the first request: a server may need to know its address."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    running = Proxy(prefix, context)
    thread = threading.Thread(target=asyncio.run, args=(running.run(),))
    thread.start()
    try:
        running.wait()
        yield running
    finally:
        running.stop()
        thread.join(PATIENCE)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while part := await source.read(65536):
            sink.write(part)
            await sink.drain()
