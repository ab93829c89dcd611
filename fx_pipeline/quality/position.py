"""How far a database had come at its last nightly check, in a small file next to it.

A stored fetch is never removed, so a database without that fetch has lost commits: its log was removed, or an
older copy was written over it. Nothing in such a file says so, because it is a sound earlier state. A restore
puts another file in place, whose number (inode) differs, so the position is ignored then.
"""

from pathlib import Path

from fx_pipeline.small_files import read_document, replace_document
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE
from fx_pipeline.store.instants import newest_fetch


def note_position(connection: sqlite3.Connection, database: Path) -> None:
    """Note the newest fetch of the database. Raise OSError, sqlite3.Error."""
    newest = newest_fetch(connection)
    if newest is None:
        return
    document = {
        "inode": database.stat().st_ino,
        "fetch_id": newest.id,
        "asked_at": newest.asked_at,
        "fetched_at": newest.fetched_at,
    }
    replace_document(_file(database), document)


def lost_position(connection: sqlite3.Connection, database: Path) -> str | None:
    """Return that the database lacks the noted fetch, and what to do; None if it has it or none is noted."""
    file = _file(database)
    try:
        noted = read_document(file)
        if noted["inode"] != database.stat().st_ino:
            return None
        fetch_id, asked_at, fetched_at = (noted[name] for name in ("fetch_id", "asked_at", "fetched_at"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    query = "SELECT 1 FROM fetches WHERE id = ? AND asked_at = ? AND fetched_at IS NOT NULL"
    if connection.execute(query, [fetch_id, asked_at]).fetchone():
        return None
    return (
        f"Fetch {fetch_id} of {fetched_at} is missing, but was there at the last nightly check: commits were "
        f"lost, because {database.name}-wal was removed or an older copy was put in place. {RESTORE} If you "
        f"want the older state, remove {file.name}."
    )


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}-position.json")
