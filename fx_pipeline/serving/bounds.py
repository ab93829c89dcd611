"""Bound what one client can take of a server: the size of a request, the time to send it, and connections.

Every server of this project passes `BoundedProtocol` to uvicorn as its option `http`, which takes a class.
Uvicorn offers no other place for these bounds: an application first sees a request when its headers are
complete, and `limit_concurrency` refuses new connections without ever closing old ones. The class therefore
relies on attributes of uvicorn's own protocol; the tests show when they change.
"""

import asyncio
import logging
import resource
from collections import Counter
from enum import Enum
from http import HTTPStatus
from typing import Any, cast
from weakref import WeakKeyDictionary

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

MOST_HEAD_BYTES = 32_768
"""Bytes of a request's first line and headers. The same bounds what stands between the parts of a body."""

MOST_HEADERS = 100
MOST_PIPELINED = 32
"""Requests that a connection may send before it has the answers."""

HEAD_SECONDS = 10
"""How long a connection may wait before a request, and a request may take until its headers are complete."""

BODY_SECONDS = 60
SEND_SECONDS = 30
"""How long a client may read nothing of an answer that is waiting for it."""

LINGER_SECONDS = 2
"""How long a refused client may go on sending. To close while it sends would keep the refusal from it."""

LOG_SECONDS = 10
MOST_CONNECTIONS = 4_000


