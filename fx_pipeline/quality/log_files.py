"""Judge the files next to a database in WAL mode: commits may be in the log `-wal` only.

The index `-shm` says how many pages of the log are valid, and how many of them are in the database too
(sqlite.org/walformat.html, section 2). SQLite removes the index first, so an index without a log means that
something else removed the log. Opening the database would hide that, because it creates both files again.
"""

import struct
import time
from pathlib import Path

from fx_pipeline.rates import counted

_INDEX = struct.Struct("=IIIBBHIIIIIIII")
"""The header of the index: version, unused, changes, initialised, byte order, size of a page, valid pages of
the log, pages of the database, and checksums. It is stored twice. The number of copied pages follows."""

_LOG_HEADER, _FRAME_HEADER = 32, 24
"""Bytes before the first page of the log, and before each page."""

_ATTEMPTS = 5
_PAUSE = 0.1
"""Seconds between attempts: another process may be creating or removing both files."""


def lost_commits(database: Path) -> str | None:
    """Return what is missing from the log, and what to do; None if nothing is. Do not open the database."""
    found = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        found = _missing(database)
        if found is None:
            return None
    return found


def _missing(database: Path) -> str | None:
    log, index = (database.with_name(database.name + end) for end in ("-wal", "-shm"))
    try:
        content = index.read_bytes()[: 2 * _INDEX.size + 4]
    except FileNotFoundError:
        return None
    size = log.stat().st_size if log.exists() else None
    lost = _pages_not_copied(content, size or 0)
    if size is None:
        what = f"{log.name} is missing, although {index.name} is there"
    elif lost:
        what = f"{log.name} is shorter than {index.name} says"
    else:
        return None
    how_many = f", and {counted(lost, 'changed page')} with it" if lost else ""
    return f"{what}: something other than SQLite removed or cut it{how_many}. Commits may be lost."


def _pages_not_copied(content: bytes, log_size: int) -> int:
    """Return how many pages the index counts that are neither in the log nor in the database."""
    if len(content) < 2 * _INDEX.size + 4 or content[: _INDEX.size] != content[_INDEX.size : 2 * _INDEX.size]:
        return 0  # being written, or never used
    _, _, _, initialised, _, page_size, valid, *_ = _INDEX.unpack(content[: _INDEX.size])
    (copied,) = struct.unpack("=I", content[2 * _INDEX.size :])
    if not initialised:
        return 0
    page_size = 65_536 if page_size == 1 else page_size
    in_log = max(0, log_size - _LOG_HEADER) // (_FRAME_HEADER + page_size)
    return max(0, int(valid) - max(in_log, int(copied)))
