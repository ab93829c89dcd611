"""Checks of the disk and of permissions. Nothing is written to find out."""

import os
import pwd
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fx_pipeline.alerting.conditions import MIN_FREE_MB
from fx_pipeline.commands.doctor.facts import Facts
from fx_pipeline.commands.doctor.findings import Finding, fault, ok, warning
from fx_pipeline.settings import Settings

_FREE_SPACE = "Free some space, or move it to a larger disk with FX_DATABASE and DAGSTER_HOME."


def disk(facts: Facts) -> Iterator[Finding]:
    """Check the free space of the disks with the database and Dagster's home."""
    free: dict[int, tuple[Path, os.statvfs_result]] = {}
    for folder in _folders(facts.settings):
        free.setdefault(folder.stat().st_dev, (folder, os.statvfs(folder)))
    shown = []
    for folder, found in free.values():
        megabytes = found.f_bavail * found.f_frsize // 2**20
        shown.append(f"{megabytes:,} MB are free in {folder}")
        if megabytes < MIN_FREE_MB:
            yield fault(
                "disk", f"the disk of {folder} is nearly full: {megabytes:,} MB are free", _FREE_SPACE
            )
        elif found.f_files and not found.f_favail:
            yield fault(
                "disk", f"the disk of {folder} has no inode left for another file", "Remove some files."
            )
        else:
            continue
        shown.pop()
    if shown:
        yield ok("disk", ", ".join(shown))


def permissions(facts: Facts) -> Iterator[Finding]:
    """Check that this user may write the folders and files, and owns them."""
    settings = facts.settings
    denied, foreign = [], []
    # A parent folder may belong to anyone.
    files = {settings.dagster_home, *_files(settings)}
    for path in dict.fromkeys((*_folders(settings), *sorted(files))):
        with suppress(FileNotFoundError):  # while an instance runs, files come and go
            owner = path.stat().st_uid
            wanted = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
            if not os.access(path, wanted):
                denied.append(path)
            elif path in files and owner != os.geteuid():
                foreign.append((path, owner))
    if denied:
        is_read_only = any(_is_on_read_only_disk(path) for path in denied)
        reason = "is on a read-only disk" if is_read_only else f"cannot be written by {user(os.geteuid())}"
        yield fault(
            "permissions",
            f"{denied[0]} {reason}{_and_more(denied)}",
            "Mount the disk for writing, or set FX_DATABASE and DAGSTER_HOME to other places."
            if is_read_only
            else "Give this user read and write permission, or run fx-pipeline as the owner.",
        )
    if foreign:
        path, owner = foreign[0]
        yield warning(
            "permissions",
            f"{path} belongs to {user(owner)}, but this runs as {user(os.geteuid())}{_and_more(foreign)}",
            "Run every command as the same user: files that another one creates may be unwritable.",
        )
    if not denied and not foreign:
        yield ok("permissions", f"{user(os.geteuid())} may write everything")


def _folders(settings: Settings) -> Iterable[Path]:
    """Return the folders that are written, or the nearest that exist if they must be created."""
    return dict.fromkeys(_existing(path) for path in (settings.fx_database.parent, settings.dagster_home))


def _existing(folder: Path) -> Path:
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _files(settings: Settings) -> Iterator[Path]:
    """Yield the databases, and the files of Dagster's home down to the second level.

    A log or its index is named only if it has another owner than its database.
    """
    database, home = settings.fx_database, settings.dagster_home
    tokens = settings.tokens_database
    for path in (database, tokens, tokens.with_name("token-uses.db")):
        yield path
        for end in ("-wal", "-shm"):
            file = path.with_name(path.name + end)
            with suppress(FileNotFoundError):
                if file.stat().st_uid != path.stat().st_uid:
                    yield file
    if os.access(home, os.R_OK | os.X_OK):
        yield from (path for path in (*home.glob("*"), *home.glob("*/*")) if not path.is_symlink())


def _is_on_read_only_disk(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _and_more(paths: Sequence[object]) -> str:
    return f" (and {len(paths) - 1:,} more)" if len(paths) > 1 else ""


def user(uid: int) -> str:
    """Return the name of a user, for a message."""
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"
