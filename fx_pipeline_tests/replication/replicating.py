"""`fx-pipeline replicate` in a process of its own, with shorter times, over a small database."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from fx_pipeline.replicated import ReplicationState, read_state
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.child_processes import wait_until_gone
from fx_pipeline_tests.command_line import environment
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for

_QUICK = """
import sys
from fx_pipeline.commands.cli import main
from fx_pipeline.replication import daemon, fencing, replicate, watch
replicate.LOOK, replicate.LATE, replicate.HUNG, replicate.PAUSE = 0.1, 0.5, 3, 0.1
fencing.TIMEOUT, replicate.CHECK = 2, 0.5
watch.BEHIND, watch.ENDS_WITHIN, daemon.ANSWERS_WITHIN = 2, float(sys.argv.pop(1)), 1
main()
"""


def write(database: Path, *values: int) -> None:
    """Store each number in a transaction of its own."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (value INTEGER)")
        connection.executemany("INSERT INTO numbers VALUES (?)", [(value,) for value in values])


def read(database: Path) -> list[int]:
    """Return the stored numbers."""
    with closing(sqlite3.connect(database)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM numbers ORDER BY value")]


class Replicating:
    """A running `fx-pipeline replicate` for a database file. `log` has its output."""

    def __init__(self, database: Path, url: str, *, ends_within: float = 0, **settings: str) -> None:
        self.database = database
        self.log = database.with_name("replicate.log")
        with self.log.open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _QUICK, str(ends_within), "replicate"],
                cwd=database.parent,
                env=environment(FX_DATABASE=str(database), FX_REPLICA_URL=url, **settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def state(self) -> ReplicationState | None:
        assert self.process.poll() is None, self.log.read_text()
        return read_state(self.database)

    def wait_for_status(self, status: str) -> ReplicationState:
        """Wait until it reports this status."""
        found = wait_for(self.state, lambda state: state and state.status == status)
        assert found is not None
        return found

    def wait_for_position(self, above: int) -> int:
        """Wait until the replica of the database has a newer transaction than this one, and return it."""

        def position() -> int:
            state = self.state()
            return state.positions.get(self.database.name, 0) if state else 0

        return wait_for(position, lambda found: found > above)

    def litestream(self) -> psutil.Process | None:
        """Return the running Litestream that it started."""
        assert self.process.poll() is None, self.log.read_text()
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if {"replicate", "-once"} & {*child.cmdline()} == {"replicate"}:
                    return child
        return None

    def wait_for_litestream(self, *, other_than: int = 0) -> psutil.Process:
        process = wait_for(self.litestream, lambda found: found and found.pid != other_than)
        assert process is not None
        return process

    def end(self) -> int:
        """End it as a supervisor does. Return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        wait_until_gone(self.process)
        return self.process.returncode


@contextmanager
def replicating(
    database: Path, url: str, *, ends_within: float = 0, **settings: str
) -> Iterator[Replicating]:
    """Run `fx-pipeline replicate`, and end it with the block."""
    with reserved_port() as port:  # other tests run Litestream at the same time
        settings = {"FX_LITESTREAM_PORT": str(port)} | settings
        running = Replicating(database, url, ends_within=ends_within, **settings)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.end()
