"""The mark in the rates' own file that says: tokens are on.

Tokens are kept in another file, which can be lost, or left out of a backup. The mark is not: where it is set,
the API stays closed until the file of tokens is at least as new as the mark. It holds how many changes
(tokens made or revoked) that file had when it was last changed by a command.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

LOST = (
    "Tokens are on, but tokens.db next to the database holds none, so every request is refused. Restore "
    "tokens.db from the backup, or make a new token with `fx-pipeline token create NAME`; "
    "`fx-pipeline token off` opens the API to everybody."
)
OLD = (
    "tokens.db is older than the database next to it: tokens revoked since then would work again, so every "
    "request is refused. Restore the newest tokens.db, or accept this one with `fx-pipeline token create "
    "NAME` and revoke in it what should not work; `fx-pipeline token off` opens the API to everybody."
)


def read_mark(database: Path, *, wait: float = 5.0) -> int | None:
    """Return the number of changes that the mark holds; None if tokens are off.

    Raises FileNotFoundError where there is no database, and sqlite3.Error where it cannot be read.
    """
    if not database.exists():
        raise FileNotFoundError(f"There is no database at {database}.")
    uri = f"{database.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=wait)) as connection:
        table = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'token_mark'").fetchone()
        row = connection.execute("SELECT changes FROM token_mark").fetchone() if table else None
    return int(row[0]) if row else None


def problem(mark: int | None, changes: int) -> str | None:
    """Return why no token can be trusted, given the mark and the changes in the file of tokens."""
    if mark is None or changes >= mark:
        return None
    return OLD if changes else LOST
