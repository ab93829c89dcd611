"""The database file: how it is opened and brought up to date, written all or nothing, and what it may say.

To import it loads sqlite-utils, and with that pandas: what serves the file has it opened by another process.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.store.migrations import migrations

WAIT_FOR_LOCK = 60.0
"""Seconds that a writer waits for another one to commit."""


class StoreError(Exception):
    """The database file cannot be used or written; the message is one line that says why and what to do."""


def open_database(path: Path) -> Database:
    """Open the file to be written, in WAL mode; make it and bring its schema up to date where needed.

    Raises StoreError when that cannot be done.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=WAIT_FOR_LOCK)
        try:
            db = Database(connection, execute_plugins=False)
            if db.table_names() and not migrations.applied(db):
                raise StoreError(
                    f"{path} is a database, but not one of fx-pipeline: set FX_DATABASE to another file."
                )
            db.enable_wal()
            if migrations.pending(db):
                with transaction(db):
                    migrations.apply(db)
        except BaseException:
            connection.close()
            raise
    return db


@contextmanager
def transaction(db: Database) -> Iterator[None]:
    """All or nothing of what is written inside, with nobody else writing meanwhile."""
    try:
        # IMMEDIATE: what was read to decide on a write must still be so when it is written.
        db.execute("BEGIN IMMEDIATE")  # inside: an interrupt may come as soon as it is done
        yield
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say of `path` into a StoreError that says what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return (
            f"its folder cannot be made ({error.strerror}). Give this user the right to make it, or set "
            "FX_DATABASE to another place."
        )
    text = str(error)
    kept = "What was being written is not stored, all before it is."
    for sign, reason in (
        ("not a database", "this is not a SQLite database. Set FX_DATABASE to another file."),
        (
            "malformed",
            "the database is damaged. Restore it from a backup; `fx-pipeline rebuild` remakes the rates.",
        ),
        ("readonly", "the file or its folder cannot be written. Give this user the right to write both."),
        ("unable to open", "the file cannot be opened. Check that its folder can be written by this user."),
        ("disk is full", f"the disk is full. {kept} Make room and run the dates again."),
        (
            "disk I/O error",
            "the file could not be written or read (disk I/O error): the disk is broken, or a limit to the "
            f"size of files is reached. {kept} Put that right and run the dates again.",
        ),
        (
            "locked",
            f"another process has kept the database locked for {WAIT_FOR_LOCK:.0f} s. Run the dates again.",
        ),
    ):
        if sign in text:
            return reason
    return f"SQLite cannot do what was asked of it ({text}). {kept}"
