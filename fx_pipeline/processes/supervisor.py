"""Run several servers with a common output, and stop them all on a signal or when one of them ends.

A server that others can wait for is started again instead.

A closed terminal or a broken pipe loses lines of output, but stops nothing.
"""

import datetime as dt
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from types import FrameType
from typing import TextIO

import click

from fx_pipeline.logs import as_json, is_json
from fx_pipeline.processes.ending import FINAL
from fx_pipeline.processes.watchdog import GRACE_SECONDS

COLOURS = ("cyan", "yellow", "green", "magenta", "blue", "bright_cyan")
NAME_WIDTH = 7
"""Length of the longest name."""

PAUSE_SECONDS = 1.0
"""How long after a crash a server is started again. The pause doubles each time."""

MAX_PAUSE_SECONDS = 60.0

STEADY_SECONDS = 60.0
"""After running for this long, a server that ends is started again after the first, short pause."""

PIPE_BUF = 4096
"""Bytes that a writable pipe accepts without blocking (POSIX)."""


class Output:
    """One stream for the lines of all servers, each with a time and a name.

    In JSON, the name is the field `process` of each document.
    """

    def __init__(self, stream: TextIO | None) -> None:
        # Standard output is None if it was closed before the start.
        self._descriptor = stream.fileno() if stream else None
        self._is_coloured = stream is not None and stream.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, str] = {}
        self._lock = Lock()
        self.wait = True
        """Whether to wait for a slow reader. Otherwise lines that it does not read are lost."""

    def line(self, name: str, text: str) -> None:
        """Write one or more lines of the server with that name."""
        if is_json():
            lines = (
                as_json(line, logger="fx_pipeline.up", process=name) for line in text.splitlines() if line
            )
            with self._lock:
                self._write("".join(f"{line}\n" for line in lines).encode())
            return
        now = dt.datetime.now().strftime("%H:%M:%S")  # noqa: DTZ005  # for the person at the terminal
        prefix = f"{now} {name:<{NAME_WIDTH}} | "
        with self._lock:
            if self._is_coloured and name != "system":
                colour = self._colours.setdefault(name, COLOURS[len(self._colours) % len(COLOURS)])
                prefix = click.style(prefix, fg=colour)
            self._write("".join(f"{prefix}{line}\n" for line in text.splitlines()).encode())

    def _write(self, data: bytes) -> None:
        try:
            while data and self._descriptor is not None:
                _, is_writable, _ = select.select([], [self._descriptor], [], 0.2)
                if is_writable:
                    with suppress(BlockingIOError):
                        data = data[os.write(self._descriptor, data[:PIPE_BUF]) :]
                elif not self.wait:
                    return
        except (OSError, ValueError):
            # No reader (EPIPE), no terminal (EIO) or a full disk: continue without output.
            self._descriptor = None


class Supervisor:
    """Starts servers, each in its own process group, and stops all of them when one ends.

    Only those started by `keep` are started again instead. SIGINT, SIGTERM and SIGHUP stop all too.
    `crashed` is called with the name of a server that ended by itself. Create it in the main thread.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        output: Output,
        crashed: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.output = output
        self._crashed = crashed
        self.stopping = Event()
        self._environment = dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[Thread] = []
        self._lock = Lock()
        self._ends: SimpleQueue[int] = SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under `nohup`, SIGHUP is ignored and stays ignored.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def start(self, name: str, command: Sequence[str], cwd: Path | None = None) -> None:
        """Start a server. When it ends, all servers are stopped."""
        process = self._popen(name, command, cwd)
        if process is not None:
            self._say(f"{name} started (pid={process.pid})")
            waiter = Thread(target=self._wait_for, args=(name, process), daemon=True)
            waiter.start()
            self._threads.append(waiter)

    def keep(self, name: str, command: Sequence[str], cwd: Path | None = None) -> None:
        """Start a server. When it ends, start it again, or stop everything if its exit code is `FINAL`."""
        keeper = Thread(target=self._keep, args=(name, command, cwd), daemon=True)
        keeper.start()
        self._threads.append(keeper)

    def run(self, name: str, command: Sequence[str]) -> int:
        """Run a command while the servers run. Return its exit code."""
        process = self._popen(name, command)
        if process is None:
            return 1
        code = process.wait()
        with self._lock:
            self._running.pop(name, None)
        return code

    def end(self, code: int) -> None:
        """Let `wait` stop everything and return this code, or 1 for any other than 0 and `FINAL`."""
        self._ends.put(code)

    def wait(self) -> int:
        """Wait until a server ends or a signal arrives, then stop everything. Return an exit code."""
        code = self._ends.get()
        # A slow reader of the output must not delay the shutdown.
        self.output.wait = False
        with self._lock:
            self.stopping.set()
            running = dict(self._running)
        for name, process in running.items():
            self._signal(signal.SIGTERM, name, process)
        deadline = time.monotonic() + GRACE_SECONDS
        for name, process in running.items():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL, name, process)
                process.wait()
        for thread in self._threads:
            thread.join()
        return code if code in (0, FINAL) else 1

    def _popen(
        self, name: str, command: Sequence[str], cwd: Path | None = None
    ) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self.stopping.is_set():
                return None
            process = self._running[name] = subprocess.Popen(
                command,
                cwd=cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Not joined: a process that outlives the server and holds its output is ended later.
        Thread(target=self._read, args=(name, process), daemon=True).start()
        return process

    def _read(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        with process.stdout:
            for line in process.stdout:
                self.output.line(name, line.decode(errors="replace"))

    def _wait_for(self, name: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        self._say(f"{name} stopped (rc={code})")
        if code not in (0, FINAL) and not self.stopping.is_set():
            self._crashed(name)
        self._ends.put(code)

    def _keep(self, name: str, command: Sequence[str], cwd: Path | None) -> None:
        pause = PAUSE_SECONDS
        while (process := self._popen(name, command, cwd)) is not None:
            self._say(f"{name} started (pid={process.pid})")
            started = time.monotonic()
            code = process.wait()
            self._say(f"{name} stopped (rc={code})")
            if code == FINAL:
                self._ends.put(code)
                return
            if code == 0:
                # It was asked to end, to be started with changed code: no crash.
                continue
            if not self.stopping.is_set():
                self._crashed(name)
            if time.monotonic() - started > STEADY_SECONDS:
                pause = PAUSE_SECONDS
            if self.stopping.wait(pause):
                return
            pause = min(2 * pause, MAX_PAUSE_SECONDS)

    def _signal(self, number: signal.Signals, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            self._say(f"sending {number.name} to {name} (pid {process.pid})")
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # In a thread, because this handler may have interrupted the printing of a line.
        received = f"{signal.Signals(number).name} received"
        Thread(target=self._say, args=(received,), daemon=True).start()
        self._ends.put(0)

    def _say(self, text: str) -> None:
        self.output.line("system", text)
