"""What a writer does for Litestream, which reads the write-ahead log (-wal) without SQLite.

Otherwise Litestream 0.5.17 leaves a damaged replica, without an error, in these cases:

- A commit writes its pages to the log, waits for the disk, and then enters them in the log's index (-shm). If
  its writer is killed in between while other processes have the file open, SQLite ignores the transaction,
  and the next one overwrites it. But Litestream has read it, and may miss the one that replaces it. So SQLite
  is made to take over such a transaction, as it does after a crash of the machine.
- While Litestream does not run, SQLite begins to write the log from its start, at 1,000 pages. Litestream
  misses what was at its end. So a replicated log may have more pages before that.

Litestream may also write to the log, for a checkpoint, after it has read the transaction of a killed writer.
So a commit that does not end leaves a mark, and `replicate` then makes Litestream begin with all of the file.

https://sqlite.org/walformat.html describes the files.
"""

import fcntl
import os
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path

from fx_pipeline.sqlite import sqlite3

REPLICATED_PAGES = 100_000
"""Pages in a replicated log after which SQLite may write it from its start: 400 MB. While Litestream runs, it
sees to that at 1,000 pages."""

_MARK = "-commit-"
"""Between the name of a database and the rest of the name of a mark."""

_LOCKED_WITHIN = 1.0
"""Seconds. An unlocked mark that is older was left by a commit that did not end."""

_HEADER = 48
"""Bytes of the header of the index, which follows once more. A difference makes SQLite read the log again."""

_LOG_HEADER, _FRAME_HEADER = 32, 24

_open: dict[tuple[int, int], int] = {}
"""Descriptors of indexes, by device and inode. Closing one would release this process' locks on it."""


@contextmanager
def written(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """Run the block in a transaction that no other one can overlap, and commit it. Raise sqlite3.Error."""
    try:
        # Inside the try: an interrupt may follow directly.
        is_replicated = _begin(connection, path)
        yield
        with _marked(path) if is_replicated else nullcontext():
            connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def take_over_unindexed(path: Path) -> None:
    """Let SQLite take over the transaction of a killed writer, if there is one. Raise sqlite3.Error."""
    if has_unindexed(path):
        with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
            _begin(connection, path)
            connection.execute("ROLLBACK")


def cut_commits(path: Path) -> Sequence[Path]:
    """Return the marks of commits that did not end: their writer was killed, or the disk failed."""
    path = Path(os.path.realpath(path))
    return [mark for mark in path.parent.glob(f"{path.name}{_MARK}*") if _is_left(mark)]


def empty_log(path: Path) -> bool:
    """Empty the log while Litestream does not run, so that it begins with all of the file.

    Return False if a reader or a writer is in the way. Remove the marks of commits that did not end.
    """
    if not path.exists():
        return True
    marks = cut_commits(path)
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=1)) as connection:
            _begin(connection, path)
            connection.execute("ROLLBACK")
            [is_busy, *_] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    if not is_busy:
        for mark in marks:
            mark.unlink(missing_ok=True)
    return not is_busy


def _begin(connection: sqlite3.Connection, path: Path) -> bool:
    """Begin a transaction that no other one can overlap. Return whether Litestream replicates the file."""
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_litestream_seq'").fetchone():
        return False
    connection.execute(f"PRAGMA wal_autocheckpoint = {REPLICATED_PAGES}")
    if has_unindexed(path):
        index = _index_of(path)
        [byte] = os.pread(index, 1, _HEADER)
        os.pwrite(index, bytes([byte ^ 0xFF]), _HEADER)
        connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")
    return True


@contextmanager
def _marked(path: Path) -> Iterator[None]:
    """Keep a locked file next to the database during the block. If that does not end well, leave it."""
    path = Path(os.path.realpath(path))
    try:
        mark, name = tempfile.mkstemp(prefix=f"{path.name}{_MARK}", dir=path.parent)
    except OSError:  # no space: the commit fails as well, or there is no mark
        yield
        return
    try:
        fcntl.flock(mark, fcntl.LOCK_EX)
        yield
        os.unlink(name)  # noqa: PTH108
    finally:
        os.close(mark)


def _is_left(mark: Path) -> bool:
    with suppress(OSError), mark.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(file.fileno())
        return found.st_nlink > 0 and time.time() - found.st_mtime > _LOCKED_WITHIN
    return False


def has_unindexed(path: Path) -> bool:
    """Return whether the log has pages after those that its index has.

    Without the lock of a writer, the answer can be outdated.
    """
    with suppress(FileNotFoundError):
        header = os.pread(_index_of(path), _HEADER, 0)
        with Path(f"{os.path.realpath(path)}-wal").open("rb", buffering=0) as log:
            log_header = log.read(_LOG_HEADER)
            if len(header) < _HEADER or len(log_header) < _LOG_HEADER:
                return False
            size, indexed = struct.unpack_from("=HI", header, 14)
            salts = log_header[16:24]
            # With other salts, the killed writer had begun to write the log from its start.
            pages = indexed if header[32:40] == salts else 0
            log.seek(_LOG_HEADER + pages * (_FRAME_HEADER + (65536 if size == 1 else size)))
            return log.read(_FRAME_HEADER)[8:16] == salts
    return False


def _index_of(path: Path) -> int:
    """Return the open index of the log. Raise FileNotFoundError if there is none."""
    name = f"{os.path.realpath(path)}-shm"
    found = os.stat(name)  # noqa: PTH116
    key = found.st_dev, found.st_ino
    if key not in _open:
        _open[key] = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    return _open[key]
