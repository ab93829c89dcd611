"""The work of Dagster's storage in numbers that do not depend on how busy the machine is."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Engine, event

EACH = 50
"""SQLite reports each time it has executed this many instructions."""


class Work(NamedTuple):
    """What the storage did."""

    statements: int
    instructions: int
    """Of SQLite's virtual machine, which needs some for each row that it reads. 0 with PostgreSQL."""


class Meter:
    """Measures functions of this process. Only one at a time may exist."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # pages are answered in several threads
        self._statements = self._reports = 0

    def of(self, function: Callable[[], object]) -> Work:
        """Return the work of a call. Dagster opens a new connection for it, if it uses SQLite."""
        before = self._statements, self._reports
        function()
        return Work(self._statements - before[0], (self._reports - before[1]) * EACH)

    def add_connection(self, connection: Any, _: object) -> None:
        """Measure the statements of a new connection."""
        if hasattr(connection, "set_progress_handler"):
            connection.set_progress_handler(self._add_report, EACH)

    def add_statement(self, *_: object) -> None:
        """Count a statement."""
        with self._lock:
            self._statements += 1

    def _add_report(self) -> int:
        with self._lock:
            self._reports += 1
        return 0  # anything else would interrupt the statement


@contextmanager
def meter() -> Iterator[Meter]:
    """Yield a meter of all connections that Dagster opens during a block."""
    meter = Meter()
    listeners: dict[str, Callable[..., None]] = {
        "connect": meter.add_connection,
        "after_cursor_execute": meter.add_statement,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    try:
        yield meter
    finally:
        for name, listener in listeners.items():
            event.remove(Engine, name, listener)
