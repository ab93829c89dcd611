"""Detection of commits by any process, without releasing SQLite's locks."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx_pipeline.api.reading.commits import Commits
from fx_pipeline.sqlite import sqlite3

DELETE, WAL = "delete", "wal"


@pytest.fixture(params=[WAL, DELETE])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Create a database with one table, with a write-ahead log as in production, or without one."""
    return made(tmp_path / "fx.db", request.param)


@pytest.fixture
def commits(database: Path) -> Iterator[Commits]:
    commits = Commits(database)
    yield commits
    commits.close()


def made(path: Path, journal: str) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
        connection.commit()
    return path


def note(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO notes VALUES ('something')")


def run_in_another_process(database: Path, *statements: str, then: str = "") -> list[tuple[int, ...]]:
    """Run statements in another process, each in its own transaction. Return their first rows."""
    program = (
        "import json, os, sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "print(json.dumps([connection.execute(one).fetchone() for one in sys.argv[2:]]), flush=True)\n" + then
    )
    command = [sys.executable, "-c", program, str(database), *statements]
    done = subprocess.run(command, capture_output=True, text=True, check=not then)
    return [tuple(row or ()) for row in json.loads(done.stdout)]


def test_reading_and_rolling_back_keep_the_version(commits: Commits, database: Path) -> None:
    version = commits.version()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("SELECT * FROM notes").fetchall()
        note(connection)
        connection.rollback()
    assert commits.version() == version


@pytest.mark.parametrize("then", ["", "os._exit(1)", "os.kill(os.getpid(), 9)"])
def test_a_commit_by_another_process_changes_the_version(commits: Commits, database: Path, then: str) -> None:
    """Even if that process is killed."""
    seen = [commits.version()]
    for _ in range(3):
        run_in_another_process(database, "INSERT INTO notes VALUES ('something')", then=then)
        seen.append(commits.version())
    assert len(set(seen)) == 4


def test_a_commit_to_a_log_created_later_changes_the_version(tmp_path: Path) -> None:
    database = made(tmp_path / "fx.db", DELETE)
    with closing(Commits(database)) as commits, closing(sqlite3.connect(database)) as connection:
        before = commits.version()
        connection.execute("PRAGMA journal_mode = wal")
        note(connection)
        connection.commit()
        assert commits.version() != before


def test_follows_a_link_to_the_database(tmp_path: Path) -> None:
    database = made(tmp_path / "fx.db", WAL)
    (link := tmp_path / "link.db").symlink_to(database)
    with closing(Commits(link)) as commits:
        before = commits.version()
        run_in_another_process(database, "INSERT INTO notes VALUES ('something')")
        assert isinstance(before, bytes)
        assert commits.version() != before


def test_readers_in_this_process_keep_their_locks(tmp_path: Path) -> None:
    """A process that closes any descriptor of a file loses all its locks on it, SQLite's too."""
    database = made(tmp_path / "fx.db", WAL)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        note(connection)
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM notes").fetchall()
        commits = Commits(database)
        commits.version()
        commits.close()
        del commits
        gc.collect()
        insert, checkpoint = "INSERT INTO notes VALUES ('something')", "PRAGMA wal_checkpoint(RESTART)"
        busy, *_ = run_in_another_process(database, insert, "PRAGMA busy_timeout = 0", checkpoint)[-1]
        assert busy
        assert connection.execute("SELECT count(*) FROM notes").fetchall() == before


def commit(connection: sqlite3.Connection) -> None:
    note(connection)
    connection.commit()


def roll_back(connection: sqlite3.Connection) -> None:
    note(connection)
    connection.rollback()


def read(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT count(*) FROM notes").fetchall()


def checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def vacuum(connection: sqlite3.Connection) -> None:
    connection.execute("VACUUM")


Act = Callable[[sqlite3.Connection], None]
ACTS: list[Act] = [commit, roll_back, read, checkpoint, vacuum]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(ACTS)), max_size=30))
def test_the_version_changes_at_least_when_data_version_does(
    tmp_path: Path, acts: list[tuple[int, Act]]
) -> None:
    database = made(tmp_path / "fx.db", WAL)
    with (
        closing(Commits(database)) as commits,
        closing(sqlite3.connect(database)) as watching,
        closing(sqlite3.connect(database)) as one,
        closing(sqlite3.connect(database)) as other,
    ):
        seen: dict[object, object] = {}
        for number, act in acts:
            act((one, other)[number])
            (version,) = watching.execute("PRAGMA data_version").fetchone()
            # An equal version means an equal data_version.
            assert seen.setdefault(commits.version(), version) == version
