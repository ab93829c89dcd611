"""Judge whether a database is sound: its pages and schema, what always holds, and its rates.

Everything is read in one transaction, so a writer may work meanwhile. A damaged file leads to findings, not
to errors.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fx_pipeline.api.reading.files import is_locked, one_commit
from fx_pipeline.api.tokens.mark import problem, read_mark
from fx_pipeline.quality.invariants import schema_differences, violations
from fx_pipeline.quality.log_files import lost_commits
from fx_pipeline.quality.position import lost_position, note_position
from fx_pipeline.quality.replay import Replay
from fx_pipeline.rates import counted
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE

MAX_FINDINGS = 50
"""Findings of one kind that are listed. A damaged file may have millions."""

UNREADABLE = (sqlite3.Error, UnicodeError)
"""What reading a damaged file raises. UnicodeError: a message of SQLite repeats the damaged text."""

_MAGIC = b"SQLite format 3\0"
_PAGE_SIZE, _PAGES = slice(16, 18), slice(28, 32)
"""Where the header of a database has the size and the number of its pages (sqlite.org/fileformat2.html)."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """One line for each finding, with its remedy, and what was checked."""

    findings: tuple[str, ...]
    checked: str = ""


def findings(database: Path, *, full: bool = False) -> list[str]:
    """Return one line for each thing that is wrong with a database of rates; none if it is sound.

    `full` also compares each index with its table.
    """
    return [*inspect(database, full=full).findings]


def inspect(database: Path, *, full: bool = False) -> Inspection:
    """Judge a database of rates, as `findings` does."""
    counts: dict[str, int] = {}
    found = [_printable(line) for line in _findings(database, full, counts)]
    return Inspection((*found,), ", ".join(counted(count, name) for name, count in counts.items()))


def token_findings(tokens: Path, database: Path) -> list[str]:
    """Return what is wrong with the file of tokens, given the mark in the database; none if nothing is."""
    return [_printable(line) for line in _token_findings(tokens, database)]


def note_if_sound(database: Path, found: Sequence[str]) -> None:
    """Note how far the database has come, if there are no findings. Later checks compare it with that."""
    if not found:
        with suppress(OSError, *UNREADABLE), one_commit(database, timeout=60) as connection:
            note_position(connection, database)


def _findings(database: Path, full: bool, counts: dict[str, int]) -> Iterator[str]:
    """Yield what is wrong. Add the numbers of the checked days, rates and responses to `counts`."""
    if fault := _fault_of_file(database):
        yield fault
        return
    try:
        with one_commit(database, timeout=60) as connection:
            found = [*_first(_damaged_pages(connection, full=full))] or [*schema_differences(connection)]
            yield from found
            if found:
                return  # its rows may be nonsense
            if lost := lost_position(connection, database):
                yield lost
            replay = Replay(connection)
            for lines in (violations(connection), replay.differences()):
                yield from _first(_readable(lines))
            for name in ("day", "rate"):
                ((counts[name],),) = connection.execute(f"SELECT count(*) FROM {name}s")  # noqa: S608
            counts["response"] = replay.responses
    except UNREADABLE as error:
        yield _unreadable(database, error)


def _token_findings(tokens: Path, database: Path) -> Iterator[str]:
    changes = 0
    if tokens.exists() and tokens.stat().st_size:
        if fault := _fault_of_file(tokens):
            yield fault
            return
        try:
            with one_commit(tokens, timeout=60) as connection:
                found = [*_first(_damaged_pages(connection, full=True))]
                yield from found
                if found:
                    return
                ((changes,),) = connection.execute("SELECT count(*) + count(revoked_at) FROM tokens")
        except UNREADABLE as error:
            yield _unreadable(tokens, error)
            return
    with suppress(*UNREADABLE, FileNotFoundError):  # `findings` reports it
        if untrusted := problem(read_mark(database), changes):
            yield untrusted


def _fault_of_file(path: Path) -> str | None:
    """Return why the file cannot be opened as a complete database, or what is missing from it."""
    try:
        if not path.stat().st_size:
            return f"{path} is empty. {RESTORE}"
        lost = lost_commits(path)
    except OSError as error:
        return _unreadable(path, error)
    return f"{lost} {RESTORE}" if lost else None


def _damaged_pages(connection: sqlite3.Connection, *, full: bool) -> Iterator[str]:
    check = "integrity_check" if full else "quick_check"
    for (text,) in connection.execute(f"PRAGMA {check}({MAX_FINDINGS})"):
        if text != "ok":
            for line in text.splitlines():
                yield f"The file is damaged: {line}. {RESTORE}"


def _readable(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines. If a row cannot be read, say so instead of the rest."""
    try:
        yield from lines
    except UNREADABLE as error:
        yield f"The rows cannot be read: {error}. {RESTORE}"


def _first(lines: Iterator[str]) -> Iterator[str]:
    """Yield the first lines, and say how many more there are."""
    rest = 0
    for number, line in enumerate(lines):
        if number < MAX_FINDINGS:
            yield line
        else:
            rest += 1
    if rest:
        yield f"And {counted(rest, 'more finding')} of this kind."


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"There is no file at {path}. {RESTORE}"
    if isinstance(error, sqlite3.OperationalError) and is_locked(error):
        return f"{path} is locked by another process. Check it again when that has ended."
    if missing := _cut_off(path):
        return f"{path} is truncated: its last {missing:,} bytes are missing. {RESTORE}"
    return f"{path} cannot be read: {error}. {RESTORE}"


def _cut_off(path: Path) -> int:
    """Return how many bytes the file lacks, according to its header; 0 if that is unknown."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError:
        return 0
    if not header.startswith(_MAGIC):
        return 0
    page_size = int.from_bytes(header[_PAGE_SIZE], "big")
    pages = int.from_bytes(header[_PAGES], "big")
    return max(0, (65_536 if page_size == 1 else page_size) * pages - path.stat().st_size)


def _printable(line: str) -> str:
    """Return a line without the line breaks and controls of a damaged text that it quotes."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)
