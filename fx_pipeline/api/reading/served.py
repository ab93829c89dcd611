"""The served database file, which may be replaced or removed while it is served.

SQLite keeps reading a renamed or deleted file without an error. `ServedFile` therefore compares the file at
the path with the one that was opened, and reopens connections when they differ.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from weakref import WeakSet

from fx_pipeline.api.errors import DATABASE_UNAVAILABLE, ApiError
from fx_pipeline.api.reading.commits import Commits
from fx_pipeline.api.reading.files import is_locked, open_file
from fx_pipeline.sqlite import sqlite3

logger = logging.getLogger(__name__)

TABLES = frozenset({"days", "fetches", "rates", "revisions", "symbols"})

CHECK_SECONDS = 1.0
"""How often the file at the path is checked."""

INDEX_BYTES = 32_768
"""The size of the log's index, in the smallest of databases."""

UNAVAILABLE = "The database cannot be read."

Version = tuple[int, bytes | int]
Identity = tuple[int, int]


class ServeError(Exception):
    """The API cannot start or continue. The message is one line that says why and what to do."""


class _FileState(NamedTuple):
    """The state of the files at one check: the database, its write-ahead log, the log's index."""

    database: Identity | None
    log: Identity | None
    shared: Identity | None
    has_index: bool
    """Whether the index has its size. On a full disk it does not, until a program can write to the file."""
    written: tuple[int, int]
    """Time of the last write to the database file, and its size."""
    checkpoints: bytes
    """The start of the index, which changes with each commit and checkpoint; empty without a log."""

    def equals(self, other: "_FileState") -> bool:
        """Return whether these are the same files, and only SQLite has written to the database."""
        return self[:4] == other[:4] and not self.was_overwritten_since(other)

    def was_overwritten_since(self, other: "_FileState") -> bool:
        """Return whether another program has written to the database: SQLite's writes change the index."""
        return self.written != other.written and self.checkpoints == other.checkpoints != b""

    def has_log_of(self, other: "_FileState") -> bool:
        """Return whether the database was replaced, but the log next to it belongs to the old one."""
        is_other = self.database != other.database or self.was_overwritten_since(other)
        return is_other and self.shared is not None and self.shared == other.shared


