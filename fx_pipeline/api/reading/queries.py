"""The canned queries of ``datasette_config/metadata.yaml``, run for one request: the API has no other SQL.

A request runs all its queries in one read transaction, so it sees one state of the database. Work that reads
little runs in the event loop, because a thread costs more time than the work itself. Everything else runs in
a lane (see `lanes`).
"""

import datetime as dt
import enum
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.database import Database
from datasette.plugins import pm
from datasette.utils.asgi import Forbidden
from starlette.types import Receive

from fx_pipeline.api.errors import SERVER_BUSY, ApiError
from fx_pipeline.api.reading.lanes import DAYS, Effort, Lane, Limit, TooLong, while_connected
from fx_pipeline.api.reading.served import ServedFile, is_locked
from fx_pipeline.rates import calendar

DATABASE = "fx"
"""The name under which Datasette serves the file, whatever the file's own name is."""

AT_ONCE = Limit(0.05, clock=time.thread_time)
"""Processor time in the event loop, while everything else waits. What takes longer starts again in a lane."""

SHORT = Limit(0.25, clock=time.thread_time)
"""Processor time of a page. Work that takes longer starts again in the lane for long work."""

LONG = Limit(10.0, clock=time.thread_time, pauses=True)
"""Processor time. The size of an answer is bounded, so only a very slow machine takes this long."""

PROBE = Limit(5.0)
"""A health check that must wait for the database file takes no longer."""

SHORT_PLACES, LONG_PLACES, PROBE_PLACES = 64, 16, 8
"""How many requests wait in each lane. A client that finds no place is asked to come back later."""

T = TypeVar("T")


class Size(enum.Enum):
    """How much work a request is."""

    SMALL = enum.auto()
    """A millisecond or two."""
    MEDIUM = enum.auto()
    """As much as a page."""
    LARGE = enum.auto()
    """Up to all that one answer may hold."""
    PROBE = enum.auto()
    """A health check, which waits for no other request."""


class Queries:
    """The canned queries on one connection, by name."""

    def __init__(self, connection: sqlite3.Connection, sql: Mapping[str, str], effort: Effort) -> None:
        self._connection = connection
        self._sql = sql
        self._effort = effort

    def paced(self, items: Iterable[T], every: int = DAYS) -> Iterator[T]:
        """The items, with pauses that let other requests go first. For loops over many days."""
        return self._effort.paced(items, every)

    def rows(self, name: str, **parameters: str) -> list[tuple[Any, ...]]:
        """All rows of a canned query; an empty parameter means that it is not given."""
        return self._connection.execute(self._sql[name], parameters).fetchall()

    def select(self, sql: str, parameters: Mapping[str, str]) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """The columns and rows of a canned query, or of SQL that Datasette made for a table."""
        cursor = self._connection.execute(sql, parameters)
        return [name for name, *_ in cursor.description], cursor

    def history(self, symbol: str, **parameters: str) -> tuple[Sequence[str], list[float]]:
        """Dates and rates of the `rate_history` of one currency, oldest first.

        Where it has every day from its first to its last, its dates are the calendar's: to read them takes
        longer than to read the rates.
        """

        def read(column: str, order: str) -> list[Any]:
            sql = f"SELECT {column} FROM ({self._sql['rate_history']}) ORDER BY {order}"  # noqa: S608
            return [value for (value,) in self._connection.execute(sql, {"symbols": symbol, **parameters})]

        rates = read("rate", "currency, date")
        if not rates:
            return [], rates
        [first], [last] = (read("date", f"currency {way}, date {way} LIMIT 1") for way in ("ASC", "DESC"))
        dates = calendar(dt.date.fromisoformat(first), dt.date.fromisoformat(last))
        return dates if len(dates) == len(rates) else read("date", "currency, date"), rates


async def run(
    datasette: Datasette,
    actor: dict[str, Any] | None,
    names: tuple[str, ...],
    work: Callable[[Queries], T],
    *,
    size: Size = Size.MEDIUM,
    receive: Receive | None = None,
) -> T:
    """Call `work` with the queries `names`, where `actor` may view each of them.

    Work that waits or runs in a lane is dropped when `receive` says that the client has disconnected.

    Raises datasette.Forbidden where `actor` may not view a query, ApiError where the work cannot be done now,
    and what `work` raises.
    """
    known = _known(datasette)
    if actor is not None or known is None:
        allowed = await _may(datasette, actor, names)
    elif names in known.open:
        allowed = known.open[names]
    else:
        allowed = known.open[names] = await _may(datasette, None, names)
    if not allowed:
        raise Forbidden("view-query")
    return await run_for_anyone(datasette, names, work, size=size, receive=receive)


