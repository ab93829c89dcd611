"""How often each token was used on this machine.

The counts are in a file of their own, so that the file of tokens changes only when a token does: it may be a
copy that follows that of another machine.
"""

from collections import Counter
from contextlib import closing
from pathlib import Path

from fx_pipeline.api.reading.files import open_file
from fx_pipeline.clock import utc_now
from fx_pipeline.sqlite import sqlite3

FILE_NAME = "token-uses.db"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uses (
    hash BLOB PRIMARY KEY,
    requests INTEGER NOT NULL,
    last_used_at TEXT NOT NULL
) STRICT, WITHOUT ROWID
"""


def add_uses(path: Path, counts: Counter[bytes]) -> None:
    """Add to the number of requests of the tokens with these hashes. Raise sqlite3.Error."""
    now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SCHEMA)
        connection.executemany(
            """
            INSERT INTO uses VALUES (?, ?, ?)
            ON CONFLICT DO UPDATE
            SET requests = requests + excluded.requests, last_used_at = excluded.last_used_at
            """,
            [(digest, count, now) for digest, count in counts.items()],
        )


def read_uses(path: Path) -> dict[bytes, tuple[int, str]]:
    """Return the number of requests and the instant of the last one, by hash. Change nothing.

    A missing file, or one without content, means that there were no requests. Raise sqlite3.Error.
    """
    if not path.exists():
        return {}
    with closing(open_file(path)[0]) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'uses'").fetchone() is None:
            return {}
        rows = connection.execute("SELECT hash, requests, last_used_at FROM uses").fetchall()
    return {hashed: (requests, last) for hashed, requests, last in rows}
