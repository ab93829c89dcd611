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

from filelock import FileLock, Timeout
from sqlite_utils import Database

from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.mark import mark_in
from fx_pipeline.following import Position, folder_of, is_reader, read_position, write_position
from fx_pipeline.replication.addresses import ReplicaAddress, require_replica
from fx_pipeline.replication.followed import FollowedFile, Say
from fx_pipeline.replication.litestream import Configured, configured
from fx_pipeline.replication.shadow import PREFIX
from fx_pipeline.settings import Settings, SettingsError
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.migrations import migrations, unknown_steps

POLL_SECONDS = 0.1
"""How often the follower looks for new transactions in the private files."""

TOKENS_SECONDS = 10.0
"""How long a state waits for the tokens that it requires. Then it is served, and refuses every request."""


class Follower:
    """Both files of a reader: the tokens, and the rates, which never appear before their tokens."""

    def __init__(self, settings: Settings, config: Configured, address: ReplicaAddress, say: Say) -> None:
        self._database, self._tokens_file = settings.fx_database, TokenFile(settings.tokens_database)
        self._folder = folder_of(self._database)
        self._say = say
        self._period = min(max(settings.fx_max_lag_seconds / 4, 1.0), 15.0)
        self._tokens, self._rates = (
            FollowedFile(path, address.of(path.name), config, self._folder, say)
            for path in (settings.tokens_database, settings.fx_database)
        )
        self._position = Position(str(address))
        known = read_position(self._database)
        if known and known.replica == self._position.replica:
            self._position = known
            self._rates.transaction = known.transaction
        elif known and known.transaction:
            say(f"This reader followed {known.replica}. From now on it follows {address}.")
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
        try:
            if self._tokens_file.counts()[1] >= required:
                self._waiting = None
                return True
        except TokenError as error:
            self._say(str(error))
        now = time.monotonic()
        if self._waiting is None or self._waiting[0] != required:
            self._waiting = required, now
        self._tokens.look_soon()
        return now - self._waiting[1] > TOKENS_SECONDS


def run(settings: Settings, say: Say) -> None:
    """Follow the replica until the process ends. Raise SettingsError or LitestreamError."""
    address = require_replica(settings)
    _claim(settings)
    folder = folder_of(settings.fx_database)
    with _only_one(folder), ExitStack() as stack:
        for left in folder.glob(f"{PREFIX}*"):
            shutil.rmtree(left, ignore_errors=True)
        paths = (settings.tokens_database, settings.fx_database)
        config = stack.enter_context(configured({path: address.of(path.name) for path in paths}))
        follower = Follower(settings, config, address, say)
        stack.callback(follower.close)
        say(f"Following {address} into {settings.fx_database}.")
        while True:
            follower.step()
            time.sleep(POLL_SECONDS)


def _claim(settings: Settings) -> None:
    """Mark the database as that of a reader. Raise SettingsError if it is that of a writer."""
    if is_reader(settings.fx_database):
        return
    for path in (settings.fx_database, settings.tokens_database):
        if path.exists():
            raise SettingsError(
                f"{path} exists and does not follow a replica: it may be the database of the writer, which "
                "would be overwritten. Set FX_DATABASE to another file, or remove this one."
            )
    try:
        folder_of(settings.fx_database).mkdir(parents=True)
    except OSError as error:
        raise SettingsError(
            f"{folder_of(settings.fx_database)} cannot be created ({error.strerror}). Give this user "
            "permission to write to its folder, or set FX_DATABASE to another place."
        ) from None


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / "lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError(f"Another `fx-pipeline replica` is using {folder}. Stop it.") from None
    try:
        yield
    finally:
        lock.release()