async def _may(datasette: Datasette, actor: dict[str, Any] | None, names: Sequence[str]) -> bool:
    inherited = False
    for name in names:
        allowed = await datasette.permission_allowed(actor, "view-query", (DATABASE, name), default=None)
        if allowed is False:
            return False
        inherited |= allowed is None
    if inherited:
        # Once for all: who may see the database may see each query that has no rule of its own.
        try:
            await datasette.ensure_permissions(actor, [("view-database", DATABASE), "view-instance"])
        except Forbidden:
            return False
    return True


async def run_for_anyone(
    datasette: Datasette,
    names: tuple[str, ...],
    work: Callable[[Queries], T],
    *,
    size: Size,
    receive: Receive | None = None,
) -> T:
    """Call `work` as `run` does, without asking who wants it: for what must answer without a token."""
    known = _known(datasette)
    sql = known.sql.get(names) if known else None
    if sql is None:
        canned = await datasette.get_canned_queries(DATABASE, None)
        sql = {name: canned[name]["sql"] for name in names}
        if known:
            known.sql[names] = sql

    def answer(connection: sqlite3.Connection, effort: Effort) -> T:
        with effort.reading(connection):
            return work(Queries(connection, sql, effort))

    lanes, database = lanes_of(datasette), datasette.get_database(DATABASE)
    database.served.look()
    try:
        return await _in_a_lane(lanes, database, size, answer, receive)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        # The file may have been overwritten.
        database.served.suspect()
        raise


async def _in_a_lane(
    lanes: "Lanes",
    database: Database,
    size: Size,
    answer: Callable[[sqlite3.Connection, Effort], T],
    receive: Receive | None,
) -> T:
    if size in (Size.SMALL, Size.PROBE):
        try:
            with lanes.at_once.using(partial(_connect_at_once, database)) as connection:
                return answer(connection, Effort(AT_ONCE))
        except TooLong:
            pass
        except sqlite3.OperationalError as error:
            if not is_locked(error):
                raise
    return await while_connected(receive, lanes.run(database, size, answer))


class Lanes:
    """The lanes of one Datasette. Their connections are the API's own, and Datasette closes them.

    Datasette's other connections call a Python function for each text: half the time of a long series.
    """

    def __init__(self, served: ServedFile) -> None:
        self.at_once = served.hold()
        self.short = Lane("short", SHORT_PLACES, SHORT, served.hold())
        self.long = Lane("long", LONG_PLACES, LONG, served.hold())
        self.probe = Lane("probe", PROBE_PLACES, PROBE, served.hold())

    async def run(self, database: Database, size: Size, work: Callable[[sqlite3.Connection, Effort], T]) -> T:
        """Do the work in the lane for its size, and again in the next where it proves to be longer."""
        if size is Size.PROBE:
            return await self.probe.run(database, work)
        if size is not Size.LARGE:
            try:
                return await self.short.run(database, work)
            except TooLong:
                pass
        try:
            return await self.long.run(database, work)
        except TooLong:
            raise ApiError(
                SERVER_BUSY,
                "This takes longer than one answer may take: try again later, or ask for fewer days.",
            ) from None


def lanes_of(datasette: Datasette) -> Lanes:
    """The lanes in which requests to this Datasette run."""
    served = datasette.get_database(DATABASE).served
    return _LANES.get(datasette) or _LANES.setdefault(datasette, Lanes(served))


def _connect_at_once(database: Database) -> sqlite3.Connection:
    connection: sqlite3.Connection = database.connect()
    connection.execute("PRAGMA busy_timeout = 0")
    return connection


_LANES: WeakKeyDictionary[Datasette, Lanes] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Known:
    """What one Datasette has said before: which queries anybody may view, and the SQL of each."""

    open: dict[tuple[str, ...], bool] = field(default_factory=dict)
    sql: dict[tuple[str, ...], Mapping[str, str]] = field(default_factory=dict)


_KNOWN: WeakKeyDictionary[Datasette, _Known] = WeakKeyDictionary()
_HOOKS = ("permission_allowed", "get_metadata", "canned_queries")


def _known(datasette: Datasette) -> _Known | None:
    """What may be remembered of this Datasette; None while a plugin may say something else each time.

    Without such a plugin all rules and queries are those of ``metadata.yaml``, which is read once.
    """
    if any(
        not implementation.plugin_name.startswith("datasette.")
        for hook in _HOOKS
        for implementation in getattr(pm.hook, hook).get_hookimpls()
    ):
        return None
    return _KNOWN.setdefault(datasette, _Known())
