"""The check of the database file: that it is there, is one of fx-pipeline's, and can be read."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.api.reading.files import open_file
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding, fault, of_message, ok, warning
from fx_pipeline.quality.log_files import lost_commits
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE, StoreError, explained
from fx_pipeline.store.migrations import migrations, unknown_steps

READING_SECONDS = 2.0
"""How long the pages of the file are read. `fx-pipeline check` reads all of them."""

_WAIT_FOR_LOCK = 1.0


def database(facts: Facts) -> Iterator[Finding]:
    """Check the file, without changing it."""
    path = facts.settings.fx_database
    try:
        facts.lost.set_result(lost_commits(path))
    except Exception as error:
        facts.lost.set_exception(error)
        raise
    if not path.exists():
        yield warning(
            "database",
            f"there is none at {path} yet",
            "Start `fx-pipeline up` or `ingest`, or set FX_DATABASE to the path of the one that exists.",
        )
        return
    if not path.stat().st_size:
        yield fault("database", f"{path} is empty", RESTORE)
        return
    if lost := facts.lost.result():
        yield fault("database", lost.rstrip("."), RESTORE)
        return
    try:
        with explained(path):
            connection, _ = open_file(path, timeout=_WAIT_FOR_LOCK)
            with closing(connection):
                judged = _judged(connection, path)
        if judged.state != "ok":
            yield judged
            return
        with facts.stored() as store:
            store.check_source(facts.settings.fx_base, facts.settings.known_provider)
        yield judged
    except StoreError as error:
        yield of_message("database", str(error))


def _judged(connection: sqlite3.Connection, path: Path) -> Finding:
    db = Database(connection, execute_plugins=False)
    if not migrations.applied(db):
        return fault(
            "database", f"{path} is not a database of fx-pipeline", "Set FX_DATABASE to another file."
        )
    if steps := unknown_steps(db):
        return fault(
            "database",
            f"{path} was written by a newer fx-pipeline, whose schema has the step {', '.join(steps)}",
            "Install that version again, or restore the backup from before the upgrade.",
        )
    read = _read_pages(connection)
    if read not in (None, "ok"):
        return fault("database", f"{path} is damaged: {read}", f"{RESTORE} `fx-pipeline check` lists it all.")
    if migrations.pending(db):
        return warning(
            "database", f"{path} has the schema of an older version", "The next `fx-pipeline up` updates it."
        )
    extent = "sound" if read else f"no damage found in {READING_SECONDS:g} s; `fx-pipeline check` reads all"
    return ok("database", f"{path}, {path.stat().st_size / 1e6:,.1f} MB: {extent}")


def _read_pages(connection: sqlite3.Connection) -> str | None:
    """Return "ok" or the first damage; None if there was too little time to read the whole file."""
    deadline = time.monotonic() + READING_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        (first, *_) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return str(first).splitlines()[-1]
