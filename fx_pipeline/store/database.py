"""The database file: opening, migrating, transactions, and errors that say what to do."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.following import reader_refusal
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.migrations import migrations, unknown_steps
from fx_pipeline.store.writer import refusal
from fx_pipeline.wal import written

WAIT_FOR_LOCK = 60.0
"""Seconds that a writer waits for another to commit."""

RESTORE = "Stop everything and restore the database: `fx-pipeline restore --force`."
"""The remedy for damage that the stored responses cannot repair."""


class StoreError(Exception):
    """The database file cannot be used or written. The message says why and what to do, in one line."""


def open_database(path: Path) -> Database:
    """Open the file for writing, in WAL mode. Create it and migrate its schema if needed.

    Raise StoreError if that fails, the file is that of a reader, or another host has taken over the writing.
    """
    if reason := reader_refusal(path) or refusal(path):
        raise StoreError(reason)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=WAIT_FOR_LOCK)
        try:
            db = Database(connection, execute_plugins=False)
            if _own_tables(db) and not migrations.applied(db):
                raise StoreError(
                    f"{path} is a database, but not one of fx-pipeline: set FX_DATABASE to another file."
                )
            if steps := unknown_steps(db):
                raise StoreError(
                    f"{path} was written by a newer fx-pipeline, whose schema has the step "
                    f"{', '.join(steps)}. Install that version again, or restore the backup "
                    "from before the upgrade."
                )
            db.enable_wal()
            if migrations.pending(db):
                with transaction(db):
                    migrations.apply(db)
        except BaseException:
            connection.close()
            raise
    return db


def _own_tables(db: Database) -> list[str]:
    """Return the names of all tables except those that Litestream adds."""
    return [name for name in db.table_names() if not name.startswith("_litestream_")]


def open_for_reading(path: Path) -> Database:
    """Open an existing file that this process does not change. Raise StoreError if that fails."""
    with explained(path):
        return Database(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True), execute_plugins=False
        )


def is_ours(path: Path) -> bool:
    """Return whether an existing file has the tables of fx-pipeline. Do not change it. Raise StoreError."""
    with explained(path), closing(open_for_reading(path)) as db:
        return bool(migrations.applied(db))


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """Write the block in one transaction, without other writers: `Database.atomic`, but IMMEDIATE."""
    # IMMEDIATE: data read before a write must not change until it is written.
    with written(db.conn, Path(db.execute("PRAGMA database_list").fetchone()[2])):
        yield


@contextmanager
def explained(path: Path, *, elsewhere: str = "set FX_DATABASE to another place") -> Iterator[None]:
    """Turn errors of SQLite and the file system into a StoreError that says what to do.

    `elsewhere` says how to choose another folder than that of `path`.
    """
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {_reason(error, elsewhere)}") from error


def _reason(error: Exception, elsewhere: str) -> str:
    if isinstance(error, OSError):
        return (
            f"its folder cannot be created ({error.strerror}). Give this user permission to create it, or "
            f"{elsewhere}."
        )
    text = str(error)
    kept = "The last write is lost. Everything before it is stored."
    for sign, reason in (
        ("not a database", "this is not a SQLite database. Set FX_DATABASE to another file."),
        (
            "malformed",
            f"the database is damaged. {RESTORE} `fx-pipeline check` lists the damage.",
        ),
        ("readonly", "the file or its folder is not writable. Give this user write permission for both."),
        ("unable to open", "the file cannot be opened. Check that this user may write to its folder."),
        ("disk is full", f"the disk is full. {kept} Free some space and run the dates again."),
        (
            "disk I/O error",
            "the file could not be read or written (disk I/O error): the disk is full or faulty, or a file "
            f"size limit is reached. {kept} Fix that and run the dates again.",
        ),
        (
            "locked",
            f"another process has locked the database for {WAIT_FOR_LOCK:.0f} s. Run the dates again.",
        ),
    ):
        if sign in text:
            return reason
    return f"SQLite failed ({text}). {kept}"
