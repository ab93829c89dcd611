"""Backups: consistent copies of the rates and the tokens, in a folder named by the instant of the backup."""

import datetime as dt
import os
import secrets
import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from fx_pipeline.api.reading.files import open_file
from fx_pipeline.replication import litestream
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.small_files import replace_text
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError, explained, is_ours

RATES = "fx.db"
TOKENS = "tokens.db"

_NAME = "%Y-%m-%dT%H%M%SZ"


def default_place(database: Path) -> Path:
    """Return the folder of backups next to a database."""
    return database.with_name("backups")


def back_up(database: Path, tokens: Path, place: Path, now: dt.datetime) -> Path:
    """Copy both files, while they are in use, into a new folder in `place`, and return that folder.

    It gets its name when all copies are complete, checked and on the disk. Raise StoreError.
    """
    target = place / backup_name(now)
    partial = place / f".{target.name}-{secrets.token_hex(4)}"
    with explained(target, elsewhere="name another PLACE"):
        partial.mkdir(parents=True)
        try:
            copy_files(database, tokens, partial)
            if target.exists():
                raise StoreError(f"{target} exists already, and no backup is overwritten. Try again.")
            partial.rename(target)
            sync(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def upload(database: Path, tokens: Path, place: ReplicaAddress, now: dt.datetime) -> ReplicaAddress:
    """Copy both files, while they are in use, into an object store, and return the address of the backup.

    Litestream writes it, and reads it back as a check. It is complete once it has the rates, which come last.
    Raise StoreError or LitestreamError.
    """
    target = place.of(backup_name(now))
    if litestream.replica_files(target.of(RATES), level=0):
        raise StoreError(f"{target} exists already, and no backup is overwritten. Try again.")
    with TemporaryDirectory(prefix=litestream.PREFIX) as name:
        folder = Path(name)
        copy_files(database, tokens, folder)
        for file in (TOKENS, RATES):
            if (folder / file).exists():
                litestream.replicate_once(target.of(file), folder / file)
                litestream.restore(target.of(file), folder / f"{file}-check")
                if damage := quick_check(folder / f"{file}-check"):
                    raise StoreError(f"{target} is damaged, so do not use it: {damage[0]}")
    return target


def note_backup(database: Path, made: Path | ReplicaAddress) -> None:
    """Remember the newest backup, next to the database, for the restore drill. Raise OSError.

    An address may contain a password, so only this user can read the file.
    """
    text = str(made.absolute()) if isinstance(made, Path) else made.url.get_secret_value()
    replace_text(_note(database), text, mode=0o600)


def newest_backup(database: Path) -> Path | ReplicaAddress | None:
    """Return the newest backup that `note_backup` remembers, which may be gone; None if there is none."""
    try:
        text = _note(database).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    return ReplicaAddress.parse(text) if "://" in text else Path(text)


def _note(database: Path) -> Path:
    return database.with_name(f"{database.name}-backup")


def copy_files(database: Path, tokens: Path, folder: Path) -> None:
    """Copy both files into a folder under the names that they have in backups, and check the copies.

    Raise StoreError if one is damaged, or `database` is not one of fx-pipeline.
    """
    # The tokens second: the API accepts tokens that are newer than their mark in the database, not older.
    copy_database(database, folder / RATES)
    if not is_ours(folder / RATES):
        raise StoreError(
            f"{database} was not copied: it is empty, or not a database of fx-pipeline. Name the right "
            "file. If this is the right one, its content is lost: restore an earlier backup."
        )
    if tokens.exists() and tokens.stat().st_size > 0:
        copy_database(tokens, folder / TOKENS)
    sync(folder)


def copy_database(source: Path, copy: Path) -> None:
    """Write a consistent, compact copy of a database that is in use. Raise StoreError if it is damaged."""
    with explained(source):
        connection, _ = open_file(source)
        with closing(connection):
            connection.execute("VACUUM INTO ?", [str(copy)])
    copy.chmod(source.stat().st_mode & 0o777)
    if damage := quick_check(copy):
        raise StoreError(f"{source} is damaged, so it was not copied: {damage[0]}")
    sync(copy)  # VACUUM INTO does not (its documentation, "VACUUM with an INTO clause")


def quick_check(file: Path) -> list[str]:
    """Return the damage that SQLite finds in a database file, one line each; none if it is sound."""
    try:
        connection, _ = open_file(file)
        with closing(connection):
            found = [line for (line,) in connection.execute("PRAGMA quick_check")]
    except sqlite3.DatabaseError as error:
        return [f"{error}."]
    return [] if found == ["ok"] else found


def backup_name(now: dt.datetime) -> str:
    """Return the name of a backup made at this instant. Such names sort by time."""
    return now.astimezone(dt.timezone.utc).strftime(_NAME)


def backups(place: Path) -> dict[dt.datetime, Path]:
    """Return the backups in a folder by their instant, oldest first."""
    found = {}
    for file in sorted(place.glob(f"*Z/{RATES}")):
        try:
            instant = dt.datetime.strptime(file.parent.name, _NAME).replace(tzinfo=dt.timezone.utc)
        except ValueError:
            continue
        found[instant] = file.parent
    return found


def sync(path: Path) -> None:
    """Make a closed file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
