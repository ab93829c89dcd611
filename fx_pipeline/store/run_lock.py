"""Shows which processes that execute a run are still running. Dagster's storage may be shared by many hosts.

The process of a run holds a locked file in a folder next to the database. The operating system releases the
lock when the process ends, for whatever reason, and the file remains. SQLite's WAL mode works only on one
machine, so every file in this folder belongs to a process of this machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fx_pipeline.store.database import StoreError

_held: dict[Path, FileLock] = {}
"""The lock that this process holds."""


def lock_files(folder: Path) -> list[Path]:
    """Return the files of runs in a folder, whether locked or not."""
    return list(folder.glob("*-*-*-*-*.lock"))


def folder_of(database: Path) -> Path:
    """Return the folder with the locks of the runs that write to this database."""
    return database.with_name(f"{database.name}-runs")


def hold(database: Path, run_id: str) -> None:
    """Hold the lock of a run until this process ends or executes another run.

    Only for the process that executes the whole run. Raise OSError if the file cannot be created.
    """
    file = folder_of(database) / f"{run_id}.lock"
    if file in _held:
        return
    while _held:
        _held.popitem()[1].release()
    file.parent.mkdir(parents=True, exist_ok=True)
    # Another process must never see the file without its lock: it would report the run as failed.
    new = file.with_suffix(".new")
    lock = FileLock(new, blocking=False, thread_local=False)
    lock.acquire()
    new.replace(file)
    _held[file] = lock


@contextmanager
def held(database: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run that this process reports as ended, and remove its file. Raise StoreError."""
    try:
        hold(database, run_id)
    except OSError as error:
        raise StoreError(
            f"{folder_of(database)} cannot be written ({error.strerror or error}). Fix its permissions "
            "or free disk space."
        ) from None
    try:
        yield
    finally:
        file = folder_of(database) / f"{run_id}.lock"
        file.unlink(missing_ok=True)
        if lock := _held.pop(file, None):
            lock.release()


@contextmanager
def taken(file: Path) -> Iterator[bool]:
    """Take the lock of a run if its process has ended, and yield whether it has.

    Yield False if that is unknown, as on a file system without locks.
    """
    lock = FileLock(file, blocking=False)
    with suppress(Timeout, OSError):
        lock.acquire()
    try:
        yield lock.is_locked
    finally:
        lock.release()
