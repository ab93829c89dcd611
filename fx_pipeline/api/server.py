"""`fx-pipeline serve`: the checks before the start, uvicorn, and its workers."""

import errno
import gc
import logging
import multiprocessing
import os
import secrets
import signal
import threading
import time
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from fx_pipeline.api.datasette import tokens_of
from fx_pipeline.api.metrics import port as metrics_port
from fx_pipeline.api.metrics.counters import FOLDER_VARIABLE, of_process, totals_in
from fx_pipeline.api.metrics.folder import run_folder
from fx_pipeline.api.metrics.protocol import CountedProtocol
from fx_pipeline.api.reading.served import ServeError, check_database
from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.clock import utc_now
from fx_pipeline.crashes import marked, record_crash
from fx_pipeline.logs import say, uvicorn_log_config
from fx_pipeline.serving.listening import bound, cannot_listen
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline.sqlite import sqlite3

logger = logging.getLogger(__name__)

ACCESS_LOG_VARIABLE = "_FX_ACCESS_LOG"
"""The environment variable with which `serve` lets its workers log each request."""

GRACE_SECONDS = 5
"""How long requests in progress may take when the server stops."""

BETWEEN_LOOKS = 1.0
"""Seconds between two looks at which workers run. A worker takes about a second to start."""

OBJECTS_BETWEEN_COLLECTIONS = 25_000
"""A long series is ten thousand objects without cycles. By default, Python checks them for cycles after every
700 new ones, which takes a twentieth of the time."""


def serve(host: str, port: int, workers: int = 1, *, access_log: bool = False) -> None:
    """Serve the API until SIGINT or SIGTERM, then let requests in progress finish.

    Raise SettingsError or ServeError if it cannot start.
    """
    settings = load_settings()
    check_database(settings.fx_database)
    is_local = _check_port(host, port)
    try:
        # Each request reads this file. Looking for a missing one takes longer.
        TokenFile(settings.tokens_database).make()
    except TokenError as error:
        if not isinstance(error.__cause__, OSError | sqlite3.OperationalError):
            raise ServeError(str(error)) from None
        # The disk is full or read-only. Without the file, `Tokens` knows from the database if they are on.
        logger.warning("%s Stored rates are served without it.", error)
    if not (is_local or tokens_of(settings).are_required()):
        logger.warning(
            "Anyone who can reach %s can read the rates. To require a token, use `fx-pipeline token create` "
            "or FX_REQUIRE_TOKEN=1.",
            host,
        )
    # All workers need the same secret, or one refuses what another has signed.
    if settings.datasette_secret is None:
        os.environ["DATASETTE_SECRET"] = secrets.token_hex(32)
    say(f"Database {settings.fx_database}, tokens {settings.tokens_database}.")
    os.environ[ACCESS_LOG_VARIABLE] = "1" if access_log else ""
    with run_folder(needed=workers > 1) as folder, marked(settings.fx_database, f"api-{port}", utc_now()):
        _start_metrics(settings, folder)
        if workers > 1:
            threading.Thread(target=_count_crashes, args=(settings.fx_database, workers), daemon=True).start()
        uvicorn.run(
            "fx_pipeline.api.app:create_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            http=CountedProtocol,
            access_log=False,  # `AccessLog` has more to say
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            log_config=uvicorn_log_config(),
        )


def _count_crashes(database: Path, workers: int) -> None:
    """Note each worker that uvicorn started in place of another. While it ends, it starts none."""
    seen: set[int | None] = set()
    while True:
        new = {process.pid for process in multiprocessing.active_children()} - seen
        for number in range(len(new)):
            if len(seen) + number >= workers:
                record_crash(database, "api worker", utc_now())
        seen |= new
        time.sleep(BETWEEN_LOOKS)


def _start_metrics(settings: Settings, folder: Path | None) -> None:
    """Name the folder of the counters to the workers, and open FX_METRICS_PORT if it is set."""
    os.environ[FOLDER_VARIABLE] = str(folder or "")
    if settings.fx_metrics_port is None:
        return
    totals = partial(totals_in, folder) if folder else of_process().totals
    try:
        metrics_port.start(settings, settings.fx_metrics_port, totals)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        place, remedy = f"Port {settings.fx_metrics_port}", "set FX_METRICS_PORT to a free port"
        if error.errno == errno.EADDRNOTAVAIL:
            place = str(settings.fx_metrics_host)
            remedy = "set FX_METRICS_HOST to an address of this machine"
        raise ServeError(f"{place} cannot be used ({reason}): {remedy}.") from None


def _check_port(host: str, port: int) -> bool:
    """Return whether only this machine can reach the address. Raise ServeError if listening fails."""
    try:
        with bound(host, port) as probe:
            return ip_address(probe.getsockname()[0]).is_loopback
    except OSError as error:
        raise ServeError(cannot_listen("The API", host, port, "FX_API_PORT", error)) from None


def logs_requests() -> bool:
    """Return whether this worker logs each request."""
    return bool(os.environ.get(ACCESS_LOG_VARIABLE))


def prepare_worker() -> None:
    """Set up the process of a worker: collect garbage less often, and end with the supervisor.

    A worker without its supervisor would never be restarted, and would keep the port from the next server.
    """
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        signal.raise_signal(signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()
