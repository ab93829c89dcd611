"""A private file in which Litestream follows the replica of one database file.

Litestream overwrites pages of this file, under locks that SQLite knows. No connection of SQLite may stay open
on it: it would miss changes, or block Litestream. `Shadow.at_rest` reads it between two transactions.
"""

import fcntl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.litestream import Configured
from fx_pipeline.sqlite import sqlite3

PREFIX = "following-"
"""Begins the name of a folder with a private file."""

_LOCKED = (510, 0x40000002)
"""The number and the first of the bytes that Litestream locks while it writes (SQLite's source, "os.h")."""


class Shadow:
    """The private file of one database file, in a folder of its own below `folder`.

    Litestream looks for new transactions every `interval` seconds. `say` is called with what it reports, once
    until the next success.
    """

    def __init__(
        self,
        database: Path,
        address: ReplicaAddress,
        config: Configured,
        folder: Path,
        say: Callable[[str], None],
        *,
        interval: float,
    ) -> None:
        self._database = database
        self._address = address
        self._config = config
        self._folder = folder
        self._say = say
        self._interval = f"{interval * 1000:.0f}ms"
        self._stack = ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self._file = folder / database.name
        self._transaction = 0
        self._failed = False
        """Whether Litestream reported an error since then. It may have written half of a transaction."""
        self._started_at = 0.0

    def start(self) -> None:
        """Start Litestream with a new file. A file that a Litestream has left may hold half a transaction."""
        self.stop()
        work = self._stack.enter_context(TemporaryDirectory(prefix=PREFIX, dir=self._folder))
        self._file = Path(work) / self._database.name
        self._transaction, self._failed = 0, False
        self._started_at = time.time()
        self._process = self._stack.enter_context(
            subprocess.Popen(
                self._config.command(
                    *("restore", "-f", "-follow-interval", self._interval, "-o", str(self._file)),
                    str(self._database),
                ),
                env=self._config.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        )
        self._stack.callback(self._process.kill)
        threading.Thread(target=self._listen, args=[self._process], daemon=True).start()

    def stop(self) -> None:
        """End Litestream, and remove its file."""
        self._process = None
        self._stack.close()

    def is_running(self) -> bool:
        """Return whether Litestream is running."""
        return self._process is not None and self._process.poll() is None

    def idle_seconds(self) -> float:
        """Return how long ago Litestream was started or last wrote to its files."""
        written = [self._started_at]
        for file in self._file.parent.iterdir():
            try:
                written.append(file.stat().st_mtime)
            except FileNotFoundError:  # a temporary file
                continue
        return time.time() - max(written)

    def transaction(self) -> int:
        """Return the newest transaction that Litestream has applied; 0 if there is none yet."""
        try:
            text = self._mark.read_text(encoding="ascii")
        except FileNotFoundError:
            return 0
        transaction = int(text, 16)
        if transaction != self._transaction:
            self._transaction, self._failed = transaction, False
        return transaction

    @contextmanager
    def at_rest(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection to the file, which Litestream does not change meanwhile.

        Yield None if it is writing, or may have written half of a transaction before an error.
        """
        with self._file.open("rb") as file:
            try:
                # Closing the connection below ends this lock, too (POSIX, "fcntl").
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, *_LOCKED)
            except OSError:
                yield None
                return
            # It names the transaction after it has written all of it.
            if self._failed or self._file.stat().st_mtime_ns > self._mark.stat().st_mtime_ns:
                yield None
                return
            # Immutable: SQLite takes no locks, and looks for no write-ahead log, whatever the header says.
            uri = f"{self._file.as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True)) as connection:
                yield connection

    @property
    def _mark(self) -> Path:
        return self._file.with_name(f"{self._file.name}-txid")

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        """Read what Litestream prints, in a thread of its own."""
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        for line in process.stdout:
            if process is self._process and ("level=ERROR" in line or line.startswith("Error:")):
                if not self._failed:
                    self._say(f"Litestream: {self._address.redacted(line.strip())}")
                self._failed = True
