"""Which processes are still running, among those that have opened a question in the ledger.

Each process holds a locked file next to the database. The operating system releases the lock when the process
ends, however it ends. SQLite's WAL mode works only within one machine, and there a lock is visible to every
container that shares the folder, whatever their host names, process ids and clocks are.
"""

import os
import secrets
import socket
from pathlib import Path

from filelock import FileLock, Timeout


class Claim:
    """The locked file of one process; `name` is what the ledger keeps of it.

    The file exists from `hold` until `release`. A killed process leaves its file behind, without the lock.
    """

    def __init__(self, database: Path) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
        self._file = _file(database, self.name)
        # The timeout is for a process that removes files without a lock and takes this one for such a file.
        self._lock = FileLock(self._file, timeout=10, thread_local=False)

    def hold(self) -> None:
        """Create and lock the file, unless that is done already, and remove the files of ended processes.

        Raises OSError where it cannot be created.
        """
        if self._lock.is_locked:
            return
        self._file.parent.mkdir(exist_ok=True)
        for other in self._file.parent.glob("*.lock"):
            _is_locked(other)
        self._lock.acquire()

    def release(self) -> None:
        """Remove the file, if it was ever created."""
        if self._lock.is_locked:
            self._file.unlink(missing_ok=True)
            self._lock.release()


def is_held(database: Path, name: str) -> bool:
    """Return whether the process of this claim is running; remove its file if not.

    True where that cannot be found out, as on a file system without locks.
    """
    return _is_locked(_file(database, name))


def shown(name: str) -> str:
    """Return a claim's name for people: host and process id."""
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
