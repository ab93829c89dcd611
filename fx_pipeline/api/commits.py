"""Whether anything was committed to a database, as it is asked on every request.

SQLite keeps a header in memory that all processes with the same write-ahead log share: in the file beside the
database whose name ends in ``-shm``. Every commit changes it (its documentation, "WAL-mode File Format",
2.1). ``PRAGMA data_version`` compares these very bytes, but takes ten times as long to say so.
"""

import os
import sqlite3
from pathlib import Path

_HEADERS = 96
"""Bytes: the header stands there twice, so that a reader can tell when one is just being written."""
_FORMAT = (3_007_000).to_bytes(4, "little"), (3_007_000).to_bytes(4, "big")


class Commits:
    """The commits to the database at `path`, by any process. For one thread."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False
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
