"""Whether this host may write a database: a file next to it, `<name>-writer`, with its claim on the replica.

Without a replica there is no such file, and every host may write. `replication.fencing` explains claims.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fx_pipeline.small_files import read_document, replace_document


def read_record(database: Path) -> Mapping[str, Any]:
    """Return what the file says, empty if there is none or it is damaged. Raise OSError."""
    return read_document(_file(database))


def write_record(database: Path, document: Mapping[str, Any]) -> None:
    """Replace the file. Raise OSError."""
    file = _file(database)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_document(file, document)


def refusal(database: Path) -> str | None:
    """Return why this host must not write the database, None if it may."""
    found = read_record(database).get("superseded")
    return str(found) if found else None


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}-writer")
