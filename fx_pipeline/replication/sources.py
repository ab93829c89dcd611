"""What a restore fetches: a backup, or the replica as it was at an instant."""

import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fx_pipeline.replication import fencing, litestream
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.backup import RATES, TOKENS, backups, copy_files
from fx_pipeline.replication.litestream import LitestreamError
from fx_pipeline.store.database import StoreError

Fetch = Callable[[Path], None]
"""Writes `fx.db`, and `tokens.db` if there is one, into an empty folder. Raises StoreError."""

_RESOLUTION = dt.timedelta(seconds=1)
"""Litestream lists when its files were made in whole seconds."""


def backup_at(source: Path, at: dt.datetime | None) -> Path:
    """Return the backup to restore: `source` itself, or the newest one in it, not after `at`.

    Raise StoreError if there is none.
    """
    if source.is_file() or (source / RATES).exists():
        if at is not None:
            raise StoreError(
                f"{source} is one backup. Leave out --at, or name a folder with several backups."
            )
        return source
    found = backups(source)
    if not found:
        raise StoreError(
            f"There is no backup in {source}. Name a folder that `fx-pipeline backup` has written."
        )
    chosen = [folder for instant, folder in found.items() if at is None or instant <= at]
    if not chosen:
        raise StoreError(
            f"The oldest backup in {source}, {min(found):%Y-%m-%d %H:%M:%S} UTC, is newer than --at."
        )
    return chosen[-1]


def from_backup(backup: Path) -> Fetch:
    """Return how to fetch a backup: a folder, or a database file with the tokens next to it."""
    if backup.is_file():
        return lambda folder: copy_files(backup, backup.with_name(TOKENS), folder)
    return lambda folder: copy_files(backup / RATES, backup / TOKENS, folder)


def from_replica(replica: ReplicaAddress, name: str, at: dt.datetime | None) -> Fetch:
    """Return how to fetch the state at an instant, by default the newest, from the replica of a database."""

    def fetch(folder: Path) -> None:
        fetch_replica(replica, name, folder, at)

    return fetch


@dataclass(frozen=True, slots=True)
class Fetched:
    """The state of the replica that was fetched: the number of its generation, and its transaction.

    A backup, and a generation whose address was given, have the number 0.
    """

    generation: int
    transaction: int


def fetch_replica(replica: ReplicaAddress, name: str, folder: Path, at: dt.datetime | None = None) -> Fetched:
    """Write `fx.db` and, if there is one, `tokens.db` from the replica into a folder.

    Commits within about a second before the instant may be missing, or half a minute if it is more than five
    minutes ago; later ones never are in it. The tokens are always the newest: what was revoked since stays
    revoked. Raise StoreError or LitestreamError.
    """
    oldest: dt.datetime | None = None
    for number, place in _places(replica):
        if not (folder / TOKENS).exists() and litestream.replica_files(place.of(TOKENS)):
            litestream.restore(place.of(TOKENS), folder / TOKENS)
        for file in dict.fromkeys((name, RATES)):
            begins = min((part.created for part in litestream.replica_files(place.of(file))), default=None)
            if begins is None:
                continue
            oldest = begins
            try:
                if at is None or at >= begins:
                    return Fetched(number, litestream.restore(place.of(file), folder / RATES, at=at))
            except LitestreamError:
                if at is None or at >= begins + _RESOLUTION:
                    raise
    if oldest is None:
        raise StoreError(f"There is nothing at {replica}. Name the place of a replica or of a backup.")
    raise StoreError(f"{replica} begins at {oldest:%Y-%m-%d %H:%M:%S} UTC, which is after --at.")


def _places(replica: ReplicaAddress) -> Iterator[tuple[int, ReplicaAddress]]:
    """Yield the generations of a replica, newest first; the address itself, as 0, if it has none."""
    newest = fencing.newest(replica)
    for number in range(newest, 0, -1):
        yield number, replica.of(str(number))
    if not newest:
        yield 0, replica
