"""`fx-pipeline serve` in a process of its own, and requests to it over real sockets."""

import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.command_line import PROGRAM, environment
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import PATIENCE, wait_for


class Server:
    """A server over the database file `path`, on a free port, that writes its output to the file `log`.

    With `certificate`, a file with a key and its certificates, it serves https. It then takes no options.
    """

    def __init__(
        self,
        path: Path,
        log: Path,
        *options: str,
        workers: int = 1,
        certificate: Path | None = None,
        program: Sequence[str] = PROGRAM,
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
            command = [*program, "serve", "--port", str(self.port), "--workers", str(workers), *options]
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
        """Return its address, without a slash at the end."""
        return f"http{'s' if self._is_secure else ''}://127.0.0.1:{self.port}"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Send a request on a new connection. Return status and body."""
        with closing(self.connect()) as connection:
            return ask(connection, path, headers)

    def raw(self, request: bytes) -> bytes:
        """Send bytes, and return everything that comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def workers(self) -> set[int]:
        """Return the processes of all workers that have started so far."""
        return {
            int(number) for number in re.findall(r"Started server process \[(\d+)\]", self.log.read_text())
        }

    def wait_for_workers(self, count: int) -> set[int]:
        """Wait until this many workers have started, and return their processes."""
        return wait_for(self.workers, lambda found: len(found) == count)

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that stays open, and so stays with one worker."""
        if self._is_secure:
            # The certificate need not be checked: this object has started the server.
            context = ssl._create_unverified_context()  # noqa: S323
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def is_ready(self) -> bool:
        """Return whether it has started."""
        assert self.process.poll() is None, f"The server did not start:\n{self.log.read_text()}"
        try:
            return self.get("/-/health")[0] == 200
        except OSError:
            return False

    def stop(self) -> int:
        """Stop it if it still runs, and return its exit code."""
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
    program: Sequence[str] = PROGRAM,
    **settings: str,
) -> Iterator[Server]:
    """Yield a server that answers, and stop it at the end."""
    server = Server(
        path, log, *options, workers=workers, certificate=certificate, program=program, **settings
    )
    try:
        wait_for(server.is_ready)
        yield server
    finally:
        server.stop()


def ask(
    connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Send a request on an open connection. Return status and body."""
    connection.request("GET", path, headers=dict(headers or {}))
    response = connection.getresponse()
    return response.status, response.read()


@contextmanager
def one_connection_each(server: Server, count: int) -> Iterator[dict[int, http.client.HTTPConnection]]:
    """Yield an open connection to each of the workers, by the worker's process."""
    workers = server.wait_for_workers(count)
    found: dict[int, http.client.HTTPConnection] = {}

    def connect() -> bool:
        connection = server.connect()
        # A closed connection must not be replaced silently, perhaps by one to another worker.
        connection.auto_open = 0
        connections.callback(connection.close)
        connection.connect()
        assert ask(connection, "/-/health")[0] == 200
        found.setdefault(_process_of(connection, workers), connection)
        return len(found) == count

    with ExitStack() as connections:
        wait_for(connect, pause=0)
        yield found


def _process_of(connection: http.client.HTTPConnection, processes: set[int]) -> int:
    """Return the process that has the other end of the connection (proc_pid_fd(5), proc_pid_net(5))."""
    # Its row names the server's address first. Another server may have a connection from the same port.
    ends = [
        f":{address[1]:04X}" for address in (connection.sock.getpeername(), connection.sock.getsockname())
    ]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (inode,) = [row[9] for row in rows if row[1].endswith(ends[0]) and row[2].endswith(ends[1])]
    for process in processes:
        for descriptor in Path(f"/proc/{process}/fd").iterdir():
            try:
                if descriptor.readlink() == Path(f"socket:[{inode}]"):
                    return process
            except FileNotFoundError:  # closed since the folder was listed
                continue
    raise AssertionError(f"no worker has socket {inode}")


def rate_in(response: tuple[int, bytes]) -> float:
    """Return the only rate in a response."""
    status, body = response
    assert status == 200, body
    (value,) = json.loads(body)["rates"].values()
    return float(value)
