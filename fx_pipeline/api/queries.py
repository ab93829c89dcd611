"""The canned queries of ``datasette_config/metadata.yaml``, run for a visitor: the API runs no other SQL.

A request runs all its queries in one of Datasette's threads, within one read transaction: one hop, and one
state of the database.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from datasette.app import Datasette
from datasette.utils import sqlite_timelimit
from datasette.utils.asgi import Forbidden

DATABASE = "fx"
"""The name under which Datasette serves the file, whatever the file's own name is."""

T = TypeVar("T")


class Queries:
    """The canned queries on one connection, by name."""

    def __init__(self, connection: sqlite3.Connection, sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql

    def rows(self, name: str, **parameters: str) -> list[tuple[Any, ...]]:
        """All rows of a canned query; an empty parameter means that it is not given."""
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor.execute(self._sql[name], parameters).fetchall()


async def run(
    datasette: Datasette, actor: dict[str, Any] | None, names: Sequence[str], work: Callable[[Queries], T]
) -> T:
    """Call `work` with the queries `names`, where `actor` may view each of them.

    Raises datasette.Forbidden where it may not, and what `work` raises.
    """
    inherited = False
    for name in names:
        allowed = await datasette.permission_allowed(actor, "view-query", (DATABASE, name), default=None)
        if allowed is False:
            raise Forbidden("view-query")
        inherited |= allowed is None
    if inherited:
        # Once for all: who may see the database may see each query that has no rule of its own.
        await datasette.ensure_permissions(actor, [("view-database", DATABASE), "view-instance"])
    return await run_for_anyone(datasette, names, work)


async def run_for_anyone(datasette: Datasette, names: Sequence[str], work: Callable[[Queries], T]) -> T:
    """Call `work` with the queries `names`, whoever asks: for what must answer without a token."""
    canned = await datasette.get_canned_queries(DATABASE, None)
    sql = {name: canned[name]["sql"] for name in names}

    def in_thread(connection: sqlite3.Connection) -> T:
        with sqlite_timelimit(connection, datasette.sql_time_limit_ms):
            connection.execute("BEGIN")
            try:
                return work(Queries(connection, sql))
            finally:
                connection.rollback()

    result: T = await datasette.get_database(DATABASE).execute_fn(in_thread)
    return result
