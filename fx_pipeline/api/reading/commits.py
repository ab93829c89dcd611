"""Whether anything was committed to a database, as it is asked on every request.

SQLite keeps a header in memory that all processes with the same write-ahead log share: in the file beside the
database whose name ends in ``-shm``. Every commit changes it (its documentation, "WAL-mode File Format",
2.1). ``PRAGMA data_version`` compares these very bytes, but takes ten times as long to say so.
"""

import os
import sqlite3
from pathlib import Path
from typing import Literal

_HEADERS = 96
"""Bytes: the header stands there twice, so that a reader can tell when one is just being written."""
_WITH_CHECKPOINTS = 136
"""Bytes of the headers and of what stands behind them: how much of the log is in the database already."""
_FORMAT = (3_007_000).to_bytes(4, "little"), (3_007_000).to_bytes(4, "big")


class Commits:
    """The commits to the database at `path`, by any process. For one thread.

    Raises sqlite3.OperationalError, without waiting, where another process has locked the file.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False, timeout=0
        )
        self._data_version()  # the first reading opens the log, and with it the shared header
        self._descriptor = self._shared_header(path)

    def close(self) -> None:
        """Stop watching."""
        self._connection.close()

    def version(self) -> bytes | int:
        """What is another value after each commit, and the same one until then."""
        if self._descriptor is None:
            return self._data_version()
        return os.pread(self._descriptor, _HEADERS, 0)

    def checkpoints(self) -> bytes:
        """What changes with each commit and checkpoint; empty where there is no log."""
        return os.pread(self._descriptor, _WITH_CHECKPOINTS, 0) if self._descriptor is not None else b""

    def are_pending(self) -> bool:
        """Whether part of the log is not in the database file yet."""
        header = self.checkpoints()
        if not header:
            return False
        order: Literal["little", "big"] = "little" if header[:4] == _FORMAT[0] else "big"
        in_log, in_database = (int.from_bytes(header[at : at + 4], order) for at in (16, 96))
        return in_log != in_database

    def release(self) -> None:
        """Close the shared header too. Every connection of this process to the file must be closed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _shared_header(self, path: Path) -> int | None:
        """The open file with the header; None where there is none, or not in the format that is known.

        It is there for as long as `_connection` is open, and is never closed: with any descriptor of a file
        a process gives up all its locks on it, SQLite's too (POSIX, "fcntl").
        """
        try:
            descriptor = os.open(f"{os.path.realpath(path)}-shm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        return descriptor if os.pread(descriptor, 4, 0) in _FORMAT else None

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)
