"""The API in a process of its own, asked over a real socket."""

import http.client
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fx_pipeline_tests.commands import environment

START_SECONDS = 60


class Server:
    """The API over the database file `path`, on a free port, with its output in the file `log`.

    With `certificate`, a file of a key and its certificates, it speaks https.
    """

    def __init__(self, path: Path, log: Path, *, workers: int, certificate: Path | None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = log
        self._is_secure = certificate is not None
        if certificate:
            factory = ["uvicorn", "--factory", "fx_pipeline.api.app:create_app"]
            secure = ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate)]
            command = ["-m", *factory, "--port", str(self.port), *secure]
        else:
            run = f"from fx_pipeline.api.app import run; run('127.0.0.1', {self.port}, {workers})"
            command = ["-c", run]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env=environment(FX_DATABASE=str(path)),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http{'s' if self._is_secure else ''}://127.0.0.1:{self.port}"

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        with closing(self._connect()) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()

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

    def _connect(self) -> http.client.HTTPConnection:
        if self._is_secure:
            # Who it is does not matter here: it was started by this very object.
            context = ssl._create_unverified_context()  # noqa: S323
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.get("/-/health")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError(f"The server did not start:\n{self.log.read_text()}")


@contextmanager
def serving(path: Path, log: Path, *, workers: int = 1, certificate: Path | None = None) -> Iterator[Server]:
    """A running server, stopped at the end."""
    server = Server(path, log, workers=workers, certificate=certificate)
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=30)
