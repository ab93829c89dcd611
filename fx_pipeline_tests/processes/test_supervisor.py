"""Servers end with the program that started them: on signals, without a reader of its output, when killed.

The servers are small programs. One has a child in a session of its own that ignores every signal it can, as
the worst of a grandchild.
"""

import json
import os
import pty
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
import pytest

from fx_pipeline.processes.leftovers import Killed, end_killed, held
from fx_pipeline.processes.watchdog import MARK
from fx_pipeline.settings import SettingsError
from fx_pipeline_tests.waiting import PATIENCE, wait_for

STUBBORN = """
import os, signal, time
os.setsid()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
while True:
    time.sleep(60)
"""

SERVER = f"""
import pathlib, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {STUBBORN!r}])
for number in range(10**9):
    print("line", number, "x" * 500, flush=True)
    pathlib.Path("beats").write_text(str(number))
    time.sleep(0.01)
"""

PROGRAM = f"""
import os, sys
from pathlib import Path
from fx_pipeline.processes.leftovers import watched
from fx_pipeline.processes.supervisor import Output, Supervisor
with watched(Path.cwd(), grace=0.3) as mark:
    supervisor = Supervisor({{**os.environ, **mark}}, Output(sys.stdout))
    supervisor.start("api", [sys.executable, "-c", {SERVER!r}])
    code = supervisor.wait()
sys.exit(code)
"""

KEPT = PROGRAM.replace("    code =", """    supervisor.keep("code", ["sleep", "600"])\n    code =""", 1)
"""The program with one more server, which is started again."""

HEARS_HANGUPS = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
"""Under `nohup` the tests ignore SIGHUP, and the program would inherit that."""

TEST = "FX_TEST_OF_SUPERVISOR"


class Running:
    """The program and its descendants, in their own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.id = secrets.token_hex(8)
        self.process: subprocess.Popen[bytes]

    def start(self, stdout: int | IO[bytes], before: str = "", program: str = PROGRAM) -> None:
        with (self.folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", HEARS_HANGUPS + before + program],
                cwd=self.folder,
                env={**os.environ, TEST: self.id},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=errors,
                start_new_session=True,
            )

    def alive(self) -> dict[int, str]:
        """Return the program and all its descendants."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(TEST) == self.id and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def beats(self) -> int:
        """Return the server's last line."""
        with suppress(FileNotFoundError, ValueError):
            return int((self.folder / "beats").read_text())
        return -1

    def wait_until_all_run(self) -> None:
        """Wait for the program, its watchdog, the server and its stubborn child."""
        wait_for(self.alive, lambda alive: len(alive) == 4)
        wait_for(self.beats, lambda beats: beats > 3)

    def wait_for_more_beats(self) -> None:
        seen = self.beats()
        wait_for(self.beats, lambda beats: beats > seen + 3)

    def pid_of(self, part: str) -> int:
        [pid] = [pid for pid, command in self.alive().items() if part in command and pid != self.process.pid]
        return pid


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    one = Running(tmp_path)
    yield one
    for pid in one.alive():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    one.process.wait()


