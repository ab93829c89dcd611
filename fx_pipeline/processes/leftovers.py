"""End all processes of an `up`, however it ends. A mark in their environment identifies them.

Every process that `up` starts inherits the mark, and so do their children, including Dagster's runs, whatever
their parent, group or session. The mark is random, so no other process has it. If `up` is killed, a watchdog
ends them. If the watchdog is killed too, the next `up` does.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fx_pipeline.clock import utc_now
from fx_pipeline.processes.watchdog import GRACE_SECONDS, MARK, end
from fx_pipeline.settings import SettingsError
from fx_pipeline.small_files import read_document, replace_document


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
    replace_document(record, {"mark": mark, "pid": os.getpid(), "started": started})
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "fx_pipeline.processes.watchdog", mark, str(grace)],
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
    """Hold the home for one `up` or code server.

    Raise SettingsError if another one holds it, or it cannot be created.
    """
    message = (
        f"Another fx-pipeline up or code-server is using Dagster's home {home}. Stop it, or set DAGSTER_HOME "
        "to another folder."
    )
    with only_one(home, "up.lock", message):
        yield


DAEMON_LOCK = "daemon.lock"
"""The file in the home whose lock Dagster's daemon holds."""


@contextmanager
def only_one(home: Path, name: str, message: str) -> Iterator[None]:
    """Hold a lock in the home. Raise SettingsError with the message if another process holds it.

    The time of its file is when this began. Also raise SettingsError if the home cannot be written.
    """
    lock = FileLock(home / name, blocking=False)
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        (home / name).touch()
    except Timeout:
        raise SettingsError(message) from None
    except OSError as error:
        raise unusable(home, str(error)) from None
    try:
        yield
    finally:
        lock.release()


def unusable(home: Path, reason: str) -> SettingsError:
    """Return the error for a home that cannot be used."""
    return SettingsError(
        f"Dagster's home {home} cannot be used ({reason}). Check permissions and disk space, or set "
        "DAGSTER_HOME to another folder."
    )


def _end_recorded(record: Path, grace: float) -> Killed | None:
    try:
        known = read_document(record)
        mark, killed = str(known["mark"]), Killed(int(known["pid"]), str(known["started"]), [])
    except (OSError, ValueError, KeyError, TypeError):
        # It is gone, or was not on the disk when the power failed.
        record.unlink(missing_ok=True)
        return None
    killed.ended.extend(end(mark, grace))
    record.unlink(missing_ok=True)
    return killed


def _record(home: Path) -> Path:
    return home / "up.json"
