"""The mark in the database of rates that tokens are required.

The file of tokens can be lost, or left out of a backup. If the mark is set, the API stays closed until the
file of tokens is at least as new as the mark. The mark is the number of changes (tokens created or revoked)
that the file had after the last command.
"""

from contextlib import closing
from pathlib import Path

from fx_pipeline.api.reading.files import open_file
from fx_pipeline.sqlite import sqlite3

LOST = (
    "Tokens are on, but tokens.db next to the database has none, so every request is refused. Restore "
    "tokens.db from a backup, or create a token with `fx-pipeline token create NAME`. "
    "`fx-pipeline token off` makes the API public."
)
OLD = (
    "tokens.db is older than the database next to it. Revoked tokens could work again, so every request is "
    "refused. Restore the newest tokens.db, or accept this one with `fx-pipeline token create NAME` and "
    "revoke the tokens that must not work. `fx-pipeline token off` makes the API public."
)


def read_mark(database: Path, *, wait: float = 5.0) -> int | None:
    """Return the number of changes in the mark; None if tokens are off.

    Raise FileNotFoundError if there is no database, sqlite3.Error if it cannot be read.
    """
    if not database.exists():
        raise FileNotFoundError(f"There is no database at {database}.")
    connection, _ = open_file(database, timeout=wait)
    with closing(connection):
        return mark_in(connection)


def mark_in(connection: sqlite3.Connection) -> int | None:
    """Return the mark, as `read_mark` does, from an open database."""
    table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'token_mark'").fetchone()
    row = connection.execute("SELECT changes FROM token_mark").fetchone() if table else None
    return int(row[0]) if row else None


def problem(mark: int | None, changes: int) -> str | None:
    """Return why no token can be trusted, given the changes in the file of tokens; None if tokens can."""
    if mark is None or changes >= mark:
        return None
    return OLD if changes else LOST
