"""The API in a process of its own, asked over a real socket."""

import http.client
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.command_line import PROGRAM, environment
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for


class Server:
    """`fx-pipeline serve` over the database file `path`, on a free port, with its output in the file `log`.

    With `certificate`, a file of a key and its certificates, it speaks https, and knows no options.
    """

    def __init__(
        self,
        path: Path,
        log: Path,
        *options: str,
        workers: int = 1,
        certificate: Path | None = None,
        **settings: str,
    ) -> None:
        self._reservation = ExitStack()
        self.port = self._reservation.enter_context(reserved_port())
        self.log = log
        self._is_secure = certificate is not None
        if certificate:
            factory = ["uvicorn", "--factory", "fx_pipeline.api.app:create_app"]
            secure = ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate)]
            command = [sys.executable, "-m", *factory, "--port", str(self.port), *secure]
        else:
            command = [*PROGRAM, "serve", "--port", str(self.port), "--workers", str(workers), *options]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command,
                env=environment(FX_DATABASE=str(path), **settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http{'s' if self._is_secure else ''}://127.0.0.1:{self.port}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        with closing(self.connect()) as connection:
            return ask(connection, path, headers)

    def raw(self, request: bytes) -> bytes:
        """All that comes back for some bytes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def workers(self) -> set[int]:
        """The processes that announced themselves as started workers."""
        return {
            int(number) for number in re.findall(r"Started server process \[(\d+)\]", self.log.read_text())
        }

    def connect(self) -> http.client.HTTPConnection:
        """A connection that stays open, and so stays with one worker."""
        if self._is_secure:
            # Who it is does not matter here: it was started by this very object.
            context = ssl._create_unverified_context()  # noqa: S323
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def answers(self) -> bool:
        """Whether it has started."""
        assert self.process.poll() is None, f"The server did not start:\n{self.log.read_text()}"
        try:
            return self.get("/-/health")[0] == 200
        except OSError:
            return False

    def stop(self) -> int:
        """Stop it, unless it has ended, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self._reservation.close()
        wait_until_gone(self.process)
        return self.process.returncode


@contextmanager
def serving(
    path: Path,
    log: Path,
    *options: str,
    workers: int = 1,
    certificate: Path | None = None,
    **settings: str,
) -> Iterator[Server]:
    """A server that answers, stopped at the end."""
    server = Server(path, log, *options, workers=workers, certificate=certificate, **settings)
    try:
        wait_for(server.answers)
        yield server
    finally:
        server.stop()


def ask(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body of one request on an open connection."""
    connection.request("GET", path, headers=dict(headers or {}))
    response = connection.getresponse()
    return response.status, response.read()
