"""Datasette over one fx database, with ``datasette_config/``."""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from datasette.app import Datasette
from datasette.database import Database
from datasette.url_builder import Urls
from starlette.types import ASGIApp

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.contract.routes import Routes
from fx_pipeline.api.endpoints.counts import Counts
from fx_pipeline.api.endpoints.inputs import NoInput
from fx_pipeline.api.endpoints.operation import Context, Operation
from fx_pipeline.api.failures import replace_handlers
from fx_pipeline.api.metrics.counters import Counters
from fx_pipeline.api.metrics.names import OperationNames
from fx_pipeline.api.prefixed import PrefixedRedirects, PrefixedUrls
from fx_pipeline.api.reading.demonstration import Demonstration
from fx_pipeline.api.reading.files import open_file
from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.api.reading.queries import DATABASE, Queries
from fx_pipeline.api.reading.reader import Reader
from fx_pipeline.api.reading.served import ServedFile
from fx_pipeline.api.tokens.live import Tokens
from fx_pipeline.clock import Clock, utc_now
from fx_pipeline.serving.hosts import Hosts
from fx_pipeline.settings import PROJECT, Settings
from fx_pipeline.sqlite import sqlite3

CONFIG = PROJECT / "datasette_config"

T = TypeVar("T")


class DatabaseFile(Database):  # type: ignore[misc]  # datasette has no types
    """A read-only database file. Its path may have characters that Datasette's own class does not escape.

    Each of Datasette's threads has a connection, which is reopened when the file is replaced.
    """

    def __init__(self, datasette: Datasette, path: Path) -> None:
        super().__init__(datasette, path=str(path), is_mutable=True)
        self.served = ServedFile(path)
        self._of_thread = threading.local()

    def connect(self, write: bool = False, *, timeout: float = 5.0) -> sqlite3.Connection:
        """Open a connection for reading. `close` closes it. Nothing in this process writes to the file."""
        connection, _ = open_file(Path(self.path), timeout=timeout, any_thread=True)
        # Datasette has no public way to register it.
        self._all_file_connections.append(connection)
        return connection

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call `fn` in one of Datasette's threads, with a connection to the current file."""
        self.served.check()

        def in_thread() -> T:
            held = getattr(self._of_thread, "held", None)
            if held is None:
                held = self._of_thread.held = self.served.hold(self._prepared)
            with held.using() as connection:
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self.ds.executor, in_thread)

    def close(self) -> None:
        """Close all connections, and stop watching the file."""
        super().close()
        self.served.close()

    def _prepared(self) -> sqlite3.Connection:
        connection = self.connect()
        # Datasette registers its SQL functions in this way.
        self.ds._prepare_connection(connection, self.name)
        return connection


def tokens_of(settings: Settings) -> Tokens:
    """Return the tokens of the installation that the settings describe."""
    return Tokens(settings.tokens_database, settings.fx_database, required=settings.fx_require_token)


class FxDatasette(Datasette):  # type: ignore[misc]  # datasette has no types
    """Datasette over the database file that the settings name. The plugin adds the API to it.

    `clock` returns the time (UTC). `operations` are those of the API. `counters` are those of the worker;
    without any, requests are counted only in memory.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock = utc_now,
        operations: tuple[Operation[Any], ...] = OPERATIONS,
        counters: Counters | None = None,
    ) -> None:
        replace_handlers()
        # Before the constructor of Datasette, which loads the plugin and calls its hooks.
        self.fx_settings = settings
        self.prefix = settings.api_prefix
        self.hosts = Hosts.of(settings.fx_api_url, settings.fx_allowed_hosts)
        self.clock = clock
        self.operations = operations
        self.routes = Routes(operations)
        self.operation_names = OperationNames(operations, self.routes)
        self.counters = counters or Counters()
        self.tokens = tokens_of(settings)
        secret = settings.datasette_secret
        super().__init__(
            files=[],
            config_dir=CONFIG,
            metadata=read_metadata(CONFIG / "metadata.yaml"),
            cors=True,
            secret=secret.get_secret_value() if secret else None,
        )
        # Datasette would name the database in `files` after its file, and not find its canned queries.
        self.remove_database("_memory")
        database = DatabaseFile(self, settings.fx_database)
        self.served = database.served
        self.reader = Reader(self, database.served, database.connect)
        self.demonstration = Demonstration(self.reader, database.served)
        self.counts = Counts()
        self.add_database(database, name=DATABASE)

    @property
    def urls(self) -> Urls:
        """What makes the links of Datasette's pages."""
        return PrefixedUrls(self, self.prefix)

    def app(self) -> ASGIApp:
        """Return Datasette as an ASGI application, whose redirects have the prefix."""
        app: ASGIApp = super().app()
        return PrefixedRedirects(app, self.prefix) if self.prefix else app

    def is_open(self) -> bool:
        """Return whether requests need no token now."""
        return not self.tokens.are_required()

    def health_checks(self) -> tuple[Operation[NoInput], ...]:
        """Return the operations about the process."""
        return tuple(operation for operation in self.operations if operation.is_health_check)

    def context(self, queries: Queries, now: dt.datetime, **facts: Any) -> Context:
        """Return the context of a handler. `facts` are further fields of `Context`."""
        return Context(queries, now, self.fx_settings, self.operations, self.counts, **facts)
