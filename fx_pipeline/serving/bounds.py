"""Limits on clients of a server: the size of a request, the time to send it, and the number of connections.

Every server of this project passes `BoundedProtocol` to uvicorn as its option `http`. Uvicorn has no other
place for these limits: an application first sees a request when its headers are complete, and
`limit_concurrency` refuses new connections without closing old ones. So the class relies on attributes of
uvicorn's protocol, and its tests fail if these change.
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
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from fx_pipeline.serving.request_id import id_of

logger = logging.getLogger(__name__)

MAX_HEAD_BYTES = 32_768
"""Maximum size of a request's first line and headers, and of the bytes between the parts of a body."""

MAX_HEADERS = 100
MAX_PIPELINED = 32
"""Requests that a connection may send before it has the responses."""

HEAD_SECONDS = 10
"""How long a connection may be idle before a request, and how long its headers may take."""

BODY_SECONDS = 60
SEND_SECONDS = 30
"""How long a client may not read from a response."""

LINGER_SECONDS = 2
"""How long a refused client may continue to send. Closing earlier would lose the refusal."""

LOG_SECONDS = 10
MAX_CONNECTIONS = 4_000


def max_connections() -> int:
    """Return the maximum number of connections: three quarters of the file descriptors at most."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(MAX_CONNECTIONS, descriptors * 3 // 4)


class Phase(Enum):
    """What a connection is waiting for."""

    REQUEST = "a request"
    HEAD = "the rest of the headers"
    BODY = "the rest of the body"


class Watch:
    """The connections of one server. Closes those that take too long, and logs refusals."""

    def __init__(self, connections: set[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.most = max_connections()
        self._connections = connections
        self._loop = loop
        self._refused: Counter[str] = Counter()
        self._client = ""
        self._logged_at = float(-LOG_SECONDS)
        self._is_running = False

    def start(self) -> None:
        """Check every connection once a second while there are any."""
        if not self._is_running:
            self._is_running = True
            self._loop.call_later(1, self._look)

    def make_room(self, newest: "BoundedProtocol") -> None:
        """Close the connection that has been idle longest, or refuse the newest if none is idle."""
        waiting = [one for one in self._bounded() if one is not newest and one.is_waiting]
        if waiting:
            oldest = min(waiting, key=lambda one: (one.since, one.made_at))
            self.report(f"closed because of too many connections ({self.most})", oldest)
            oldest.transport.abort()
        else:
            newest.refuse(HTTPStatus.SERVICE_UNAVAILABLE, f"too many connections ({self.most})")

    def report(self, reason: str, connection: "BoundedProtocol") -> None:
        """Count and log a refusal: the first one immediately, then a summary every LOG_SECONDS."""
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
        # The set also has websockets.
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
    """Uvicorn's protocol on one connection, with the limits of this module."""

    since = 0.0
    """When the current wait for the client began, to the second."""
    _unread = 0
    """Bytes received since the last complete headers, or since the last part of a body."""
    _refused_at: float | None = None
    _awaited: tuple[Phase | None, object] = (Phase.REQUEST, None)
    _sending = 0
    _sent_at = 0.0

    @property
    def is_waiting(self) -> bool:
        """Whether the client has all its responses, so that closing the connection loses none."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Start to watch the connection, and make room for it if there are too many."""
        super().connection_made(transport)
        self.made_at = self.since = self.loop.time()
        self._watch = _WATCHES.get(self.server_state) or _WATCHES.setdefault(
            self.server_state, Watch(self.connections, self.loop)
        )
        self._watch.start()
        if len(self.connections) > self._watch.most:
            self._watch.make_room(self)

    def data_received(self, data: bytes) -> None:
        """Pass on what was received, and refuse a head that is too long."""
        while data and self._refused_at is None and not self.transport.is_closing():
            # Only up to the limit, by which the headers must be complete.
            allowed = MAX_HEAD_BYTES - self._unread
            part, data = data[:allowed], data[allowed:]
            self._unread += len(part)
            super().data_received(part)
            if self._unread >= MAX_HEAD_BYTES:
                self._refuse_head()

    def on_headers_complete(self) -> None:
        """Refuse a request with too many headers, or too many requests before a response."""
        self._unread = 0
        if len(self.headers) > MAX_HEADERS:
            self._pass_to(_too_many_headers, 431, f"more than {MAX_HEADERS} headers")
        elif len(self.pipeline) >= MAX_PIPELINED:
            self._pass_to(_too_many_requests, 429, f"more than {MAX_PIPELINED} requests before a response")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a part of a body."""
        self._unread = 0
        super().on_body(body)

    def check(self, now: float) -> None:
        """Close the connection if its client takes too long. Call it about once a second."""
        if self._refused_at is not None:
            if now - self._refused_at > LINGER_SECONDS:
                self.transport.abort()
            return
        if not self._is_read(now):
            self._watch.report(f"did not read a response for {SEND_SECONDS} seconds", self)
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
        """Send an error unless a response has begun, and close the connection."""
        self._watch.report(f"{reason} ({status.value})", self)
        self.count_refusal(status.value)
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
            b"cache-control: no-store\r\nx-request-id: %b\r\n%bconnection: close\r\n\r\n"
        )
        request_id = id_of(self.headers if self.scope else ())
        head %= (status.value, status.phrase.encode(), len(body), request_id, retry)
        self.transport.write(head + body)
        self.transport.write_eof()

    def count_refusal(self, status: int) -> None:
        """Do nothing. A subclass may count what no application sees."""

    def _phase(self) -> Phase | None:
        if self.is_waiting:
            # The first byte of a request replaces the scope.
            has_begun = self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)
            return Phase.HEAD if has_begun else Phase.REQUEST
        return Phase.BODY if self.cycle.more_body else None

    def _seconds(self, phase: Phase) -> float:
        if phase is Phase.BODY:
            return BODY_SECONDS
        # Uvicorn's own timer for an idle connection stops at any byte from the client.
        return max(HEAD_SECONDS, self.timeout_keep_alive) if phase is Phase.REQUEST else HEAD_SECONDS

    def _is_read(self, now: float) -> bool:
        waiting = self.transport.get_write_buffer_size()
        if waiting == 0 or waiting != self._sending:
            self._sending, self._sent_at = waiting, now
        return now - self._sent_at <= SEND_SECONDS

    def _refuse_head(self) -> None:
        if self._phase() is Phase.HEAD and not self.headers:
            self.refuse(HTTPStatus.REQUEST_URI_TOO_LONG, f"more than {MAX_HEAD_BYTES} bytes of address")
        else:
            reason = f"more than {MAX_HEAD_BYTES} bytes of headers"
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)

    def _pass_to(self, refusing: ASGIApp, status: int, reason: str) -> None:
        """Let another application respond to this request and close the connection."""
        self._watch.report(f"{reason} ({status})", self)
        self.count_refusal(status)
        app, self.app = self.app, cast(Any, refusing)
        super().on_headers_complete()
        self.app = app


def _refusing(status: HTTPStatus, reason: str) -> ASGIApp:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = id_of(scope["headers"]).decode()
        headers = {"cache-control": "no-store", "connection": "close", "x-request-id": request_id}
        response = PlainTextResponse(f"{status.phrase}: {reason}.\n", status, headers)
        await response(scope, receive, send)

    return refuse


_too_many_headers = _refusing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {MAX_HEADERS} headers")
_too_many_requests = _refusing(
    HTTPStatus.TOO_MANY_REQUESTS, f"more than {MAX_PIPELINED} requests before a response"
)
