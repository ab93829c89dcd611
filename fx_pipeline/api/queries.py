"""The canned queries of ``datasette_config/metadata.yaml``, run for a visitor: the API runs no other SQL.

A request runs all its queries within one read transaction: one state of the database. What reads little does
so where it is asked, in the event loop: the way to a thread and back takes longer. What may read more runs in
one of Datasette's threads, one request at a time: most of the work is Python's, and two threads that contend
for the interpreter take twice as long for the same.
"""

import asyncio
import datetime as dt
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.database import Database
from datasette.plugins import pm
from datasette.utils import sqlite_timelimit
from datasette.utils.asgi import Forbidden

from fx_pipeline.rates import calendar

DATABASE = "fx"
"""The name under which Datasette serves the file, whatever the file's own name is."""

TIME_LIMIT_MS = 10_000
"""How long an endpoint may read. What it may answer is bounded, so this is for a machine in distress."""

AT_ONCE_MS = 50
"""How long it may do so while everything else waits; what takes longer begins anew in a thread."""

_TO_BE_WAITED_FOR = re.compile("locked|interrupted")

T = TypeVar("T")


class Queries:
    """The canned queries on one connection, by name."""

    def __init__(self, connection: sqlite3.Connection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql

    def rows(self, name: str, **parameters: str) -> list[tuple[Any, ...]]:
        """All rows of a canned query; an empty parameter means that it is not given."""
        return self._connection.execute(self._sql[name], parameters).fetchall()

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
    at_once: bool = False,
) -> T:
    """Call `work` with the queries `names`, where `actor` may view each of them.

    `at_once` is for what takes a millisecond or two: everything else waits meanwhile.

    Raises datasette.Forbidden where it may not, and what `work` raises.
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
    return await run_for_anyone(datasette, names, work, at_once=at_once)


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
    datasette: Datasette, names: tuple[str, ...], work: Callable[[Queries], T], *, at_once: bool = False
) -> T:
    """Call `work` with the queries `names`, whoever asks: for what must answer without a token."""
    known = _known(datasette)
    sql = known.sql.get(names) if known else None
    if sql is None:
        canned = await datasette.get_canned_queries(DATABASE, None)
        sql = {name: canned[name]["sql"] for name in names}
        if known:
            known.sql[names] = sql

    def answer(connection: sqlite3.Connection, limit_ms: int) -> T:
        with sqlite_timelimit(connection, limit_ms):
            connection.execute("BEGIN")
            try:
                return work(Queries(connection, sql))
            finally:
                connection.rollback()

    database = datasette.get_database(DATABASE)
    reader = _READERS.get(datasette) or _READERS.setdefault(datasette, _Reader(database))
    if at_once:
        try:
            return answer(reader.at_once, AT_ONCE_MS)
        except sqlite3.OperationalError as error:
            if not _TO_BE_WAITED_FOR.search(str(error)):
                raise

    def in_thread() -> T:
        return answer(reader.of_thread(database), TIME_LIMIT_MS)

    async with reader.turn:
        return await asyncio.get_running_loop().run_in_executor(datasette.executor, in_thread)


class _Reader:
    """The API's own connections to the file of one Datasette, which closes them with its others.

    Datasette's own have a Python function called for each text: half the time of a long series.
    """

    def __init__(self, database: Database) -> None:
        self._of_thread = threading.local()
        self.turn = asyncio.Lock()
        self.at_once: sqlite3.Connection = database.connect()
        self.at_once.execute("PRAGMA busy_timeout = 0")

    def of_thread(self, database: Database) -> sqlite3.Connection:
        """The connection of the thread that asks."""
        connection: sqlite3.Connection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = database.connect()
        return connection


@dataclass(frozen=True, slots=True)
class _Known:
    """What one Datasette has said before: which queries anybody may view, and the SQL of each."""

    open: dict[tuple[str, ...], bool] = field(default_factory=dict)
    sql: dict[tuple[str, ...], Mapping[str, str]] = field(default_factory=dict)


_READERS: WeakKeyDictionary[Datasette, _Reader] = WeakKeyDictionary()
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