class ServedFile:
    """The current database file at `path`. For the event loop's thread, except for `HeldConnection`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.generation = 0
        """Changes when connections must be reopened."""
        self.problem: str | None = None
        """Why nothing can be served now, for the log; None if all is well."""
        self._commits: Commits | None = None
        self._state: _FileState | None = None
        self._next_check = 0.0
        self._held: WeakSet[HeldConnection] = WeakSet()

    def check(self) -> None:
        """Check whether the file was replaced, once per CHECK_SECONDS. Raise ApiError if it is unusable."""
        now = time.monotonic()
        # A program that starts to write to an immutable file must be noticed before the next read.
        if now >= self._next_check or (self._commits and self._commits.are_impossible):
            self._next_check = now + CHECK_SECONDS
            self._check_files()
        if self.problem is not None:
            raise ApiError(DATABASE_UNAVAILABLE, UNAVAILABLE)

    def check_again(self) -> None:
        """Check again now, after an error in reading. Raise ApiError if the file is unusable."""
        self._next_check = 0.0
        self.check()

    def version(self) -> Version | None:
        """Return a value that changes with each commit and replacement; None while it cannot be read."""
        try:
            self.check()
        except ApiError:
            return None
        if self._commits is None:
            return None
        try:
            return self.generation, self._commits.version()
        except sqlite3.OperationalError:
            return None

    def hold(self, connect: Callable[[], sqlite3.Connection]) -> "HeldConnection":
        """Return a connection to the file. `connect` opens it, and reopens it when the file was replaced."""
        held = HeldConnection(self, connect)
        self._held.add(held)
        return held

    def close(self) -> None:
        """Stop watching the file. All other connections of this process to it must be closed already."""
        if self._commits:
            self._commits.close()
            self._commits.release()

    def _check_files(self) -> None:
        now = _state_of(self.path, self._commits) if self._commits else None
        try:
            if now and self._commits and self._state and now.has_log_of(self._state):
                self._require_no_log(self._commits)
            if now and self._state and now.equals(self._state) and self.problem is None:
                self._state = now
            else:
                self._open()
        except sqlite3.Error as error:
            # A lock by another process says nothing about the file, so the state stays.
            if not is_locked(error):
                self._fail(f"{self.path} cannot be read as a database: {error}.")
        except (ServeError, OSError) as error:
            self._fail(str(error))

    def _require_no_log(self, commits: Commits) -> None:
        if commits.are_pending():
            log, shared = (f"{self.path.name}-{end}" for end in ("wal", "shm"))
            raise ServeError(
                f"{self.path} was replaced, but {log} next to it belongs to the previous file. "
                f"Stop all programs that write to the database, and remove {log} and {shared}."
            )

    def _open(self) -> None:
        _check(self.path, timeout=0)
        before, self._commits = self._commits, Commits(self.path)
        if before:
            before.close()
        self._state = _state_of(self.path, self._commits)
        if before and before.are_impossible:
            logger.warning("%s can be written again, or was replaced.", self.path)
        elif self.generation:
            logger.warning("%s was replaced by another file, which is now open.", self.path)
        self.generation, self.problem = self.generation + 1, None
        self._close_idle()

    def _fail(self, problem: str) -> None:
        if self.problem != problem:
            logger.error("All requests fail: %s", problem)
        self.problem = problem
        # Open connections would keep SQLite's locks on files that other processes remove or create.
        self.generation += 1
        self._close_idle()
        if self._commits:
            self._commits.close()

    def _close_idle(self) -> None:
        for held in self._held:
            held.close_if_idle()


class HeldConnection:
    """A connection to a `ServedFile` for one thread at a time. It is reopened when the file was replaced."""

    def __init__(self, file: ServedFile, connect: Callable[[], sqlite3.Connection]) -> None:
        self._file = file
        self._connect = connect
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._generation = 0

    @contextmanager
    def using(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection to the current file. Raise ApiError if the file is unusable."""
        with self._lock:
            if self._file.problem is not None:
                raise ApiError(DATABASE_UNAVAILABLE, UNAVAILABLE)
            if self._connection is not None and self._generation != self._file.generation:
                self._connection.close()
                self._connection = None
            if self._connection is None:
                self._generation = self._file.generation
                self._connection = self._connect()
            yield self._connection

    def close_if_idle(self) -> None:
        """Close a connection to an earlier file. If it is in use, the next `using` closes it."""
        if self._generation != self._file.generation and self._lock.acquire(blocking=False):
            try:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
            finally:
                self._lock.release()


def check_database(path: Path) -> None:
    """Raise ServeError unless `path` is a database of fx-pipeline."""
    try:
        _check(path, timeout=5)
    except sqlite3.Error as error:
        raise ServeError(
            f"{path} cannot be read as a database: {error}. Set FX_DATABASE to another file."
        ) from None


def _check(path: Path, timeout: float) -> None:
    if not path.is_file():
        raise ServeError(
            f"There is no database at {path}. `fx-pipeline ingest` creates it, or set FX_DATABASE."
        )
    connection, _ = open_file(path, timeout=timeout)
    with closing(connection):
        found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if not found >= TABLES:
        raise ServeError(
            f"{path} is a database, but not one of fx-pipeline: it has no table "
            f"{', '.join(sorted(TABLES - found))}. Set FX_DATABASE to another file."
        )


def _state_of(path: Path, commits: Commits) -> _FileState:
    checkpoints = commits.checkpoints()
    for _ in range(5):
        database, *others = (_stat(f"{os.path.realpath(path)}{end}") for end in ("", "-wal", "-shm"))
        before, checkpoints = checkpoints, commits.checkpoints()
        if before == checkpoints:
            # Otherwise a checkpoint ran meanwhile, and the file may have been seen before or after it.
            break
    log, shared = (_identity(found) for found in others)
    written = (database.st_mtime_ns, database.st_size) if database else (0, 0)
    has_index = others[1] is not None and others[1].st_size >= INDEX_BYTES
    return _FileState(_identity(database), log, shared, has_index, written, checkpoints)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116  # takes half the time of Path.stat
    except OSError:
        return None


def _identity(found: os.stat_result | None) -> Identity | None:
    return (found.st_dev, found.st_ino) if found else None
