"""End all processes of an `up`, however it ends. A mark in their environment identifies them.

Every process that `up` starts inherits the mark, and so do their children, including Dagster's runs, whatever
their parent, group or session. The mark is random, so no other process has it. If `up` is killed, a watchdog
ends them. If the watchdog is killed too, the next `up` does.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from fx_pipeline.clock import utc_now
from fx_pipeline.settings import SettingsError

MARK = "FX_PIPELINE_UP"
"""The environment variable that holds the mark."""

GRACE_SECONDS = 8.0
"""How long a process may take to end before it is killed."""

ROUNDS = 5

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


def marked(mark: str) -> list[psutil.Process]:
    """Return every running process with the mark, except this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(*_GONE):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(mark: str, grace: float = GRACE_SECONDS) -> list[str]:
    """End every process with the mark, by force after `grace` seconds. Return their command lines."""
    ended: dict[int, str] = {}
    # Several rounds, because one of them may have started another one.
    for _ in range(ROUNDS):
        processes = marked(mark)
        if not processes:
            break
        for process in processes:
            with suppress(*_GONE):
                ended.setdefault(process.pid, " ".join(process.cmdline()))
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=grace)
        for process in alive:
            with suppress(*_GONE):
                process.kill()
        psutil.wait_procs(alive, timeout=grace)
    return list(ended.values())


@dataclass(frozen=True, slots=True)
class Killed:
    """An `up` that was killed: its process id, its start (UTC), and its processes that were still running."""

    pid: int
    started: str
    ended: list[str]


@contextmanager
def watched(home: Path, *, grace: float = GRACE_SECONDS) -> Iterator[Mapping[str, str]]:
    """Yield the environment variables that mark the processes of this `up`. End them with the block.

    A watchdog ends them if this process is killed, by force after `grace` seconds. A record in `home` lets
    the next `up` end them.
    """
    mark, record = secrets.token_hex(16), _record(home)
    started = utc_now().isoformat(timespec="seconds")
    record.write_text(json.dumps({"mark": mark, "pid": os.getpid(), "started": started}), encoding="utf-8")
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "fx_pipeline.processes.leftovers", mark, str(grace)],
        env={**os.environ, MARK: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it must survive Ctrl-C and the end of the terminal
    )
    try:
        yield {MARK: mark}
    finally:
        assert watchdog.stdin is not None  # noqa: S101  # it is a pipe
        watchdog.stdin.close()
        watchdog.wait()
        end(mark, grace)
        record.unlink(missing_ok=True)


def end_killed(home: Path, grace: float = GRACE_SECONDS) -> Killed | None:
    """End the processes of an earlier `up` that was killed, and return it, or None.

    Raise SettingsError if another `up` is running in this home.
    """
    record = _record(home)
    if not record.exists():
        return None
    with held(home):
        return _end_recorded(record, grace)


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Hold the home for one `up`. Raise SettingsError if another one holds it."""
    lock = FileLock(home / "up.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(
            f"Another fx-pipeline up is using Dagster's home {home}. Stop it, or set DAGSTER_HOME to another "
            "folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _end_recorded(record: Path, grace: float) -> Killed | None:
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
        mark, killed = str(known["mark"]), Killed(int(known["pid"]), str(known["started"]), [])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # The power failed while it was written.
        record.unlink(missing_ok=True)
        return None
    killed.ended.extend(end(mark, grace))
    record.unlink(missing_ok=True)
    return killed


def _record(home: Path) -> Path:
    return home / "up.json"


def main() -> None:
    """Wait until the process at the other end of standard input ends, then end all with the mark."""
    mark, grace = sys.argv[1], float(sys.argv[2])
    sys.stdin.buffer.read()
    end(mark, grace)


if __name__ == "__main__":
    main()
