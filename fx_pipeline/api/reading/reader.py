"""Runs work on the canned queries: checks permissions and chooses a thread and a connection.

All queries of a request run in one read transaction, so they see one state of the database. Small work runs
in the event loop, because a thread costs more time than the work itself. Other work runs in a lane.
"""

import enum
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from datasette import Forbidden
from datasette.app import Datasette
from datasette.plugins import pm
from starlette.types import Receive

from fx_pipeline import tracing
from fx_pipeline.api.errors import SERVER_BUSY, ApiError
from fx_pipeline.api.reading.files import is_locked
from fx_pipeline.api.reading.lanes import Effort, Lane, Limit, TooLong, while_connected
from fx_pipeline.api.reading.queries import DATABASE, Queries, TracedQueries
from fx_pipeline.api.reading.served import ServedFile
from fx_pipeline.sqlite import sqlite3

IN_EVENT_LOOP = Limit(0.05, clock=time.thread_time)
"""Processor time in the event loop, which blocks all other requests. Longer work restarts in a lane."""

SHORT = Limit(0.25, clock=time.thread_time)
"""Processor time of a page. Longer work restarts in the lane for long work."""

LONG = Limit(10.0, clock=time.thread_time, pauses=True)
"""Processor time. Responses are bounded in size, so only a very slow machine takes this long."""

PROBE = Limit(5.0)
"""How long a health check may wait for the database file."""

SHORT_PLACES, LONG_PLACES, PROBE_PLACES = 64, 16, 8
"""Requests that may wait in each lane. When a lane is full, clients get a 503."""

_HOOKS = ("permission_allowed", "get_metadata", "canned_queries")

T = TypeVar("T")


class Size(enum.Enum):
    """How much work a request is."""

    SMALL = enum.auto()
    """A millisecond or two."""
    MEDIUM = enum.auto()
    """As much as a page."""
    LARGE = enum.auto()
    """Up to the largest response."""
    PROBE = enum.auto()
    """A health check, which waits for no other request."""


class Reader:
    """Runs work on the canned queries of one Datasette, which closes the connections.

    The connections are separate from Datasette's own, which call a Python function for each text: half the
    time of a long series.
    """

    def __init__(
        self, datasette: Datasette, served: ServedFile, connect: Callable[..., sqlite3.Connection]
    ) -> None:
        self._datasette = datasette
        self._queries = TracedQueries if tracing.is_on() else Queries
        self._served = served
        self._in_event_loop = served.hold(partial(connect, timeout=0))
        self.short = Lane("short", SHORT_PLACES, SHORT, served.hold(connect))
        self.long = Lane("long", LONG_PLACES, LONG, served.hold(connect))
        self.probe = Lane("probe", PROBE_PLACES, PROBE, served.hold(connect))
        self._sql: dict[tuple[str, ...], Mapping[str, str]] = {}
        self._public: dict[tuple[str, ...], bool] = {}

    async def run(
        self,
        actor: dict[str, Any] | None,
        names: tuple[str, ...],
        work: Callable[[Queries], T],
        *,
        size: Size = Size.MEDIUM,
        receive: Receive | None = None,
    ) -> T:
        """Call `work` with the queries `names`, if `actor` may view all of them.

        If the client disconnects according to `receive`, work in a lane is cancelled. Raise
        datasette.Forbidden, ApiError if the work cannot be done now, and whatever `work` raises.
        """
        if not await self._is_allowed(actor, names):
            raise Forbidden("view-query")
        return await self.run_unchecked(names, work, size=size, receive=receive)

    async def run_unchecked(
        self,
        names: tuple[str, ...],
        work: Callable[[Queries], T],
        *,
        size: Size,
        receive: Receive | None = None,
    ) -> T:
        """Call `work` as `run` does, without checking permissions: for health checks."""
        sql = await self._sql_of(names)

        def read(connection: sqlite3.Connection, effort: Effort) -> T:
            with effort.reading(connection):
                return work(self._queries(connection, sql, effort))

        self._served.check()
        try:
            if size in (Size.SMALL, Size.PROBE):
                try:
                    with self._in_event_loop.using() as connection:
                        return read(connection, Effort(IN_EVENT_LOOP))
                except TooLong:
                    pass
                except sqlite3.OperationalError as error:
                    if not is_locked(error):
                        raise
            return await while_connected(receive, self._run_in_lane(size, read))
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            # The file may have been overwritten.
            self._served.check_again()
            raise

    async def _run_in_lane(self, size: Size, read: Callable[[sqlite3.Connection, Effort], T]) -> T:
        """Run `read` in the lane for its size. If it takes too long there, restart it in the long lane."""
        if size is Size.PROBE:
            return await self.probe.run(read)
        if size is not Size.LARGE:
            try:
                return await self.short.run(read)
            except TooLong:
                pass
        try:
            return await self.long.run(read)
        except TooLong:
            info = "This response takes too long to compute. Retry later, or request fewer days."
            raise ApiError(SERVER_BUSY, info) from None

    async def _sql_of(self, names: tuple[str, ...]) -> Mapping[str, str]:
        sql = None if _plugins_decide() else self._sql.get(names)
        if sql is None:
            canned = await self._datasette.get_canned_queries(DATABASE, None)
            sql = self._sql[names] = {name: canned[name]["sql"] for name in names}
        return sql

    async def _is_allowed(self, actor: dict[str, Any] | None, names: tuple[str, ...]) -> bool:
        if actor is not None or _plugins_decide():
            return await self._may_view(actor, names)
        if names not in self._public:
            self._public[names] = await self._may_view(None, names)
        return self._public[names]

    async def _may_view(self, actor: dict[str, Any] | None, names: tuple[str, ...]) -> bool:
        has_rule = []
        for name in names:
            allowed = await self._datasette.permission_allowed(
                actor, "view-query", (DATABASE, name), default=None
            )
            if allowed is False:
                return False
            has_rule.append(allowed is not None)
        if all(has_rule):
            return True
        try:
            # Queries without their own rule inherit the database's.
            await self._datasette.ensure_permissions(actor, [("view-database", DATABASE), "view-instance"])
        except Forbidden:
            return False
        return True


def _plugins_decide() -> bool:
    """Return whether a plugin may change permissions or queries from one request to the next.

    Without such a plugin, all of them come from ``metadata.yaml``, which is read once.
    """
    return any(
        not implementation.plugin_name.startswith("datasette.")
        for hook in _HOOKS
        for implementation in getattr(pm.hook, hook).get_hookimpls()
    )
