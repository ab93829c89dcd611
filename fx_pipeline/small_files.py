"""Small files that one process replaces and others read: notes and states next to the database."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_document(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty if there is no such file or it is damaged. Raise OSError."""
    try:
        document = json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def replace_document(file: Path, document: Mapping[str, Any]) -> None:
    """Replace the content of a file by a JSON object; see `replace_text`. Raise OSError."""
    replace_text(file, json.dumps(document))


def replace_text(file: Path, text: str, *, mode: int = 0o666) -> None:
    """Replace the content of a file in one step, so that a reader sees the old text or the new one.

    Two processes may do so at the same time: the last one wins. `mode` has the permissions, which the umask
    limits. Raise OSError. Then the file is as it was.
    """
    new = file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as opened:
            opened.write(text)
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
