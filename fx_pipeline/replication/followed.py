"""One served file that follows its replica, copy by copy."""

import datetime as dt
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.litestream import Configured
from fx_pipeline.replication.looks import Looks
from fx_pipeline.replication.shadow import Shadow
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import WAIT_FOR_LOCK, StoreError, explained

STUCK_SECONDS = 20.0
"""A Litestream that is behind the store and has written nothing for this long is started again."""

RESTART_SECONDS = 2.0
"""Between two starts of Litestream, and between two tries to write."""

Say = Callable[[str], None]


class FollowedFile:
    """One served file that follows its replica. For one thread."""

    def __init__(
        self,
        served: Path,
        address: ReplicaAddress,
        config: Configured,
        folder: Path,
        say: Say,
        *,
        interval: float,
    ) -> None:
        self.served = served
        self.transaction = 0
        """The newest transaction in the served file."""
        self.current_at: dt.datetime | None = None
        """The last instant at which the served file had everything that the store had."""
        self.looks = Looks(served, address, config, say)
        self._shadow = Shadow(served, address, config, folder, say, interval=interval)
        self._address = address
        self._folder = folder
        self._say = say
        self._said = ""
        self._is_first = True
        self._next_start = 0.0
        self._next_try = 0.0

    def close(self) -> None:
        """End Litestream."""
        self._shadow.stop()
        self.looks.end()

    def step(self, period: float, accept: Callable[[sqlite3.Connection], bool]) -> None:
        """Do what is due: look at the store, start Litestream, copy a new state.

        `period` is the number of seconds between two looks. `accept` returns whether a state may be served.
        """
        self.looks.step(period)
        self._keep_following()
        now = time.monotonic()
        if now >= self._next_try:
            try:
                self._copy(accept)
            except StoreError as error:
                self._say_once(str(error))
                self._next_try = now + RESTART_SECONDS
        if self.looks.newest is not None and self.transaction >= self.looks.newest:
            self.current_at = self.looks.asked_at

    def _keep_following(self) -> None:
        """Start Litestream if it has ended or is stuck."""
        now = time.monotonic()
        if not self.looks.newest or now < self._next_start:
            return
        if self._shadow.is_running():
            is_behind = self._shadow.transaction() < self.looks.newest
            if not (is_behind and self._shadow.idle_seconds() > STUCK_SECONDS):
                return
            self._say(
                f"Litestream is stuck at transaction {self._shadow.transaction()} of {self.served.name}."
            )
        self._next_start = now + RESTART_SECONDS
        self._is_first = True
        self._shadow.start()

    def _copy(self, accept: Callable[[sqlite3.Connection], bool]) -> None:
        """Copy the state of the private file into the served one, if it is a newer one."""
        transaction = self._shadow.transaction()
        if transaction == 0 or (transaction == self.transaction and not self._is_first):
            return
        if transaction < self.transaction:
            raise StoreError(
                f"{self._address} ends at transaction {transaction}, but this reader has "
                f"{self.transaction}: the replica was replaced by an older one. To follow it, stop this "
                f"reader, remove {self.served} and {self._folder}, and start it again."
            )
        with explained(self.served), self._shadow.at_rest() as source:
            if source is None or not accept(source):
                return
            _write(source, self.served, self._folder)
        self.transaction, self._is_first = transaction, False

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._say(text)
        self._said = text


def _write(source: sqlite3.Connection, served: Path, folder: Path) -> None:
    """Write the content of a database into the served file, in one transaction."""
    # A new file appears whole: the API must not see an empty one.
    target = served if served.exists() else folder / "new.db"
    with closing(sqlite3.connect(target, timeout=WAIT_FOR_LOCK)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        # The callback lets a signal end the process while another connection has locked the file.
        source.backup(connection, progress=lambda *_: None)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    target.replace(served)
