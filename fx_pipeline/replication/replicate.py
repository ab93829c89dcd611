"""`fx-pipeline replicate`: keeps Litestream running, watches it, and reports its state."""

import datetime as dt
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fx_pipeline.clock import utc_now
from fx_pipeline.replicated import ReplicationState, folder_of, read_state, remove_state, write_state
from fx_pipeline.replication.addresses import require_replica
from fx_pipeline.replication.daemon import Litestream, prepared
from fx_pipeline.replication.fencing import (
    Claim,
    SupersededError,
    recorded,
    require_current,
    require_writer,
)
from fx_pipeline.replication.litestream import LitestreamError, program
from fx_pipeline.replication.watch import Watch
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.wal import cut_commits, empty_log, take_over_unindexed

LOOK = 5.0
"""Seconds between two looks at the positions."""

LATE = 40.0
"""Seconds without a confirmation after which a Litestream that has logged an error is started again."""

HUNG = 60.0
"""Seconds without any answer after which Litestream is killed and started again."""

PAUSE, MAX_PAUSE = 1.0, 30.0
"""Seconds until Litestream is started again. The pause doubles each time."""

STEADY = 60.0
"""After running for so many seconds, Litestream is started again after the first, short pause."""

WHOLE_AGAIN = 60.0
"""Seconds until the next attempt to begin with all of a file, if a reader or a writer was in the way."""

CHECK = 15.0
"""Seconds between two looks at whether another host has taken over: one request to the store each."""


class Replication:
    """The replication of both files of an instance.

    `say` prints a line. `superseded` is called with the reason if another host has taken over.
    """

    def __init__(
        self, settings: Settings, say: Callable[[str], None], superseded: Callable[[str], None]
    ) -> None:
        self._address = require_replica(settings)
        self._port = settings.fx_litestream_port
        self._database = settings.fx_database
        self._files = {path.name: path for path in (self._database, settings.tokens_database)}
        self._say = say
        self._superseded = superseded
        self._watch = Watch(self._files, time.monotonic())
        self._whole = {*self._files.values()}
        """The files that Litestream has to replicate as a whole: what it has read may be wrong."""
        before = read_state(self._database)
        self._confirmed_at = before.confirmed_at if before else None
        # What an earlier process has reported is over only when the replica is complete again.
        self._failing = before is not None and before.fault is not None
        self._check_at = 0.0

    def run(self) -> None:
        """Replicate until SystemExit is raised. Raise LitestreamError if that cannot begin.

        Raise SupersededError if another host has taken over.
        """
        program()
        folder = folder_of(self._database)
        try:
            with _alone(folder):
                self._replicate(folder, self._claimed())
        except SystemExit:
            remove_state(self._database)
            raise
        except SupersededError as error:
            self._superseded(str(error))
            remove_state(self._database)
            raise

    def _claimed(self) -> Claim:
        """Return the generation that this host writes, as soon as that is known."""
        while True:
            try:
                return require_writer(self._address, self._database)
            except LitestreamError as error:
                if own := recorded(self._address, self._database):
                    return own
                self._report(str(error).rstrip("."))
                time.sleep(LOOK)

    def _replicate(self, folder: Path, own: Claim) -> None:
        replicas = {path: own.address(self._address).of(name) for name, path in self._files.items()}
        with prepared(folder, replicas, self._port) as (config, control):
            self._say(f"Replicating {' and '.join(map(str, replicas))} to {own.address(self._address)}.")
            pause = PAUSE
            while True:
                started = time.monotonic()
                self._whole -= {path for path in self._whole if empty_log(path)}
                litestream = Litestream(config, control, self._files, self._print)
                try:
                    self._observe(litestream, own)
                finally:
                    ended = litestream.process.poll() is not None
                    litestream.end()
                if ended:
                    self._watch.saw_end(time.monotonic())
                    self._whole |= {*self._files.values()}
                self._report(litestream.last_error)
                if time.monotonic() - started > STEADY:
                    pause = PAUSE
                code = litestream.process.returncode
                self._say(f"Litestream has ended (rc={code}). It starts again in {pause:.0f} s.")
                time.sleep(pause)
                pause = min(2 * pause, MAX_PAUSE)

    def _observe(self, litestream: Litestream, own: Claim) -> None:
        """Look at the positions until Litestream ends or must begin again. Kill it if it does not answer."""
        answered = time.monotonic()
        whole_at = answered + (WHOLE_AGAIN if self._whole else 0)
        while litestream.process.poll() is None:
            for path in self._files.values():
                with suppress(sqlite3.Error, OSError):
                    take_over_unindexed(path)
            self._whole |= {path for path in self._files.values() if cut_commits(path)}
            if self._whole and time.monotonic() >= whole_at:
                self._say(f"All of {', '.join(map(str, sorted(self._whole)))} is replicated again.")
                return
            positions = litestream.positions()
            now = time.monotonic()
            self._watch.see(now, positions)
            self._report(litestream.last_error)
            if positions:
                answered = now
            elif now - answered > HUNG:
                self._say(f"Litestream has not answered for {HUNG:.0f} s, so it is killed.")
                litestream.process.kill()
            if now >= self._check_at:
                self._check_at = now + CHECK
                with suppress(LitestreamError):  # if the store is lost, the positions show it
                    require_current(self._address, self._database, own)
            if litestream.last_error and now - self._watch.confirmed() > LATE:
                # After errors, it would wait for up to 5 minutes until it tries again.
                return
            with suppress(subprocess.TimeoutExpired):
                litestream.process.wait(LOOK)

    def _report(self, error: str) -> None:
        """Write the state, and print a new fault and its end."""
        now = time.monotonic()
        fault = self._watch.fault(now)
        if fault is not None:
            reason = f" Its last error: {self._address.redacted(error)}." if error else ""
            fault = f"{fault}.{reason} Check the store at {self._address} and its credentials."
            if not self._failing:
                self._say(fault)
            self._failing = True
        elif self._failing and self._watch.has_confirmed():
            self._say("All commits are in the replica again.")
            self._failing = False
        if self._watch.has_confirmed():
            confirmed = utc_now() - dt.timedelta(seconds=now - self._watch.confirmed())
            self._confirmed_at = confirmed.isoformat(timespec="seconds")
        write_state(
            self._database,
            ReplicationState(
                at=utc_now().isoformat(timespec="seconds"),
                confirmed_at=self._confirmed_at,
                positions=self._watch.positions,
                fault=fault,
            ),
        )

    def _print(self, line: str) -> None:
        self._say(self._address.redacted(line))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for one process. Raise LitestreamError if another holds it, or it cannot be written."""
    lock = FileLock(folder / "lock", blocking=False)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise LitestreamError(f"Another fx-pipeline replicate is using {folder}: stop it.") from None
    except OSError as error:
        reason = f"{folder} cannot be written ({error.strerror}): check its permissions."
        raise LitestreamError(reason) from None
    try:
        yield
    finally:
        lock.release()