def assert_ended(running: Running, code: int = 0) -> None:
    assert running.process.wait(PATIENCE) == code, (running.folder / "errors").read_text()
    assert running.alive() == {}
    assert not (running.folder / "up.json").exists()
    assert (running.folder / "errors").read_text() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(running: Running, number: signal.Signals) -> None:
    with (running.folder / "log").open("wb") as log:
        running.start(log)
    running.wait_until_all_run()
    running.process.send_signal(number)
    assert_ended(running)
    lines = (running.folder / "log").read_text().splitlines()
    assert [line.partition(" system  | ")[2] for line in lines if " system " in line][1:] == [
        f"{number.name} received",
        *[line.partition(" system  | ")[2] for line in lines if "sending" in line],
        "api stopped (rc=-15)",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_broken_pipe_stops_nothing_but_a_signal_does(running: Running, number: signal.Signals) -> None:
    """As with `up | head`, or `up | tee log` if Ctrl-C ends tee first."""
    reader, writer = os.pipe()
    running.start(writer)
    os.close(writer)
    running.wait_until_all_run()
    os.close(reader)
    running.wait_for_more_beats()
    running.process.send_signal(number)
    assert_ended(running)


def test_a_stalled_reader_does_not_delay_the_end(running: Running) -> None:
    """As with `up | less`, or a terminal stopped by Ctrl-S."""
    reader, writer = os.pipe()
    running.start(writer)
    running.wait_until_all_run()
    wait_for(lambda: select.select([], [writer], [], 0)[1], lambda writable: writable == [])
    running.process.terminate()
    assert_ended(running)
    os.close(reader)
    os.close(writer)


def test_a_non_blocking_pipe_loses_no_line(running: Running) -> None:
    """Another process with the same pipe or terminal may have set this mode."""
    reader, writer = os.pipe()
    running.start(writer)
    os.set_blocking(writer, False)
    os.close(writer)
    running.wait_until_all_run()
    with open(reader, "rb") as lines:  # noqa: PTH123  # a descriptor
        read = [lines.readline() for _ in range(300)]
        numbers = [int(line.split()[4]) for line in read if b"| line" in line]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 200
        running.process.terminate()
        assert_ended(running)


def test_closing_the_terminal_ends_everything(running: Running) -> None:
    terminal, end = pty.openpty()
    # As the session leader, which the kernel sends SIGHUP.
    adopt = "import fcntl, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0)\n"
    running.start(end, adopt)
    os.close(end)
    running.wait_until_all_run()
    os.close(terminal)
    assert_ended(running)


def test_it_runs_and_ends_without_output(running: Running) -> None:
    running.start(subprocess.DEVNULL, "import os, sys; os.close(1); sys.stdout = None\n")
    running.wait_until_all_run()
    running.process.terminate()
    assert_ended(running)


def test_a_full_disk_stops_nothing(running: Running) -> None:
    with Path("/dev/full").open("wb") as full:
        running.start(full)
    running.wait_until_all_run()
    running.wait_for_more_beats()
    running.process.terminate()
    assert_ended(running)


def test_an_ignored_hangup_stays_ignored(running: Running) -> None:
    """As under `nohup`."""
    ignore = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    running.start(subprocess.DEVNULL, ignore)
    running.wait_until_all_run()
    running.process.send_signal(signal.SIGHUP)
    running.wait_for_more_beats()
    running.process.terminate()
    assert_ended(running)


def test_a_server_that_ends_ends_everything(running: Running) -> None:
    running.start(subprocess.DEVNULL)
    running.wait_until_all_run()
    os.kill(running.pid_of("range(10**9)"), signal.SIGKILL)
    assert_ended(running, code=1)


def test_a_kept_server_is_started_again_until_everything_ends(running: Running) -> None:
    with (running.folder / "log").open("wb") as log:
        running.start(log, program=KEPT)
    wait_for(running.alive, lambda alive: "sleep 600" in alive.values())
    first = running.pid_of("sleep 600")
    os.kill(first, signal.SIGKILL)
    wait_for(running.alive, lambda alive: first not in alive and "sleep 600" in alive.values())
    second = running.pid_of("sleep 600")
    running.process.terminate()
    assert_ended(running)
    lines = [line.partition(" | ")[2].strip() for line in (running.folder / "log").read_text().splitlines()]
    assert [line for line in lines if line.startswith("code ")] == [
        f"code started (pid={first})",
        "code stopped (rc=-9)",
        f"code started (pid={second})",
        "code stopped (rc=-15)",
    ]


def test_a_kept_server_that_ends_in_order_is_started_again_without_a_pause(
    running: Running,
) -> None:
    """As the code server does for a reload in the UI. A pause would outlast the patience of the test."""
    ends = "import pathlib, sys, time; again = pathlib.Path('again'); seen = again.exists(); again.touch()"
    ends += "; time.sleep(600 if seen else 0)"
    program = KEPT.replace('["sleep", "600"]', f'[sys.executable, "-c", {ends!r}]')
    slow = "from fx_pipeline.processes import supervisor; supervisor.PAUSE_SECONDS = 600.0\n"
    with (running.folder / "log").open("wb") as log:
        running.start(log, slow, program)
    wait_for((running.folder / "log").read_text, lambda log: log.count("code started") == 2)
    running.process.terminate()
    assert_ended(running)
    assert "code stopped (rc=0)" in (running.folder / "log").read_text()


def test_the_watchdog_ends_the_processes_of_a_killed_program(running: Running) -> None:
    running.start(subprocess.DEVNULL)
    running.wait_until_all_run()
    running.process.kill()
    running.process.wait()
    wait_for(running.alive, lambda alive: alive == {})
    killed = end_killed(running.folder)
    assert killed is not None
    assert (killed.pid, killed.ended) == (running.process.pid, [])
    assert end_killed(running.folder) is None


def test_the_next_start_ends_the_processes_after_the_watchdog_was_killed_too(running: Running) -> None:
    running.start(subprocess.DEVNULL)
    running.wait_until_all_run()
    started = json.loads((running.folder / "up.json").read_text())["started"]
    watchdog = running.pid_of("fx_pipeline.processes.watchdog")
    # First, so that it does not notice the other's end.
    os.kill(watchdog, signal.SIGKILL)
    running.process.kill()
    running.process.wait()
    # The server ends when it writes to the broken pipe. Its child stays.
    wait_for(running.alive, lambda alive: len(alive) == 1)
    left = list(running.alive().values())
    killed = end_killed(running.folder, grace=0.3)
    assert killed is not None
    assert killed == Killed(running.process.pid, started, left)
    assert running.alive() == {}


def test_other_processes_are_not_ended(tmp_path: Path) -> None:
    """Neither the process id in the record nor another mark is enough."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: "another"}
    ) as other:
        started = "2026-03-10T00:00:00+00:00"
        record = {"mark": "mark", "pid": other.pid, "started": started}
        (tmp_path / "up.json").write_text(json.dumps(record))
        assert end_killed(tmp_path) == Killed(other.pid, started, [])
        assert other.poll() is None
        other.kill()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"mark": "x"}', '{"mark": "x", "pid": "y", "started": 1}']
)
def test_an_unreadable_record_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "up.json").write_text(text)
    assert end_killed(tmp_path) is None
    assert not (tmp_path / "up.json").exists()


def test_the_processes_of_a_running_program_are_not_ended(tmp_path: Path) -> None:
    record = tmp_path / "up.json"
    record.write_text('{"mark": "mark", "pid": 1, "started": "2026-03-10T00:00:00+00:00"}')
    message = "Another fx-pipeline up or code-server is using Dagster's home"
    with held(tmp_path), pytest.raises(SettingsError, match=message):
        end_killed(tmp_path)
    assert record.exists()
