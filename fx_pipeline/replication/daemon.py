"""Litestream's running process: started, asked for its positions through its socket, and ended."""

import http.client
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import psutil

from fx_pipeline.logs import is_json
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.litestream import (
    PREFIX,
    Configured,
    configuration,
    environment,
    write_configuration,
)
from fx_pipeline.replication.watch import Position

MAX_SOCKET_PATH = 100
"""Bytes. The system allows 107 on Linux and 103 on macOS."""

ANSWERS_WITHIN = 10.0
"""Seconds."""

GRACE = 6.0
"""Seconds that Litestream has to store the last commits when it is ended."""


class _SocketConnection(http.client.HTTPConnection):
    """An HTTP connection over a socket in the file system."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Litestream:
    """A running Litestream for these files. `say` gets each line that it logs."""

    def __init__(
        self, config: Configured, control: Path, files: Mapping[str, Path], say: Callable[[str], None]
    ) -> None:
        self._control = control
        self._files = files
        self.last_error = ""
        """The last error that it logged."""
        self.process = subprocess.Popen(
            config.command("replicate"),
            env=config.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = Thread(target=self._read, args=(say,), daemon=True)
        self._reader.start()

    def positions(self) -> dict[str, Position]:
        """Return the position of each file about which it answers."""
        found = {}
        for name, path in self._files.items():
            with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
                answer = self._ask(path)
                found[name] = Position(int(answer["txid"]), int(answer["replicated_txid"]))
        return found

    def end(self) -> None:
        """End it after it has stored the last commits, by force if that takes too long."""
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()

    def _ask(self, path: Path) -> Any:
        """Let it read a file's new commits, and return its answer. Raise OSError or HTTPException.

        Never ask it with a timeout, or to wait: when such a request ends, Litestream 0.5.17 loses the lock
        that keeps SQLite from restarting the log, and then misses commits.
        """
        with closing(_SocketConnection(self._control, ANSWERS_WITHIN)) as connection:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/sync", json.dumps({"path": str(path)}), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        if response.status != http.HTTPStatus.OK:
            self.last_error = str(answer.get("error", ""))
            raise http.client.HTTPException(self.last_error)
        return answer

    def _read(self, say: Callable[[str], None]) -> None:
        assert self.process.stdout is not None  # noqa: S101  # it is a pipe
        with self.process.stdout:
            for raw in self.process.stdout:
                line = raw.decode(errors="replace").rstrip()
                if error := error_in(line):
                    self.last_error = error
                say(line)


@contextmanager
def prepared(
    folder: Path, replicas: Mapping[Path, ReplicaAddress], metrics_port: int
) -> Iterator[tuple[Configured, Path]]:
    """Write Litestream's configuration into a folder, and yield it with the path of its socket.

    End a Litestream that a killed process left behind: two of them would write the same replica.
    """
    file = folder / "litestream.yml"
    control = folder / "litestream.sock"
    with TemporaryDirectory(prefix=PREFIX) as temporary:
        if len(os.fsencode(control)) > MAX_SOCKET_PATH:
            control = Path(temporary) / control.name
        document, variables = configuration(
            replicas,
            addr=f"127.0.0.1:{metrics_port}",
            socket={"enabled": True, "path": str(control), "permissions": 0o600},
            logging={"level": "warn", "type": "json" if is_json() else "text"},
            **{"shutdown-sync-timeout": f"{GRACE - 1:.0f}s"},
        )
        write_configuration(file, document)
        _end_leftover(file)
        yield Configured(file, environment(variables)), control


def error_in(line: str) -> str:
    """Return the error in a line of Litestream's log, in either of its formats; an empty text for none."""
    # A process that is killed may end in the middle of a line.
    with suppress(ValueError):
        if line.startswith("{"):
            document = json.loads(line)
            texts = (str(document[name]) for name in ("msg", "error") if name in document)
            return ": ".join(texts) if document.get("level") == "ERROR" else ""
    return line.removeprefix("Error: ") if "level=ERROR" in line or line.startswith("Error: ") else ""


def _end_leftover(file: Path) -> None:
    """End each Litestream that was started with this configuration."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.cmdline()[1:] == ["replicate", "-config", str(file)]:
                process.terminate()
                left.append(process)
    _, alive = psutil.wait_procs(left, timeout=GRACE)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=GRACE)
