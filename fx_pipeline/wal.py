"""What a writer does for Litestream, which reads the write-ahead log (-wal) without SQLite.

Otherwise Litestream 0.5.17 leaves a damaged replica, without an error, in two cases. Trials with kill -9
showed both of them:

- A commit writes its pages to the log, waits for the disk, and then enters them in the log's index (-shm). If
  its writer is killed in between while other processes have the file open, SQLite ignores the transaction,
  and the next one overwrites it. But Litestream has read it, and may miss the one that replaces it. So SQLite
  is made to take over such a transaction, as it does after a crash of the machine.
- While Litestream does not run, SQLite begins to write the log from its start, at 1,000 pages. Litestream
  misses what was at its end. So a replicated log may have more pages before that.

https://sqlite.org/walformat.html describes the files.
"""

import os
import struct
from contextlib import suppress
from pathlib import Path

from fx_pipeline.sqlite import sqlite3

REPLICATED_PAGES = 100_000
"""Pages in a replicated log after which SQLite may write it from its start: 400 MB. While Litestream runs, it
sees to that at 1,000 pages."""

_HEADER = 48
"""Bytes of the header of the index, which follows once more. A difference makes SQLite read the log again."""

_LOG_HEADER, _FRAME_HEADER = 32, 24

_open: dict[tuple[int, int], int] = {}
"""Descriptors of indexes, by device and inode. Closing one would release this process' locks on it."""


def begin_write(connection: sqlite3.Connection, path: Path) -> None:
    """Begin a transaction that no other one can overlap. Raise sqlite3.Error."""
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_litestream_seq'").fetchone():
        return
    connection.execute(f"PRAGMA wal_autocheckpoint = {REPLICATED_PAGES}")
    if has_unindexed(path):
        index = _index_of(path)
        [byte] = os.pread(index, 1, _HEADER)
        os.pwrite(index, bytes([byte ^ 0xFF]), _HEADER)
        connection.execute("ROLLBACK")
        connection.execute("BEGIN IMMEDIATE")


def take_over_unindexed(path: Path) -> None:
    """Let SQLite take over the transaction of a killed writer, if there is one. Raise sqlite3.Error."""
    if has_unindexed(path):
        connection = sqlite3.connect(path, isolation_level=None, timeout=1)
        try:
            begin_write(connection, path)
            connection.execute("ROLLBACK")
        finally:
            connection.close()


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
