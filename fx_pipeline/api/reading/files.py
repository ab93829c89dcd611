"""Connections that only read a database file, also if the disk is full or cannot be written.

A file in WAL mode has an index next to it, whose name ends in ``-shm``. The first connection creates it,
which needs 32 kB. If that fails and no commit waits in the log, the file itself has everything. SQLite then
reads it as immutable: without an index and without locks.
"""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fx_pipeline.sqlite import sqlite3


def is_locked(error: sqlite3.Error) -> bool:
    """Return whether another connection has locked the file."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def open_file(
    path: Path, *, timeout: float = 5.0, any_thread: bool = False
) -> tuple[sqlite3.Connection, bool]:
    """Open a database file for reading. Return the connection, and whether it reads the file as immutable.

    Such a connection must be closed when a program opens the file for writing. Raise sqlite3.Error.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"

    def opened(uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, timeout=timeout, check_same_thread=not any_thread)
        try:
            # Opens the log, if there is one.
            connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    try:
        return opened(uri), False
    except sqlite3.OperationalError as error:
        if is_locked(error) or not _has_everything(path):
            raise
        return opened(f"{uri}&immutable=1"), True


@contextmanager
def one_commit(path: Path, *, timeout: float = 5.0) -> Iterator[sqlite3.Connection]:
    """Yield a connection that reads the newest commit, and no later one. Raise sqlite3.Error."""
    connection, _ = open_file(path, timeout=timeout)
    with closing(connection):
        connection.isolation_level = None
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # BEGIN itself reads nothing
        yield connection


def _has_everything(path: Path) -> bool:
    """Return whether the file has content, and neither its log nor a journal has to be applied to it."""
    real = os.path.realpath(path)
    try:
        return _size(real) > 0 and _size(f"{real}-wal") == 0 and _size(f"{real}-journal") == 0
    except OSError:
        return False


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        return 0
