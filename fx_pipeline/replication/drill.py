"""The restore drill: restore into a scratch folder, check the result, and compare it with the live database.

It restores from the replica, or from the newest backup if there is none. The result is kept next to the
database, where `status` and the API read it.
"""

import datetime as dt
import shutil
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from fx_pipeline.clock import Clock, utc_now
from fx_pipeline.drilled import DrillState, read_drill, write_drill
from fx_pipeline.quality.integrity import UNREADABLE, findings, token_findings
from fx_pipeline.quality.log_files import lost_commits
from fx_pipeline.replication.addresses import replica_address
from fx_pipeline.replication.backup import RATES, TOKENS, newest_backup
from fx_pipeline.replication.comparison import compare
from fx_pipeline.replication.litestream import LitestreamError
from fx_pipeline.replication.sources import Fetch, from_backup, from_replica
from fx_pipeline.settings import Settings
from fx_pipeline.store.database import RESTORE, StoreError

SCRATCH = ".drill-"
"""Begins the name of a scratch folder next to the database: on its disk, where there is room for it."""

FREE_MB = 200
"""The space to leave free: a full disk would stop the writer."""

_LEFT_BEHIND = dt.timedelta(days=1)
"""After this, the scratch folder of a killed drill is removed."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a drill restores, and what to do if that is damaged."""

    name: str
    fetch: Fetch
    is_current: bool
    """Whether it must have the newest commits."""
    remedy: str


@dataclass(frozen=True, slots=True)
class Drill:
    """A drill: its result, and all findings."""

    state: DrillState
    findings: tuple[str, ...] = ()


def source_of(settings: Settings) -> Source | None:
    """Return what a drill would restore: the replica, or else the newest backup. None: there is neither."""
    replica = replica_address(settings)
    if replica is not None:
        return Source(
            f"replica {replica}",
            from_replica(replica, settings.fx_database.name, None),
            True,
            "If `fx-pipeline check` finds nothing, set FX_REPLICA_URL to an empty place for a new replica.",
        )
    newest = newest_backup(settings.fx_database)
    if newest is None:
        return None
    fetch = _existing(newest) if isinstance(newest, Path) else from_replica(newest, RATES, None)
    remedy = "If `fx-pipeline check` finds nothing, make a new backup: `fx-pipeline backup`."
    return Source(f"backup {newest}", fetch, False, remedy)


def _existing(backup: Path) -> Fetch:
    def fetch(folder: Path) -> None:
        if not (backup / RATES).exists():
            raise StoreError("it is no longer there, or its disk is not mounted")
        from_backup(backup)(folder)

    return fetch


def drill(settings: Settings, now: Clock = utc_now) -> Drill:
    """Restore, check and compare. Keep the result next to the database, and return it. Raise OSError."""
    database, source, at = settings.fx_database, source_of(settings), now()
    if source is None:
        done = Drill(DrillState(at=_text(at), result="skipped"))
    else:
        done = _drilled(source, database, at)
    before = read_drill(database)
    good_at = before.good_at if before else None
    since = before.since if before else None
    state = replace(
        done.state,
        good_at=done.state.at if done.state.result == "good" else good_at,
        since=since or (done.state.at if source else None),
    )
    done = replace(done, state=state)
    write_drill(database, done.state)
    return done


def _drilled(source: Source, database: Path, at: dt.datetime) -> Drill:
    state = DrillState(at=_text(at), result="failed", source=source.name)
    try:
        _make_room(database)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=database.parent) as name:
            folder = Path(name)
            start = time.monotonic()
            source.fetch(folder)
            seconds = round(time.monotonic() - start, 2)
            size = sum(file.stat().st_size for file in folder.iterdir())
            state = replace(state, seconds=seconds, bytes=size)
            lost = lost_commits(database)  # before the database is opened
            found = [f"{lost} {RESTORE}"] if lost else []
            found += [_of_copy(f"is not sound: {line}", source) for line in _damage(folder)]
            if not found:
                compared = compare(folder / RATES, database, current_at=at if source.is_current else None)
                state = replace(state, newest=compared.newest)
                found = [_with_remedy(line, source) for line in compared.differences]
    except (StoreError, LitestreamError, OSError, *UNREADABLE) as error:
        found = [_of_copy(f"cannot be restored: {error}", source)]
    if found:
        return Drill(replace(state, finding=found[0]), (*found,))
    return Drill(replace(state, result="good"))


def _damage(folder: Path) -> list[str]:
    rates, tokens = folder / RATES, folder / TOKENS
    return findings(rates) or token_findings(tokens, rates)


def _of_copy(fault: str, source: Source) -> str:
    """Return a finding about the copy. Its remedy is not to restore the database, which may be sound."""
    return _with_remedy(f"The {source.name} {fault.partition(f' {RESTORE}')[0]}", source)


def _with_remedy(line: str, source: Source) -> str:
    line = line if line.endswith(".") else f"{line}."
    return line if RESTORE in line or "`fx-pipeline status`" in line else f"{line} {source.remedy}"


def _make_room(database: Path) -> None:
    """Remove what killed drills left. Raise StoreError if the copy would fill the disk."""
    for old in database.parent.glob(f"{SCRATCH}*"):
        if time.time() - old.stat().st_mtime > _LEFT_BEHIND.total_seconds():
            shutil.rmtree(old, ignore_errors=True)
    needed = 2 * database.stat().st_size + FREE_MB * 2**20
    free = shutil.disk_usage(database.parent).free
    if free < needed:
        raise StoreError(
            f"the disk of {database.parent} has {free // 2**20:,} MB free, and the drill needs "
            f"{needed // 2**20:,} MB"
        )


def _text(at: dt.datetime) -> str:
    return at.isoformat(timespec="seconds")
