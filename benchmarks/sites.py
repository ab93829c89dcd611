"""Writers and readers over one replica, each a process of its own, as on machines of their own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from fx_pipeline.replicated import read_state
from fx_pipeline_tests.object_store import ObjectStore
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.waiting import wait_for

PROGRAM = (sys.executable, "-m", "fx_pipeline")


@dataclass(frozen=True, slots=True)
class Machine:
    """A folder with a database that is replicated to a path of the store, or follows it."""

    store: ObjectStore
    path: str
    database: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its processes."""
        url = self.store.url(self.path)
        own = {"FX_DATABASE": str(self.database), "FX_REPLICA_URL": url}
        return {**os.environ, **self.store.credentials, **own}

    @contextmanager
    def running(self, command: str) -> Iterator[psutil.Process]:
        """Run `replicate` or `replica` during a block."""
        with (
            reserved_port() as port,
            subprocess.Popen(
                [*PROGRAM, command],
                env={**self.environment, "FX_LITESTREAM_PORT": str(port)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process,
        ):
            try:
                yield psutil.Process(process.pid)
            finally:
                process.terminate()

    def wait_until_replicated(self) -> None:
        """Wait until everything committed so far is in the replica."""
        for _ in range(2):  # the first confirmation may be of a look that had begun before
            known = {None, self._confirmed()}
            wait_for(self._confirmed, lambda at: at not in known)  # noqa: B023  # called in this round only

    def _confirmed(self) -> str | None:
        state = read_state(self.database)
        return state.confirmed_at if state else None


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time used so far by a process and all its children, those that have ended too."""
    return sum(sum(one.cpu_times()[:4]) for one in (process, *process.children(recursive=True)))
