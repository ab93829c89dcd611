"""Restore the rates and the tokens: fetched into a folder of their own, checked, then put in place."""

import datetime as dt
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from fx_pipeline.api.reading.files import open_file
from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.mark import problem, read_mark
from fx_pipeline.clock import parse_instant
from fx_pipeline.following import folder_of, is_reader, lock_of
from fx_pipeline.quality.integrity import UNREADABLE, findings
from fx_pipeline.replication.backup import RATES, TOKENS, backup_name, quick_check, sync
from fx_pipeline.replication.sources import Fetch
from fx_pipeline.store.database import RESTORE, StoreError, explained, open_database
from fx_pipeline.store.token_mark import marking

_LOCKED = (0x40000000, 512)
"""The bytes of a database file that SQLite locks (its source, "os.h"): each connection holds one of them."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place."""

    days: int
    newest: dt.datetime | None
    """The instant at which the newest response was stored."""
    aside: tuple[Path, ...]
    """Where the previous files are now."""
    kept_tokens: bool
    """Whether the existing tokens.db was kept, because it is at least as new as the restored one."""
    closed: str | None
    """Why the API refuses every request, if it does."""
    findings: tuple[str, ...]
    """What is wrong with the restored database, if that was accepted."""


def restore(
    fetch: Fetch,
    database: Path,
    *,
    now: dt.datetime,
    force: bool = False,
    before: Callable[[], None] = lambda: None,
    accept: bool = False,
) -> Restored:
    """Fetch both files, check them and put them in place of `database` and the tokens next to it.

    `before` is called when all is well, before anything is replaced. `accept` allows findings about the
    content.

    Existing files are moved aside if `force` is set. Otherwise they are an error. Raise StoreError, without
    a change, if the files are in use or the restored ones have findings.
    """
    tokens = database.with_name(TOKENS)
    previous = _mark_or_none(database)  # before the lock: closing a connection would release it
    if database.exists() and not force:
        raise StoreError(
            f"{database} exists. Add --force to move it aside, or choose another file with --to."
        )
    with explained(database, elsewhere="name another file with --to"):
        database.parent.mkdir(parents=True, exist_ok=True)
        with (
            _no_longer_following(database),
            _unused(database) if database.exists() else nullcontext(),
            tempfile.TemporaryDirectory(prefix=".restore-", dir=database.parent) as name,
        ):
            folder = Path(name)
            fetch(folder)
            found = _check(folder, accept=accept)
            keeps = _keeps_tokens(folder, tokens)
            if not keeps and _has_content(tokens) and not force:
                raise StoreError(
                    f"{tokens} exists, and is damaged or older than the restored one. Add --force to move it "
                    "aside."
                )
            used = tokens if keeps else folder / TOKENS
            closed = _set_mark(folder / RATES, used, previous)
            days, newest = _content(folder / RATES)
            sync(folder / RATES)
            before()
            suffix = f".before-{backup_name(now)}"
            # The tokens first: the API accepts tokens that are newer than the database.
            aside = [] if keeps else _replace(folder / TOKENS, tokens, suffix)
            aside += _replace(folder / RATES, database, suffix)
            sync(database.parent)
    return Restored(days, newest, tuple(aside), keeps and _has_content(tokens), closed, tuple(found))


@contextmanager
def _no_longer_following(database: Path) -> Iterator[None]:
    """Let a reader's database be written by this machine, if the block succeeds. Raise StoreError."""
    if not is_reader(database):
        yield
        return
    try:
        with lock_of(database):
            yield
            shutil.rmtree(folder_of(database))
    except Timeout:
        raise StoreError(f"`fx-pipeline replica` is running and writes {database}. Stop it.") from None


@contextmanager
def _unused(database: Path) -> Iterator[None]:
    """Keep all other processes from using a database file. Raise StoreError if one is using it."""
    start, length = _LOCKED
    with database.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except OSError:
            raise StoreError(
                f"{database} is in use. Stop all programs that use it: fx-pipeline, Litestream, sqlite3."
            ) from None
        yield


def _check(folder: Path, *, accept: bool) -> list[str]:
    """Migrate the fetched database, and return what is wrong with its content.

    Raise StoreError if that is not accepted, or a file cannot be used.
    """
    damage = [f"{name}: {line}" for name in _fetched(folder) for line in quick_check(folder / name)]
    if damage:
        raise StoreError(
            f"Nothing was changed, because what was fetched is damaged: {damage[0]}. Restore an earlier "
            "state with --at, or another backup."
        )
    open_database(folder / RATES).close()
    found = [line.removesuffix(f" {RESTORE}") for line in findings(folder / RATES)]
    if not found and not _content(folder / RATES)[0]:
        found = ["It has no days."]
    if found and not accept:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise StoreError(
            f"Nothing was changed, because what was fetched is not sound: {found[0]}{more} Restore an "
            "earlier state with --at, or add --accept-findings."
        )
    return found


def _fetched(folder: Path) -> list[str]:
    return [name for name in (RATES, TOKENS) if _has_content(folder / name)]


def _keeps_tokens(folder: Path, tokens: Path) -> bool:
    """Return whether the existing tokens stay: revoked tokens must not become valid again."""
    restored = _changes(folder / TOKENS)
    if not _has_content(folder / TOKENS):
        return True
    existing = _changes(tokens)
    return existing is not None and existing >= (restored or 0) > 0


def _set_mark(restored: Path, tokens: Path, previous: int | None) -> str | None:
    """Mark in the restored database that tokens are on, if they were on in any of the files.

    Return why the API will refuse every request, if it will.
    """
    changes = _changes(tokens) or 0
    mark = max(read_mark(restored) or 0, previous or 0, changes)
    if mark > (read_mark(restored) or 0):
        with marking(restored) as written:
            written.set(mark)
    return problem(mark or None, changes)


def _mark_or_none(database: Path) -> int | None:
    try:
        return read_mark(database)
    except (OSError, *UNREADABLE):
        return None


def _changes(tokens: Path) -> int | None:
    """Return the number of changes in a file of tokens; None if it cannot be read or is missing."""
    if not _has_content(tokens):
        return None
    try:
        records = TokenFile(tokens).records()
    except TokenError:
        return None
    return len(records) + sum(record.revoked_at is not None for record in records)


def _content(database: Path) -> tuple[int, dt.datetime | None]:
    connection, _ = open_file(database)
    with closing(connection):
        (days,) = connection.execute("SELECT count(*) FROM days").fetchone()
        (newest,) = connection.execute("SELECT max(fetched_at) FROM fetches").fetchone()
    return days, parse_instant(newest) if newest else None


def _replace(new: Path, path: Path, suffix: str) -> list[Path]:
    """Move a database aside, with its log, and put another one in its place. Return where the old one is."""
    aside = path.with_name(path.name + suffix)
    moved = []
    # The file first: without its log it would lack commits, and seem to be complete.
    for end in ("", "-wal", "-shm", "-journal"):
        old = path.with_name(path.name + end)
        if old.exists():
            old.rename(aside.with_name(aside.name + end))
            moved.append(aside)
    # Litestream's record of what it has sent belongs to the old file.
    shutil.rmtree(path.with_name(f".{path.name}-litestream"), ignore_errors=True)
    new.rename(path)
    return moved[:1]


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
