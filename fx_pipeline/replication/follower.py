"""The follower of a reader: brings each new state of the replica into the served files.

Each state is copied from a private file (see `shadow`) into the served one, as one transaction. So everything
that reads the served file sees whole states, in order, as on the machine of the writer.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import Timeout
from sqlite_utils import Database

from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.mark import mark_in
from fx_pipeline.following import (
    Position,
    folder_of,
    is_reader,
    lock_of,
    read_position,
    write_position,
)
from fx_pipeline.replication import fencing
from fx_pipeline.replication.addresses import ReplicaAddress, require_replica
from fx_pipeline.replication.followed import FollowedFile, Say
from fx_pipeline.replication.litestream import Configured, LitestreamError, configured, program
from fx_pipeline.replication.looks import Looks
from fx_pipeline.replication.shadow import PREFIX
from fx_pipeline.settings import Settings, SettingsError
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.migrations import migrations, unknown_steps

POLL_SECONDS = 0.1
"""How often the follower looks for new transactions in the private files."""

TOKENS_SHARE = 4
"""Litestream looks so many times less often for tokens. Each look is 9 requests to the store."""

TOKENS_SECONDS = 10.0
"""How long a state waits for the tokens that it requires. Then it is served, and refuses every request."""


class Follower:
    """Both files of a reader: the tokens, and the rates, which never appear before their tokens."""

    def __init__(
        self, settings: Settings, config: Configured, replica: ReplicaAddress, generation: int, say: Say
    ) -> None:
        self._database, self._tokens_file = settings.fx_database, TokenFile(settings.tokens_database)
        self._folder = folder_of(self._database)
        self._say = say
        self._period = period(settings)
        address, interval = replica.of(str(generation)), max(settings.fx_max_lag_seconds / 120, 0.5)
        self._tokens, self._rates = (
            FollowedFile(path, address.of(path.name), config, self._folder, say, interval=seconds)
            for path, seconds in (
                (settings.tokens_database, TOKENS_SHARE * interval),
                (settings.fx_database, interval),
            )
        )
        known = read_position(self._database) or Position("")
        if (known.replica, known.generation) == (str(replica), generation):
            self._rates.transaction = known.transaction
        self._position = replace(
            known, replica=str(replica), generation=generation, transaction=self._rates.transaction
        )
        self._waiting: tuple[int, float] | None = None

    def close(self) -> None:
        """End Litestream."""
        self._tokens.close()
        self._rates.close()

    def step(self) -> None:
        """Do what is due, and write the position if it has changed. Raise OSError if that fails."""
        self._tokens.step(self._period, lambda _: True)
        self._rates.step(self._period if self._rates.transaction else 1.0, self._accept)
        currents = [file.current_at for file in (self._tokens, self._rates)]
        current = min(instant for instant in currents if instant) if all(currents) else None
        before = self._position
        self._position = replace(
            before, transaction=self._rates.transaction, current_at=current or before.current_at
        )
        if self._position != before:
            write_position(self._database, self._position)

    def _accept(self, source: sqlite3.Connection) -> bool:
        """Return whether this state may be served now. Raise StoreError if it is not one of fx-pipeline."""
        db = Database(source, execute_plugins=False)
        if steps := unknown_steps(db):
            raise StoreError(
                "The replica was written by a newer fx-pipeline, whose schema has the step "
                f"{', '.join(steps)}. Install that version here, too. Until then, the last state is served."
            )
        if migrations.pending(db):
            raise StoreError(
                "The replica was written by an older fx-pipeline. Upgrade the writer, too. Until then, the "
                "last state is served."
            )
        return self._has_tokens(mark_in(source) or 0)

    def _has_tokens(self, required: int) -> bool:
        """Return whether the served tokens have this number of changes, or were waited for long enough."""
        problem = "tokens.db in the replica is older than the database."
        try:
            if self._tokens_file.counts()[1] >= required:
                self._waiting = None
                return True
        except TokenError as error:
            problem = str(error)
        now = time.monotonic()
        if self._waiting is None or self._waiting[0] != required:
            self._waiting = required, now
        self._tokens.looks.soon()
        if now - self._waiting[1] <= TOKENS_SECONDS + self._period:
            return False
        self._say(f"{problem} The API refuses requests until a newer one arrives.")
        return True


def run(settings: Settings, say: Say) -> None:
    """Follow the replica until the process ends. Raise SettingsError or LitestreamError."""
    replica = require_replica(settings)
    program()
    _claim(settings)
    folder = folder_of(settings.fx_database)
    with _only_one(settings.fx_database):
        for left in folder.glob(f"{PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        generation = _newest(settings, replica, say)
        while True:
            say(f"Following writer {generation} of {replica} into {settings.fx_database}.")
            _follow(settings, replica, generation, say)
            generation += 1


def period(settings: Settings) -> float:
    """Return the seconds between two looks at the store: several before the lag is too long."""
    return min(max(settings.fx_max_lag_seconds / 4, 1.0), 15.0)


def _newest(settings: Settings, replica: ReplicaAddress, say: Say) -> int:
    """Wait for a writer, and return the number of the newest. It is at least the one that was followed."""
    known = read_position(settings.fx_database)
    after = known.generation if known and known.replica == str(replica) else 0
    said = ""
    while True:
        problem = f"There is no writer in {replica} yet. Waiting for one."
        try:
            if generation := fencing.newest(replica, after=after):
                return generation
        except LitestreamError as error:
            problem = str(error)
        if problem != said:
            say(problem)
        said = problem
        time.sleep(1)


def _follow(settings: Settings, replica: ReplicaAddress, generation: int, say: Say) -> None:
    """Follow one writer until there is a next one."""
    address, successor = replica.of(str(generation)), fencing.marker(replica, generation + 1)
    addresses = {path: address.of(path.name) for path in (settings.tokens_database, settings.fx_database)}
    name = folder_of(settings.fx_database) / "writer"
    with ExitStack() as stack:
        config = stack.enter_context(configured({**addresses, name: successor}))
        looks = Looks(name, successor, config, lambda _: None)  # those at the files say what is wrong
        follower = Follower(settings, config, replica, generation, say)
        stack.callback(follower.close)
        stack.callback(looks.end)
        while not looks.newest:
            looks.step(period(settings))
            follower.step()
            time.sleep(POLL_SECONDS)


def _claim(settings: Settings) -> None:
    """Mark the database as that of a reader. Raise SettingsError if it is that of a writer."""
    if is_reader(settings.fx_database):
        return
    for path in (settings.fx_database, settings.tokens_database):
        if path.exists():
            raise SettingsError(
                f"{path} exists and does not follow a replica. If it is that of a writer, run this on "
                "another machine. If it is no longer needed, move it away."
            )
    try:
        folder_of(settings.fx_database).mkdir(parents=True)
    except OSError as error:
        raise SettingsError(
            f"{folder_of(settings.fx_database)} cannot be created ({error.strerror}). Give this user "
            "permission to write to its folder, or set FX_DATABASE to another place."
        ) from None


@contextmanager
def _only_one(database: Path) -> Iterator[None]:
    lock = lock_of(database)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(f"Another `fx-pipeline replica` writes {database}. Stop it.") from None
    try:
        yield
    finally:
        lock.release()
