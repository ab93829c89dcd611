"""Writes the mark that tokens are on. `api.tokens.mark` explains its purpose."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils import Database

from fx_pipeline.store.database import explained, open_database, transaction


class TokenMark:
    """The mark, inside a transaction of the database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def changes(self) -> int | None:
        """Return the number of changes in the mark; None if tokens are off."""
        row = self._db.execute("SELECT changes FROM token_mark").fetchone()
        return int(row[0]) if row else None

    def set(self, changes: int) -> None:
        """Mark that tokens are on, with this number of changes in their file."""
        self._db.execute("INSERT OR REPLACE INTO token_mark (id, changes) VALUES (1, ?)", [changes])

    def clear(self) -> None:
        """Mark that tokens are off."""
        self._db.execute("DELETE FROM token_mark")


@contextmanager
def marking(database: Path) -> Iterator[TokenMark]:
    """Open the mark for writing, in one transaction. Raise StoreError."""
    db = open_database(database)
    try:
        with explained(database), transaction(db):
            yield TokenMark(db)
    finally:
        db.close()
