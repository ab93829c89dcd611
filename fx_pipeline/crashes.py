"""Crashes of processes: a small file next to the database. Supervisors write it, the watcher reads it."""

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fx_pipeline.clock import utc_now
from fx_pipeline.small_files import replace_text

WINDOW = dt.timedelta(minutes=15)
"""How long a crash counts."""

MANY = 3
"""Crashes of one process within WINDOW that are a loop."""

KEPT = 200
"""Lines after which old ones are removed from the file."""


def record_crash(database: Path, name: str, now: dt.datetime) -> None:
    """Note that a process has ended without being asked to. Do nothing if that cannot be written."""
    file = _file(database)
    line = json.dumps({"at": now.isoformat(timespec="seconds"), "name": name})
    with suppress(OSError):  # a full disk must not stop the supervisor
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        if len(lines) < KEPT:
            with file.open("a", encoding="utf-8") as end:  # one short write: no line of another is lost
                end.write(f"{line}\n")
        else:
            replace_text(file, "\n".join([*lines[-KEPT // 2 :], line, ""]))


def crash_loops(database: Path, now: dt.datetime) -> dict[str, int]:
    """Return each process that crashes again and again, and how often it did within WINDOW."""
    try:
        lines = _file(database).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    crashes: Counter[str] = Counter()
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):  # the power failed while it was written
            crash = json.loads(line)
            if abs(now - dt.datetime.fromisoformat(crash["at"])) < WINDOW:
                crashes[str(crash["name"])] += 1
    return {name: count for name, count in sorted(crashes.items()) if count >= MANY}


@contextmanager
def marked(database: Path, name: str, now: dt.datetime) -> Iterator[None]:
    """Note a crash if the block ends with an error, or if the process is killed in it: at the next start.

    A file shows that the block runs.
    """
    mark = database.with_name(f"{database.name}-{name}.running")
    if mark.exists():
        record_crash(database, name, now)
    with suppress(OSError):
        mark.touch()
    try:
        yield
    except Exception:
        record_crash(database, name, utc_now())
        raise
    finally:
        with suppress(OSError):
            mark.unlink(missing_ok=True)


def _file(database: Path) -> Path:
    return database.with_name(f"{database.name}-crashes")
