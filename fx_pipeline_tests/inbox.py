"""An address that receives alerts over HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

TOKEN = "t0kenOfTheAddress"


class Inbox(ThreadingHTTPServer):
    """An alert address: keeps what is posted to it, or answers 503 while `closed`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[dict[str, Any]] = []
        self.closed = False

    @property
    def url(self) -> str:
        """Return the address as FX_ALERT_URLS takes it."""
        return f"json://127.0.0.1:{self.server_address[1]}/{TOKEN}"


class _Handler(BaseHTTPRequestHandler):
    server: Inbox

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.server.closed:
            self.server.received.append(json.loads(body))
        self.send_response(503 if self.server.closed else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to stderr."""


@contextmanager
def open_inbox() -> Iterator[Inbox]:
    """Yield an inbox that listens on a free port."""
    with Inbox() as inbox:
        threading.Thread(target=inbox.serve_forever, args=(0.05,), daemon=True).start()
        yield inbox
        inbox.shutdown()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """Yield an inbox that FX_ALERT_URLS names."""
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        yield inbox
