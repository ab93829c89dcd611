"""The API as an ASGI application: Datasette over one fx database, with ``datasette_config/``.

`run` serves it. So does ``uvicorn --factory fx_pipeline.api.app:create_app``, with
``--http fx_pipeline.serving.bounds:BoundedProtocol`` where no proxy bounds the requests.
Each worker builds its own: an instance that ran a query before a fork hangs.
"""

import asyncio
import datetime as dt
import errno
import gc
import logging
import multiprocessing
import os
import secrets
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

import click
import uvicorn
from datasette.app import Datasette
from datasette.database import Database
from starlette.types import ASGIApp

from fx_pipeline.api.endpoints.health import Counts
from fx_pipeline.api.failures import replace_handlers
from fx_pipeline.api.logs import check_dsn, redact_access_log, report_errors
from fx_pipeline.api.middleware.cache import ResponseCache
from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.api.reading.queries import DATABASE
from fx_pipeline.api.reading.reader import Reader
from fx_pipeline.api.reading.served import ServedFile, ServeError, check_database
from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.live import Tokens
from fx_pipeline.serving.bounds import BoundedProtocol
from fx_pipeline.serving.hosts import Hosts
from fx_pipeline.settings import PROJECT, Settings, SettingsError, load_settings

logger = logging.getLogger(__name__)

CONFIG = PROJECT / "datasette_config"
GRACE_SECONDS = 5
"""How long requests under way may take when the server is told to stop."""

OBJECTS_BETWEEN_COLLECTIONS = 25_000
"""A long series is ten thousand objects, none of them in a cycle: to look through them at every 700th, as
Python does by itself, takes a twentieth of its time."""


def utc_now() -> dt.datetime:
    """The present instant, UTC."""
    return dt.datetime.now(dt.timezone.utc)


def tokens_of(settings: Settings) -> Tokens:
    """Return the tokens of the installation that the settings describe."""
    return Tokens(settings.tokens_database, settings.fx_database, required=settings.fx_require_token)


T = TypeVar("T")


class DatabaseFile(Database):  # type: ignore[misc]  # datasette has no types
    """A database file that is only read, whatever characters its path holds: Datasette's own escapes none.

    Each of Datasette's threads has a connection, which is opened again when the file is another one.
    """

    def __init__(self, datasette: Datasette, path: Path) -> None:
        super().__init__(datasette, path=str(path), is_mutable=True)
        self.served = ServedFile(path)
        self._of_thread = threading.local()

    def connect(self, write: bool = False) -> sqlite3.Connection:
        """Open a connection, which `close` closes with the others."""
        mode = "rw" if write else "ro"
        uri = f"{Path(self.path).absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        # There is no public way to register it.
        self._all_file_connections.append(connection)
        return connection

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Call `fn` in one of Datasette's threads, with a connection to the file as it is now."""
        self.served.look()

        def in_thread() -> T:
            held = getattr(self._of_thread, "held", None)
            if held is None:
                held = self._of_thread.held = self.served.hold(self._prepared)
            with held.using() as connection:
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self.ds.executor, in_thread)

    def close(self) -> None:
        """Close all connections, and what watches the file."""
        super().close()
        self.served.close()

    def _prepared(self) -> sqlite3.Connection:
        connection = self.connect()
        # As Datasette does for its own connections: it registers its functions.
        self.ds._prepare_connection(connection, self.name)
        return connection


class FxDatasette(Datasette):  # type: ignore[misc]  # datasette has no types
    """Datasette over the database file that the settings name; `clock` says what time it is (UTC).

    The plugin in ``datasette_config/plugins/`` adds the API to it.
    """

    def __init__(self, settings: Settings, clock: Callable[[], dt.datetime] = utc_now) -> None:
        replace_handlers()
        # Before the constructor of Datasette, which loads the plugin and calls its hooks.
        self.fx_settings = settings
        self.hosts = Hosts.of(settings.fx_api_url, settings.fx_allowed_hosts)
        self.clock = clock
        self.tokens = tokens_of(settings)
        secret = settings.datasette_secret
        super().__init__(
            files=[],
            config_dir=CONFIG,
            metadata=read_metadata(CONFIG / "metadata.yaml"),
            cors=True,
            secret=secret.get_secret_value() if secret else None,
        )
        # Not by `files`, which would name the database after its file: the canned queries would be lost.
        self.remove_database("_memory")
        database = DatabaseFile(self, settings.fx_database)
        self.served = database.served
        self.reader = Reader(self, database.served, database.connect)
        self.counts = Counts()
        self.add_database(database, name=DATABASE)

    def is_open(self) -> bool:
        """Whether a request needs no token now."""
        return not self.tokens.are_required()


def create_app() -> ASGIApp:
    """The application, from the settings. What makes that impossible ends the process with one line."""
    try:
        settings = load_settings()
        check_database(settings.fx_database)
        if settings.sentry_dsn:
            report_errors(settings.sentry_dsn.get_secret_value())
    except (SettingsError, ServeError) as error:
        raise SystemExit(f"fx-pipeline: {error}") from None
    redact_access_log()
    _stop_with_supervisor()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    datasette = FxDatasette(settings)
    application: ASGIApp = datasette.app()
    if settings.fx_cache_mb == 0:
        return application
    return ResponseCache(
        application,
        datasette.served,
        settings.fx_cache_mb * 2**20,
        is_open=datasette.is_open,
    )


def _stop_with_supervisor() -> None:
    """Have a worker end in order when the process that started it is gone, even killed: nothing would mend it
    any more, and it would keep the port from the next server."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


def run(host: str, port: int, workers: int = 1, *, access_log: bool = False) -> None:
    """Serve the API until SIGINT or SIGTERM, then let requests under way finish.

    Raises SettingsError or ServeError where it cannot start.
    """
    settings = load_settings()
    check_database(settings.fx_database)
    is_local = _check_port(host, port)
    if settings.sentry_dsn:
        check_dsn(settings.sentry_dsn.get_secret_value())
    try:
        # To look for a file that is not there, on every request, costs more than to read one.
        TokenFile(settings.tokens_database).make()
    except TokenError as error:
        raise ServeError(str(error)) from None
    if not (is_local or tokens_of(settings).are_required()):
        logger.warning(
            "Anybody who reaches %s can read the rates: `fx-pipeline token create` or FX_REQUIRE_TOKEN=1 "
            "ends that.",
            host,
        )
    # Workers must agree on it, or one refuses what another has signed.
    if settings.datasette_secret is None:
        os.environ["DATASETTE_SECRET"] = secrets.token_hex(32)
    click.echo(f"Database {settings.fx_database}, tokens {settings.tokens_database}.", err=True)
    uvicorn.run(
        f"{__name__}:create_app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=BoundedProtocol,
        # Costs half the speed of a cheap answer.
        access_log=access_log,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _check_port(host: str, port: int) -> bool:
    """Whether only this machine reaches the address. Raises ServeError where one cannot listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        is_port = error.errno in (errno.EADDRINUSE, errno.EACCES)
        remedy = "Set FX_API_PORT to a free port" if is_port else "Give --host an address of this machine"
        raise ServeError(f"The API cannot listen on {host}:{port}: {error.strerror}. {remedy}.") from None
    return ip_address(address[0]).is_loopback
