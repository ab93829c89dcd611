"""One served file that follows its replica: looks at the store, and copies of new states."""

import datetime as dt
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile

from fx_pipeline.clock import utc_now
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.litestream import Configured
from fx_pipeline.replication.shadow import Shadow
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import WAIT_FOR_LOCK, StoreError, explained

LOOK_SECONDS = 10.0
"""How long a look at the store may take."""

STUCK_SECONDS = 20.0
"""A Litestream that is behind the store and has written nothing for this long is started again."""

RESTART_SECONDS = 2.0
"""Between two starts of Litestream, and between two tries to write."""

Say = Callable[[str], None]


class _Look:
    """A look at the newest transaction in the store: a process, which nothing waits for."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.asked_at = utc_now()
        self._deadline = time.monotonic() + LOOK_SECONDS
        with TemporaryFile() as output:
            self._output = os.dup(output.fileno())
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
        )

    def output(self) -> str | None:
        """Return what the process printed; None if it has not ended. Call it once more at most."""
        if self._process.poll() is None:
            if time.monotonic() > self._deadline:
                self._process.kill()
            return None
        with os.fdopen(self._output, "rb") as file:
            file.seek(0)
            return file.read().decode(errors="replace")

    def end(self) -> None:
        """End the process early."""
        self._process.kill()
        self._process.wait()
        os.close(self._output)


class FollowedFile:
    """One served file that follows its replica. For one thread."""

    def __init__(
        self, served: Path, address: ReplicaAddress, config: Configured, folder: Path, say: Say
    ) -> None:
        self.served = served
        self.transaction = 0
        """The newest transaction in the served file."""
        self.current_at: dt.datetime | None = None
        """The last instant at which the served file had everything that the store had."""
        self.newest: int | None = None
        """The newest transaction that a look has found in the store; None before the first."""
        self._shadow = Shadow(served, address, config, folder, say)
        self._address = address
        self._config = config
        self._folder = folder
        self._say = say
        self._said = ""
        self._is_first = True
        self._next_start = 0.0
        self._next_try = 0.0
        self._next_look = 0.0
        self._look: _Look | None = None
        self._asked_at: dt.datetime | None = None

    def close(self) -> None:
        """End Litestream."""
        self._shadow.stop()
        if self._look is not None:
            self._look.end()

    def step(self, period: float, accept: Callable[[sqlite3.Connection], bool]) -> None:
        """Do what is due: look at the store, start Litestream, copy a new state.

        `period` is the number of seconds between two looks. `accept` returns whether a state may be served.
        """
        self._look_at_store(period)
        self._keep_following()
        now = time.monotonic()
        if now >= self._next_try:
            try:
                self._copy(accept)
            except StoreError as error:
                self._say_once(str(error))
                self._next_try = now + RESTART_SECONDS
        if self.newest is not None and self.transaction >= self.newest:
            self.current_at = self._asked_at

    def look_soon(self) -> None:
        """Look at the store again within a second."""
        self._next_look = min(self._next_look, time.monotonic() + 1)

    def _look_at_store(self, period: float) -> None:
        now = time.monotonic()
        if self._look is None:
            if now >= self._next_look:
                self._next_look = now + period
                # Litestream keeps the newest file of level 0.
                command = self._config.command("ltx", "-level", "0", "-json", str(self.served))
                self._look = _Look(command, self._config.environment)
            return
        output = self._look.output()
        if output is None:
            return
        asked_at, self._look = self._look.asked_at, None
        try:
            self.newest = max((int(file["max_txid"], 16) for file in json.loads(output)), default=0)
            self._asked_at = asked_at
            self._said = ""
        except (ValueError, LookupError):
            reason = (output.strip().splitlines() or [f"no response in {LOOK_SECONDS:.0f} s"])[-1]
            self._say_once(f"{self._address} cannot be read: {self._address.redacted(reason)}")
            self.look_soon()

    def _keep_following(self) -> None:
        """Start Litestream if it has ended or is stuck."""
        now = time.monotonic()
        if not self.newest or now < self._next_start:
            return
        if self._shadow.is_running():
            is_behind = self._shadow.transaction() < self.newest
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
