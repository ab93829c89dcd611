"""Detects commits to a database, cheaply enough for every request.

All processes with the same write-ahead log share a header. SQLite keeps it in the file next to the database
whose name ends in ``-shm``. Every commit changes it (SQLite's documentation, "WAL-mode File Format", 2.1).
``PRAGMA data_version`` compares the same bytes, but takes ten times as long.
"""

import os
from pathlib import Path
from typing import Literal

from fx_pipeline.api.reading.files import open_file

_HEADERS = 96
"""Bytes of the header: SQLite keeps two copies, so that readers can detect a write in progress."""
_WITH_CHECKPOINTS = 136
"""Bytes of the header, and of the checkpoint information after it: how much of the log is in the database."""
_FORMAT = (3_007_000).to_bytes(4, "little"), (3_007_000).to_bytes(4, "big")


class Commits:
    """Watches the database at `path` for commits by any process. For one thread.

    Raises sqlite3.OperationalError immediately if another process has locked the file.
    """

    are_impossible: bool
    """Whether the disk is full or read-only, so that the file is read as immutable (see `files`)."""

    def __init__(self, path: Path) -> None:
        self._connection, self.are_impossible = open_file(path, timeout=0, any_thread=True)
        self._data_version()  # the first reading opens the log, and with it the shared header
        self._descriptor = self._shared_header(path)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def version(self) -> bytes | int:
        """Return a value that changes with each commit, and only then."""
        if self._descriptor is None:
            return self._data_version()
        return os.pread(self._descriptor, _HEADERS, 0)

    def checkpoints(self) -> bytes:
        """Return bytes that change with each commit and checkpoint; empty if there is no log."""
        return os.pread(self._descriptor, _WITH_CHECKPOINTS, 0) if self._descriptor is not None else b""

    def are_pending(self) -> bool:
        """Return whether part of the log is not in the database file yet."""
        header = self.checkpoints()
        if not header:
            return False
        order: Literal["little", "big"] = "little" if header[:4] == _FORMAT[0] else "big"
        in_log, in_database = (int.from_bytes(header[at : at + 4], order) for at in (16, 96))
        return in_log != in_database

    def release(self) -> None:
        """Close the shared header. All connections of this process to the file must be closed already."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _shared_header(self, path: Path) -> int | None:
        """Open the file with the header; None if it does not exist or has an unknown format.

        The file exists as long as `_connection` is open. Only `release` closes the descriptor: a process that
        closes any descriptor of a file loses all its locks on it, SQLite's too (POSIX, "fcntl").
        """
        try:
            descriptor = os.open(f"{os.path.realpath(path)}-shm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        return descriptor if os.pread(descriptor, 4, 0) in _FORMAT else None

    def _data_version(self) -> int:
        (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        return int(version)
