"""The servers that are measured, each in a process of its own, and what they use."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from fx_pipeline_tests.ports import reserved_port


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its URL, and its process with all child processes."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far by all its processes, user and system."""
        return sum(sum(one.cpu_times()[:2]) for one in self._processes())

    def memory(self) -> int:
        """Return the resident bytes of the largest of its processes."""
        return max(one.memory_info().rss for one in self._processes())

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], ready: str) -> Iterator[Server]:
    """Run a server during a block. `{port}` in the command is a free port, `ready` a path it serves."""
    with reserved_port() as port:
        arguments = [part.replace("{port}", str(port)) for part in command]
        with listening(port, arguments, environment, ready) as server:
            yield server


@contextmanager
def listening(
    port: int, command: Sequence[str], environment: Mapping[str, str], ready: str
) -> Iterator[Server]:
    """Run a server that listens at this port during a block."""
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url + ready, process)
            yield Server(url, psutil.Process(process.pid))
        finally:
            process.terminate()


@contextmanager
def api(database: Path, cache_mb: int) -> Iterator[Server]:
    """Run the project's API with one worker."""
    command = [sys.executable, "-m", "fx_pipeline", "serve", "--port", "{port}"]
    environment = {"FX_DATABASE": str(database), "FX_CACHE_MB": str(cache_mb)}
    with running(command, environment, "/-/health") as server:
        yield server


@contextmanager
def bare(body: Path) -> Iterator[Server]:
    """Run uvicorn with one worker that sends the bytes of a file."""
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", "{port}", "--no-access-log"]
    with running(command, {"BARE_BODY": str(body)}, "/") as server:
        yield server


@contextmanager
def peer(database: Path) -> Iterator[Server]:
    """Run Flask under gunicorn, with one worker of four threads."""
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-b",
        "127.0.0.1:{port}",
        "--threads",
        "4",
        "benchmarks.peer:app",
    ]
    with running(command, {"FX_DATABASE": str(database)}, "/rates/2026-01-02/") as server:
        yield server


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url).close()  # noqa: S310  # a server of this run
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"The server at {url} did not start.")
