"""Shows which processes with an open call in the ledger are still running.

Each process holds a locked file next to the database. The operating system releases the lock when the process
ends, for whatever reason. SQLite's WAL mode works only on one machine. There, every container with the folder
sees the lock, whatever its host name, process ids and clock.
"""

import os
import secrets
import socket
from pathlib import Path

from filelock import FileLock, Timeout


class Claim:
    """The locked file of one process. The ledger stores its `name`.

    The file exists from `hold` until `release`. A killed process leaves its file behind, without the lock.
    """

    def __init__(self, database: Path) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self._file = _file(database, self.name)
        # The timeout covers a process that is removing unlocked files and has this one open for a moment.
        self._lock = FileLock(self._file, timeout=10, thread_local=False)

    def hold(self) -> None:
        """Create and lock the file if needed, and remove the files of ended processes.

        Raise OSError if it cannot be created.
        """
        if self._lock.is_locked:
            return
        self._file.parent.mkdir(exist_ok=True)
        for other in self._file.parent.glob("*.lock"):
            _is_locked(other)
        self._lock.acquire()

    def release(self) -> None:
        """Remove the file, if it exists."""
        if self._lock.is_locked:
            self._file.unlink(missing_ok=True)
            self._lock.release()


def is_held(database: Path, name: str) -> bool:
    """Return whether the process of this claim is running; remove its file if not.

    Return True if that is unknown, as on a file system without locks.
    """
    return _is_locked(_file(database, name))


def shown(name: str) -> str:
    """Return the readable part of a claim's name: host and process id."""
    return name.rpartition(":")[0] or name


def _file(database: Path, name: str) -> Path:
    return database.with_name(f"{database.name}-processes") / f"{name.rpartition(':')[2]}.lock"


def _is_locked(file: Path) -> bool:
    try:
        if not file.exists():
            return False
        with FileLock(file, blocking=False):
            file.unlink(missing_ok=True)
    except (Timeout, OSError):
        return True
    return False
