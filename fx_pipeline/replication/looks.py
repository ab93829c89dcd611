"""Looks at the store: which transaction of a database is the newest there. Nothing waits for them."""

import datetime as dt
import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from fx_pipeline.clock import utc_now
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.litestream import Configured

LIMIT = 10.0
"""Seconds that a look may take."""


class Looks:
    """Repeated looks at the replica of one database. `say` is called when they begin to fail."""

    def __init__(
        self, database: Path, address: ReplicaAddress, config: Configured, say: Callable[[str], None]
    ) -> None:
        self.newest: int | None = None
        """The newest transaction in the store, 0 if it has none; None before the first look has ended."""
        self.asked_at: dt.datetime | None = None
        """When the look began that found it."""
        # Litestream keeps the newest file of level 0.
        self._command = config.command("ltx", "-level", "0", "-json", str(database))
        self._environment = config.environment
        self._address = address
        self._say = say
        self._failing = False
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._began_at = utc_now()
        self._deadline = 0.0
        self._next = 0.0

    def end(self) -> None:
        """End a look that is under way."""
        self._stack.close()

    def soon(self) -> None:
        """Look again within a second."""
        self._next = min(self._next, time.monotonic() + 1)

    def step(self, period: float) -> None:
        """Begin a look if the last one began `period` seconds ago. Read the result of one that has ended."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._next:
                self._next = now + period
                self._begin(now)
        elif self._process.poll() is not None:
            self._read(self._process.returncode)
        elif now > self._deadline:
            self._process.kill()

    def _begin(self, now: float) -> None:
        self._began_at, self._deadline = utc_now(), now + LIMIT
        self._output = self._stack.enter_context(TemporaryFile())  # noqa: SIM115  # the stack closes it
        self._process = self._stack.enter_context(
            subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
            )
        )
        self._stack.callback(self._process.kill)

    def _read(self, code: int) -> None:
        assert self._output is not None  # noqa: S101  # a look has an output
        self._output.seek(0)
        text = self._output.read().decode(errors="replace").strip()
        self._process = None
        self._stack.close()
        try:
            files = json.loads(text)
            self.newest = max((int(file["max_txid"], 16) for file in files), default=0)
        except (ValueError, LookupError, TypeError):
            reason = text.splitlines()[-1] if text and code > 0 else f"no response in {LIMIT:.0f} s"
            if not self._failing:
                self._say(f"{self._address} cannot be read: {self._address.redacted(reason)}")
            self._failing = True
            self.soon()
        else:
            if self._failing:
                self._say(f"{self._address} can be read again.")
            self._failing = False
            self.asked_at = self._began_at
