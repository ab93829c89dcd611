"""A writer is killed in a commit that Litestream can read already, but that is not yet in SQLite's index."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from fx_pipeline.replication import litestream
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.wal import cut_commits
from fx_pipeline_tests.command_line import environment
from fx_pipeline_tests.object_store import ObjectStore
from fx_pipeline_tests.replication.replicating import read, replicating, write
from fx_pipeline_tests.waiting import wait_for

_KILLED = """
import os, signal, sys
from pathlib import Path
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.wal import written

index = os.open(sys.argv[1] + "-shm", os.O_RDWR)

class Killed(sqlite3.Connection):
    def execute(self, statement):
        before = os.pread(index, 96, 0)
        done = super().execute(statement)
        if statement == "COMMIT":
            os.pwrite(index, before, 0)
            os.kill(os.getpid(), signal.SIGKILL)
        return done

connection = sqlite3.connect(sys.argv[1], isolation_level=None, factory=Killed)
with written(connection, Path(sys.argv[1])):
    connection.executemany("INSERT INTO numbers VALUES (?)", [(value,) for value in range(1000, 4000)])
"""

_LITESTREAM_WRITES = """
INSERT INTO _litestream_seq (id, seq) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET seq = seq + 1
"""
"""What Litestream executes after each checkpoint."""


def test_what_litestream_read_of_a_cut_commit_is_replaced(tmp_path: Path, store: ObjectStore) -> None:
    database = tmp_path / "fx.db"
    write(database, 1)
    with replicating(database, store.url("cut")) as running:
        running.wait_for_position(0)
        running.process.send_signal(signal.SIGSTOP)  # it must not notice before Litestream has written
        try:
            before = _copied(database)
            command = [sys.executable, "-c", _KILLED, str(database)]
            assert subprocess.run(command, env=environment(), check=False).returncode == -signal.SIGKILL
            wait_for(lambda: _copied(database) - before)
            with closing(sqlite3.connect(database, isolation_level=None)) as connection:
                connection.execute(_LITESTREAM_WRITES)
            wait_for(lambda: cut_commits(database))
        finally:
            running.process.send_signal(signal.SIGCONT)
        wait_for(lambda: not cut_commits(database))
        position = running.wait_for_position(0)
        write(database, 2)
        running.wait_for_position(position)
        assert running.end() == 0
    litestream.restore(store.address("cut/1").of("fx.db"), tmp_path / "restored.db")
    assert read(tmp_path / "restored.db") == read(database) == [1, 2]


def _copied(database: Path) -> set[str]:
    """Return the names of the files into which Litestream has copied the commits that it has read."""
    return {file.name for file in database.parent.glob(f".{database.name}-litestream/ltx/0/*.ltx")}
