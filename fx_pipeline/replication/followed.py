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

STUCK_SECONDS = 10.0
"""A Litestream that has been behind the store and has written nothing for this long is started again."""

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
        self._level_at = 0.0
        """When Litestream last had what the store had."""
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
            if self._shadow.transaction() >= self.looks.newest:
                self._level_at = now
            if min(now - self._level_at, self._shadow.idle_seconds()) <= STUCK_SECONDS:
                return
            self._say(
                f"Litestream is stuck at transaction {self._shadow.transaction()} of {self.served.name}."
            )
        self._next_start, self._level_at = now + RESTART_SECONDS, now
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
            if self._is_first:
                require_sound(source, self._address)
            _write(source, self.served, self._folder)
        self.transaction, self._is_first = transaction, False

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._say(text)
        self._said = text


def require_sound(source: sqlite3.Connection, address: ReplicaAddress) -> None:
    """Raise StoreError if a restored database is damaged. It takes a second for 100 MB."""
    ((found,),) = source.execute("PRAGMA integrity_check(1)").fetchall()
    if found != "ok":
        raise StoreError(
            f"{address} is damaged ({found.splitlines()[-1]}), so it is not served. Run `fx-pipeline check` "
            "on the writer. If that finds nothing, set FX_REPLICA_URL to another, empty path everywhere."
        )


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
