"""`fx-pipeline serve` as a process of its own, asked over real sockets."""

import http.client
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from fx_pipeline_tests.commands import PROGRAM, environment

PATIENCE = 60
"""Seconds until something that is waited for is given up."""

T = TypeVar("T")


class ServerProcess:
    """A running server; its output goes to `log`."""

    def __init__(self, database: Path, *options: str, **settings: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log_file = database.with_name("log")
        with self.log_file.open("w") as output:
            self.process = subprocess.Popen(
                [*PROGRAM, "serve", "--port", str(self.port), *options],
                cwd=database.parent,
                env=environment(FX_DATABASE=str(database), **settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        with closing(self.connect()) as connection:
            return ask(connection, path, headers)

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open, and so stays with one worker."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.connect()
        return connection

    def raw(self, request: bytes) -> bytes:
        """All that comes back for some bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def started(self) -> set[int]:
        """The processes that have announced themselves as answering."""
        return {int(number) for number in re.findall(r"Started server process \[(\d+)\]", self.log)}

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """Stop it, and return how it ended."""
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)


def ask(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of one request on an open connection."""
    connection.request("GET", path, headers=dict(headers or {}))
    response = connection.getresponse()
    return response.status, response.read()


def wait_for(look: Callable[[], T], good: Callable[[T], bool]) -> T:
    """What `look` sees as soon as it is good."""
    deadline = time.monotonic() + PATIENCE
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@contextmanager
def serving(database: Path, *options: str, **settings: str) -> Iterator[ServerProcess]:
    """A server that answers, and that is gone at the end."""
    server = ServerProcess(database, *options, **settings)
    try:
        wait_for(lambda: _answers(server), bool)
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


def _answers(server: ServerProcess) -> bool:
    assert server.process.poll() is None, server.log
    try:
        return server.get("/-/health")[0] in (200, 503)
    except OSError:
        return False
