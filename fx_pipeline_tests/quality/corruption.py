"""Damage to a database file, as a faulty disk, a careless copy or a faulty program causes it."""

import json
import shutil
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from fx_pipeline.sqlite import sqlite3

ENDS = ("", "-wal", "-shm")
"""What the names of the files of a database in WAL mode end in."""


def execute(path: Path, statement: str, *values: object) -> None:
    """Change the file by one statement, without regard to its references."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement, values)


def one(path: Path, query: str, *values: object) -> Sequence[Any]:
    """Return the first row of a query."""
    with closing(sqlite3.connect(path)) as connection:
        row: Sequence[Any] = connection.execute(query, values).fetchone()
        return row


def copy_files(database: Path, target: Path, *, without: Sequence[str] = ()) -> Path:
    """Copy the files of a database that may be open, except those that end in one of `without`."""
    for end in ENDS:
        source = database.with_name(database.name + end)
        if end not in without and source.exists():
            shutil.copyfile(source, target.with_name(target.name + end))
    return target


def flip(path: Path, at: int, count: int = 1) -> None:
    """Invert the bits of some bytes."""
    with path.open("r+b") as file:
        file.seek(at)
        damaged = bytes(byte ^ 0xFF for byte in file.read(count))
        file.seek(at)
        file.write(damaged)


def root_page(path: Path, name: str) -> int:
    """Return where the first page of a table or index is in the file, in bytes."""
    (page,) = one(path, "SELECT rootpage FROM sqlite_schema WHERE name = ?", name)
    (size,) = one(path, "PRAGMA page_size")
    return int((page - 1) * size)


def change_body(path: Path, fetch_id: int, **changes: object) -> None:
    """Change parts of the document that a fetch received."""
    (body,) = one(path, "SELECT body FROM fetches WHERE id = ?", fetch_id)
    document = {**json.loads(zlib.decompress(body)), **changes}
    execute(
        path,
        "UPDATE fetches SET body = ? WHERE id = ?",
        zlib.compress(json.dumps(document).encode()),
        fetch_id,
    )
