"""Lanes: threads that run the work of requests, so that long requests do not delay short ones.

Each lane is one thread with its own connection and queue. More threads would not be faster: most of the work
is in Python, which runs one thread at a time. Long work pauses often, so the event loop and the short lane go
first.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import Receive

from fx_pipeline.api.errors import SERVER_BUSY, ApiError, ErrorKind
from fx_pipeline.api.reading.served import HeldConnection
from fx_pipeline.sqlite import sqlite3

DAYS = 32
"""Days that a loop handles between two checks of the clock."""

RUN_SECONDS, PAUSE_SECONDS = 0.001, 0.000_05
"""How long work runs before it pauses, and for how long it pauses. A shorter pause has no effect: a thread
that releases the interpreter lock and takes it back within a microsecond keeps it."""

CLIENT_GONE = ErrorKind(499, 499, "client_closed_request")
"""Never sent, but counted: nginx's status for a client that left. A 503 would look like a fault."""

INSTRUCTIONS = 1000
"""SQLite instructions between two checks of the clock: about 0.1 ms."""

T = TypeVar("T")


class TooLong(Exception):
    """The work took longer than its lane allows."""


class Dropped(Exception):
    """The work was stopped because its client is gone."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How long work may run, in seconds of `clock`, and whether it pauses to let other work go first."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    pauses: bool = False


class Effort:
    """A piece of work in progress. Any thread may call `stop`; only the working thread may call the rest."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._end = limit.clock() + limit.seconds
        self._resumed = time.monotonic()
        self._is_stopped = False

    def begin(self) -> None:
        """Start the clock, in the thread that does the work. Raise Dropped if the work has been stopped."""
        self._end = self._limit.clock() + self._limit.seconds
        self.check()

    def stop(self) -> None:
        """End the work early."""
        self._is_stopped = True

    def is_over(self) -> bool:
        """Return whether the work must end now."""
        return self._is_stopped or self._limit.clock() >= self._end

    def check(self) -> None:
        """Pause if a pause is due. Raise Dropped or TooLong if the work must end."""
        if self._is_stopped:
            raise Dropped
        if self.is_over():
            raise TooLong
        if self._limit.pauses and time.monotonic() - self._resumed >= RUN_SECONDS:
            time.sleep(PAUSE_SECONDS)
            self._resumed = time.monotonic()

    def paced(self, items: Iterable[T], every: int = DAYS) -> Iterator[T]:
        """Yield the items, with a `check` before every `every` items."""
        for place, item in enumerate(items):
            if place % every == 0:
                self.check()
            yield item

    @contextlib.contextmanager
    def reading(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Open a read transaction. Raise Dropped or TooLong when the work must end."""
        connection.set_progress_handler(self.is_over, INSTRUCTIONS)
        try:
            connection.execute("BEGIN")
            yield
        except sqlite3.OperationalError:
            self.check()
            raise
        finally:
            connection.set_progress_handler(None, INSTRUCTIONS)
            connection.rollback()


class Lane:
    """A thread that does one piece of work at a time, in order of arrival. Up to `places` can wait."""

    def __init__(self, name: str, places: int, limit: Limit, held: HeldConnection) -> None:
        self.places = places
        self.limit = limit
        self.waiting = 0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"fx-{name}")
        self._held = held

    async def run(self, work: Callable[[sqlite3.Connection, Effort], T]) -> T:
        """Queue the work, do it and return its result. If the caller is cancelled, drop the work.

        Raise ApiError if the queue is full, and whatever `work` raises.
        """
        if self.waiting >= self.places:
            raise ApiError(SERVER_BUSY, f"{self.places} requests like this are already waiting. Retry later.")
        self.waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self.waiting -= 1
        try:
            return await self._run(work)
        finally:
            self._turn.release()

    async def _run(self, work: Callable[[sqlite3.Connection, Effort], T]) -> T:
        effort = Effort(self.limit)

        def in_thread() -> T:
            effort.begin()
            with self._held.using() as connection:
                return work(connection, effort)

        # With the context, so that the thread's lines and spans belong to the request.
        running = asyncio.get_running_loop().run_in_executor(self._thread, copy_context().run, in_thread)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            effort.stop()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # marks it as retrieved, so that asyncio does not log it
            raise


async def while_connected(receive: Receive | None, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`. If the client disconnects first, cancel the work and raise ApiError."""
    if receive is None:
        return await work
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ApiError(CLIENT_GONE, "The client has closed the connection.")
        return working.result()
    finally:
        for task in (leaving, working):
            task.cancel()
        await asyncio.wait((working, leaving))


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
