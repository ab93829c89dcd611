"""Metrics without a token, on FX_METRICS_PORT: of this machine only, or of a private network.

The process of `serve` has it: the supervisor of the workers, or the only worker. So there is one for each
server, and it stays when a worker ends.
"""

import logging
import sys
from collections.abc import Callable, Hashable, Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from socket import AF_INET, AF_INET6
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread

from fx_pipeline.api.endpoints.counts import Counts
from fx_pipeline.api.metrics import stored
from fx_pipeline.api.metrics.counters import Totals
from fx_pipeline.api.reading.files import open_file
from fx_pipeline.api.reading.lanes import Effort, TooLong
from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.api.reading.queries import DATABASE, Queries
from fx_pipeline.api.reading.reader import PROBE
from fx_pipeline.clock import utc_now
from fx_pipeline.serving.hosts import Hosts
from fx_pipeline.settings import PROJECT, Settings
from fx_pipeline.sqlite import sqlite3

logger = logging.getLogger(__name__)

PATHS = ("/-/metrics", "/metrics")
CLIENT_SECONDS = 5


class _Server(TCPServer):
    """One request at a time. `http.server.HTTPServer` asks for a host name, which may hang."""

    allow_reuse_address = True

    def __init__(self, host: IPv4Address | IPv6Address, port: int, handler: type[BaseRequestHandler]) -> None:
        self.address_family = AF_INET6 if isinstance(host, IPv6Address) else AF_INET
        super().__init__((str(host), port), handler)

    def handle_error(self, *_: object) -> None:
        """Log a line instead of a traceback: the client may have left."""
        logger.warning("The metrics could not be sent: %r", sys.exc_info()[1])


def start(settings: Settings, port: int, totals: Callable[[], Totals]) -> None:
    """Serve the metrics in a thread, until the process ends. Raise OSError if the port cannot be used."""
    canned = read_metadata(PROJECT / "datasette_config" / "metadata.yaml")["databases"][DATABASE]["queries"]
    sql = {name: canned[name]["sql"] for name in stored.QUERIES}
    counts = Counts()

    class Handler(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_GET(self) -> None:
            hosts = Hosts.of(settings.fx_api_url, settings.fx_allowed_hosts)
            local_address = self.connection.getsockname()[0]
            if not hosts.include(self.headers.get("Host", ""), local_address):
                # A web page whose name was switched to this address (DNS rebinding).
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path not in PATHS:
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                self._send_metrics()

        def _send_metrics(self) -> None:
            from fx_pipeline.api.metrics import exposition  # noqa: PLC0415  # only a scrape loads it

            now, version = utc_now(), _version_of(settings.fx_database)

            def read_gauges(queries: Queries) -> list[stored.Gauge]:
                return stored.of_database(queries, now, settings, counts.content_age(queries, version))

            try:
                found = _read(settings.fx_database, sql, read_gauges)
            except (sqlite3.Error, TooLong) as error:
                logger.error("the database cannot be read for the metrics: %r", error)
                found = None
            body = exposition.document(totals(), stored.gauges(found, now, settings))
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", exposition.CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: Prometheus asks every few seconds."""

    server = _Server(settings.fx_metrics_host, port, Handler)
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()


def _version_of(path: Path) -> Hashable:
    """Return a value that changes with each commit, from the files; None if there is no database.

    `ServedFile` is for the thread of the event loop only.
    """
    real, states = path.resolve(), []
    for file in (real, real.with_name(f"{real.name}-wal")):
        with suppress(OSError):
            state = file.stat()
            states.append((state.st_ino, state.st_size, state.st_mtime_ns))
    return tuple(states) or None


def _read(
    path: Path, sql: Mapping[str, str], work: Callable[[Queries], list[stored.Gauge]]
) -> list[stored.Gauge]:
    """Call `work` in one read transaction. Raise sqlite3.Error or TooLong."""
    connection, _ = open_file(path)
    effort = Effort(PROBE)
    with closing(connection), effort.reading(connection):
        return work(Queries(connection, sql, effort))
