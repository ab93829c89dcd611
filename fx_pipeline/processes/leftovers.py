"""The processes of one `up`, known by a mark in their environment, and ended with it however it ends.

Every process that `up` starts inherits the mark, and so does every process that these start: a run of Dagster
too, whatever its parent, group or session. The mark is random, so nothing else can carry it. A watchdog ends
them when `up` is killed; where the watchdog was killed too, the next `up` does.
"""

import datetime as dt
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

from fx_pipeline.settings import SettingsError

MARK = "FX_PIPELINE_UP"
"""The environment variable with the mark."""

GRACE_SECONDS = 8.0
"""How long a process may take to end before it is killed."""

ROUNDS = 5

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


def marked(mark: str) -> list[psutil.Process]:
    """Return every running process with the mark, but this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(*_GONE):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(mark: str, grace: float = GRACE_SECONDS) -> list[str]:
    """End every process with the mark, by force after `grace` seconds. Return their command lines."""
    ended: dict[int, str] = {}
    # More than once: one of them may have started another meanwhile.
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
    """An `up` that did not end by itself: its process, its start (UTC), and what was left of it."""

    pid: int
    started: str
    ended: list[str]


@contextmanager
def watched(home: Path, *, grace: float = GRACE_SECONDS) -> Iterator[Mapping[str, str]]:
    """Yield the environment variables that mark the processes of this `up`; end these with the block.

    They are ended too when this process is killed, by force after `grace` seconds. `home` keeps a record for
    the next `up`.
    """
    mark, record = secrets.token_hex(16), _record(home)
    started = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    record.write_text(json.dumps({"mark": mark, "pid": os.getpid(), "started": started}), encoding="utf-8")
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "fx_pipeline.processes.leftovers", mark, str(grace)],
        env={**os.environ, MARK: mark},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # away from the terminal, whose Ctrl-C and end it must outlive
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
    """End what is left of an earlier `up` that was killed; None if none was.

    Raises SettingsError where another `up` is running in this home.
    """
    record = _record(home)
    if not record.exists():
        return None
    with held(home):
        return _end_recorded(record, grace)


@contextmanager
def held(home: Path) -> Iterator[None]:
    """Hold the home for one `up`. Raises SettingsError where another one holds it."""
    lock = FileLock(home / "up.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(
            f"Another fx-pipeline up uses Dagster's home {home}: stop it, or set DAGSTER_HOME to another "
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
        # It was being written when the power went.
        record.unlink(missing_ok=True)
        return None
    killed.ended.extend(end(mark, grace))
    record.unlink(missing_ok=True)
    return killed


def _record(home: Path) -> Path:
    return home / "up.json"


def main() -> None:
    """Wait for the end of the process that holds the other end of standard input; then end what is left."""
    mark, grace = sys.argv[1], float(sys.argv[2])
    sys.stdin.buffer.read()
    end(mark, grace)


if __name__ == "__main__":
    main()
