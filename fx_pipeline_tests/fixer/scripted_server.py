"""A server on a real socket that responds to requests, in order, with scripted bytes."""

import json
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from fx_pipeline_tests.waiting import PATIENCE

Play = bytes | Callable[[socket.socket], None]
"""Bytes to send, or what to do with the connection, which is closed afterwards."""


def reply(body: bytes | str | Mapping[str, object], status: int = 200, **headers: str) -> bytes:
    """Return a whole HTTP response; `_` in a header name means `-`."""
    if isinstance(body, Mapping):
        body = json.dumps(body)
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + content


def hang_up(connection: socket.socket) -> None:
    """Close without an answer."""


def reset(connection: socket.socket) -> None:
    """Break the connection off: the client sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silence(connection: socket.socket) -> None:
    """Say nothing until the client hangs up."""
    while connection.recv(4096):
        pass


def then_hang_up(answer: bytes) -> Callable[[socket.socket], None]:
    """Send these bytes and close."""
    return lambda connection: connection.sendall(answer)


def then_silence(answer: bytes) -> Callable[[socket.socket], None]:
    """Send only these bytes."""

    def play(connection: socket.socket) -> None:
        connection.sendall(answer)
        silence(connection)

    return play


def then_drip(beginning: bytes, drops: bytes) -> Callable[[socket.socket], None]:
    """Send `beginning`, then `drops` again and again, until the client hangs up.

    No wait is long: no timeout of a single read ends this.
    """

    def play(connection: socket.socket) -> None:
        connection.sendall(beginning)
        connection.settimeout(0.005)
        try:
            while True:
                connection.sendall(drops)
                try:
                    if not connection.recv(4096):
                        return
                except TimeoutError:
                    continue
        except OSError:  # the client has gone
            return

    return play


class ScriptedServer(socketserver.ThreadingTCPServer):
    """Plays `script`, whose last entry is repeated for ever, or what `by_path` says of a path and query.

    `requests` are the heads that came, in order; `connections` counts how often a client connected.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(
        self, script: list[Play], by_path: Callable[[str], Play] | None, tls: ssl.SSLContext | None
    ) -> None:
        self.script = script
        self.by_path = by_path
        self.requests: list[str] = []
        self.connections = 0
        self.tls = tls
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """A base URL as FIXER_BASE_URL takes it."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/api"

    @property
    def paths(self) -> list[str]:
        """The path and query of each request."""
        return [head.split(" ", 2)[1] for head in self.requests]

    def next_play(self, head: str) -> Play:
        """Note a request, and return its response."""
        with self.lock:
            self.requests.append(head)
            if self.by_path is not None:
                return self.by_path(self.paths[-1])
            return self.script[min(len(self.requests), len(self.script)) - 1]


class _Connection(socketserver.BaseRequestHandler):
    server: ScriptedServer
    request: socket.socket

    def handle(self) -> None:
        with self.server.lock:
            self.server.connections += 1
        connection = self.request
        if self.server.tls is not None:
            try:
                connection = self.server.tls.wrap_socket(connection, server_side=True)
            except OSError:  # the client did not trust the certificate
                return
        with connection:
            while (head := self._head(connection)) is not None:
                play = self.server.next_play(head)
                if callable(play):
                    play(connection)
                    return
                connection.sendall(play)

    def _head(self, connection: socket.socket) -> str | None:
        head = b""
        while b"\r\n\r\n" not in head and not head.startswith(b"\x16"):  # how TLS begins
            try:
                part = connection.recv(65536)
            except OSError:  # a client that gave up may reset
                return None
            if not part:
                return None
            head += part
        return head.decode("latin-1")


@contextmanager
def scripted(
    *script: Play, by_path: Callable[[str], Play] | None = None, tls: ssl.SSLContext | None = None
) -> Iterator[ScriptedServer]:
    """Run a ScriptedServer for the length of a `with` block."""
    with ScriptedServer(list(script), by_path, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def together(number: int, play: bytes) -> Callable[[], Play]:
    """Answer the first `number` requests only when all of them have come, and later ones immediately."""
    barrier = threading.Barrier(number)
    begun = 0

    def first(connection: socket.socket) -> None:
        barrier.wait(PATIENCE)
        connection.sendall(play)

    def next_play() -> Play:
        nonlocal begun
        begun += 1
        return first if begun <= number else play

    return next_play