def most_connections() -> int:
    """How many connections a process may have: at most three quarters of its file descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, descriptors * 3 // 4)


class Phase(Enum):
    """What a connection is waiting for its client to send."""

    REQUEST = "a request"
    HEAD = "the rest of the headers"
    BODY = "the rest of the body"


class Watch:
    """All connections of one server: it ends those that take too long, and logs what was refused."""

    def __init__(self, connections: set[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.most = most_connections()
        self._connections = connections
        self._loop = loop
        self._refused: Counter[str] = Counter()
        self._client = ""
        self._logged_at = float(-LOG_SECONDS)
        self._is_running = False

    def start(self) -> None:
        """Look at every connection once a second, for as long as there are any."""
        if not self._is_running:
            self._is_running = True
            self._loop.call_later(1, self._look)

    def make_room(self, newest: "BoundedProtocol") -> None:
        """Close the connection that has kept the server waiting longest, or else refuse the newest."""
        waiting = [one for one in self._bounded() if one is not newest and one.is_waiting]
        if waiting:
            oldest = min(waiting, key=lambda one: (one.since, one.made_at))
            self.report(f"closed because of too many connections ({self.most})", oldest)
            oldest.transport.abort()
        else:
            newest.refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"too many connections ({self.most})")

    def report(self, reason: str, connection: "BoundedProtocol") -> None:
        """Count what was refused, and log it: at once the first time, then summed up every LOG_SECONDS."""
        self._refused[reason] += 1
        self._client = connection.client[0] if connection.client else ""
        self._log()

    def _log(self) -> None:
        now = self._loop.time()
        if self._refused and now - self._logged_at >= LOG_SECONDS:
            counts = "; ".join(f"{count} × {reason}" for reason, count in self._refused.items())
            logger.warning("Refused connections or requests, the last from %s: %s.", self._client, counts)
            self._refused.clear()
            self._logged_at = now

    def _bounded(self) -> list["BoundedProtocol"]:
        # Websockets are among them, too.
        return [one for one in self._connections if isinstance(one, BoundedProtocol)]

    def _look(self) -> None:
        now = self._loop.time()
        for connection in self._bounded():
            connection.check(now)
        self._log()
        self._is_running = bool(self._connections or self._refused)
        if self._is_running:
            self._loop.call_later(1, self._look)


_WATCHES: WeakKeyDictionary[ServerState, Watch] = WeakKeyDictionary()


class BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol on one connection, within the bounds of this module."""

    since = 0.0
    """From when on the client has let the server wait for what it is waiting for, to the second."""
    _unread = 0
    """Bytes received since the last headers were complete, or since the last part of a body."""
    _refused_at: float | None = None
    _awaited: tuple[Phase | None, object] = (Phase.REQUEST, None)
    _sending = 0
    _sent_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the client has its answers, so that it loses nothing when the connection is closed."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self.made_at = self.since = self.loop.time()
        self._watch = _WATCHES.get(self.server_state) or _WATCHES.setdefault(
            self.server_state, Watch(self.connections, self.loop)
        )
        self._watch.start()
        if len(self.connections) > self._watch.most:
            self._watch.make_room(self)

    def data_received(self, data: bytes) -> None:
        while data and self._refused_at is None and not self.transport.is_closing():
            # No further than to the bound, by which the headers must be complete.
            allowed = MOST_HEAD_BYTES - self._unread
            part, data = data[:allowed], data[allowed:]
            self._unread += len(part)
            super().data_received(part)
            if self._unread >= MOST_HEAD_BYTES:
                self._refuse_head()

    def on_headers_complete(self) -> None:
        self._unread = 0
        if len(self.headers) > MOST_HEADERS:
            self._pass_to(_too_many_headers, f"more than {MOST_HEADERS} headers (431)")
        elif len(self.pipeline) >= MOST_PIPELINED:
            self._pass_to(_too_many_requests, f"more than {MOST_PIPELINED} requests before an answer (429)")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        super().on_body(body)

    def check(self, now: float) -> None:
        """End the connection where its client takes too long. To be called about once a second."""
        if self._refused_at is not None:
            if now - self._refused_at > LINGER_SECONDS:
                self.transport.abort()
            return
        if not self._is_read(now):
            self._watch.report(f"read nothing of an answer in {SEND_SECONDS} seconds", self)
            self.transport.abort()
            return
        phase = self._phase()
        if self._awaited[0] is not phase or self._awaited[1] is not self.scope:
            self._awaited, self.since = (phase, self.scope), now
        if phase is not None and not self.transport.is_closing() and now - self.since > self._seconds(phase):
            if phase is Phase.REQUEST:
                self.transport.close()
            else:
                reason = f"waited {self._seconds(phase):.0f} seconds for {phase.value}"
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, reason)

    def refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer with an error, where no answer has begun, and close the connection."""
        self._watch.report(f"{reason} ({status.value})", self)
        self._refused_at = self.loop.time()
        self._unset_keepalive_if_required()
        is_free = self.is_waiting or not (self.cycle.response_started or self.pipeline)
        if not self.is_waiting:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if not is_free or not self.transport.can_write_eof():
            self.transport.close()
            return
        body = f"{status.phrase}: {reason}.\n".encode()
        retry = b"retry-after: 5\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else b""
        head = (
            b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"cache-control: no-store\r\n%bconnection: close\r\n\r\n"
        )
        self.transport.write(head % (status.value, status.phrase.encode(), len(body), retry) + body)
        self.transport.write_eof()

    def _phase(self) -> Phase | None:
        if self.is_waiting:
            # With the first byte of a request, the scope is another.
            has_begun = self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)
            return Phase.HEAD if has_begun else Phase.REQUEST
        return Phase.BODY if self.cycle.more_body else None

    def _seconds(self, phase: Phase) -> float:
        if phase is Phase.BODY:
            return BODY_SECONDS
        # Uvicorn's own timer for a connection that rests ends with any byte that the client sends.
        return max(HEAD_SECONDS, self.timeout_keep_alive) if phase is Phase.REQUEST else HEAD_SECONDS

    def _is_read(self, now: float) -> bool:
        waiting = self.transport.get_write_buffer_size()
        if waiting == 0 or waiting != self._sending:
            self._sending, self._sent_at = waiting, now
        return now - self._sent_at <= SEND_SECONDS

    def _refuse_head(self) -> None:
        if self._phase() is Phase.HEAD and not self.headers:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"more than {MOST_HEAD_BYTES} bytes of address")
        else:
            reason = f"more than {MOST_HEAD_BYTES} bytes of headers"
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)

    def _pass_to(self, refusing: ASGIApp, reason: str) -> None:
        """Have another application answer this request, which closes the connection."""
        self._watch.report(reason, self)
        app, self.app = self.app, cast(Any, refusing)
        super().on_headers_complete()
        self.app = app


def _refusing(status: HTTPStatus, reason: str) -> ASGIApp:
    headers = {"cache-control": "no-store", "connection": "close"}
    return PlainTextResponse(f"{status.phrase}: {reason}.\n", status, headers)


_too_many_headers = _refusing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MOST_HEADERS} headers")
_too_many_requests = _refusing(
    HTTPStatus.TOO_MANY_REQUESTS, f"more than {MOST_PIPELINED} requests before an answer"
)
