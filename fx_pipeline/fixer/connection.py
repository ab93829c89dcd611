"""HTTP connections with a deadline per response, which say whether a request was sent.

The timeouts of requests and urllib3 bound each wait for bytes. A server that sends one header byte every few
seconds, or endless `100 Continue`, never exceeds them.
"""

import http.client
import io
import socket
import threading
import time
from http import HTTPStatus
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, PoolManager
from urllib3.connection import HTTPConnection

from fx_pipeline.fixer.network import TooSlowError

LONGEST_RESPONSE = 120.0
"""Maximum seconds from a request to the last byte of its response."""


class Sending(threading.local):
    """The state of this thread's last request: `started` once its connection was open."""

    started = False


sending = Sending()
"""Set to False before a request, and read after it. The exceptions of urllib3 do not show it: a TLS handshake
that is reset or times out looks like a response that is.
"""


class BoundedAdapter(HTTPAdapter):
    """The HTTP adapter of requests, with a deadline per response. It skips interim responses."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Extend the hook that requests offers to subclasses."""
        super().init_poolmanager(*args, **kwargs)
        _bound(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> PoolManager:
        """Extend the hook that requests offers to subclasses; it keeps one manager for each proxy."""
        known = proxy in self.proxy_manager
        manager = cast(PoolManager, super().proxy_manager_for(proxy, **kwargs))
        if not known:
            _bound(manager)
        return manager


def _bound(manager: PoolManager) -> None:
    """Make the manager's connections read responses through `_BoundedResponse`.

    The classes derive from the manager's own, which differ for a SOCKS proxy.
    """
    manager.pool_classes_by_scheme = {
        scheme: _bounded(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _bounded(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    connection = type(pool.ConnectionCls.__name__, (_Connection, pool.ConnectionCls), {})
    return type(pool.__name__, (pool,), {"ConnectionCls": connection})


class _BoundedResponse(http.client.HTTPResponse):
    """A response with a deadline, including a proxy's response to CONNECT."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock))

    def begin(self) -> None:
        """Read the headers of the final response.

        A server may send any number of interim responses first (RFC 9110, 15.2), such as 103 Early Hints.
        http.client skips only 100.
        """
        super().begin()
        while 100 <= self.status < 200 and self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment]  # as before the first response
            super().begin()
        if self.status == HTTPStatus.SWITCHING_PROTOCOLS:
            self.will_close = True  # whatever follows on this connection is not HTTP


class _DeadlineReader(io.RawIOBase):
    """The bytes of a socket. Raises TooSlowError after LONGEST_RESPONSE."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self._deadline = time.monotonic() + LONGEST_RESPONSE

    def readable(self) -> bool:
        """Return True, as BufferedReader requires."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read once, waiting for the socket's timeout or until the deadline, whichever is earlier."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TooSlowError
        timeout = self._socket.gettimeout()
        if timeout is not None and timeout <= left:
            return self._raw.readinto(buffer)
        self._socket.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        except TimeoutError:
            raise TooSlowError from None
        finally:
            self._socket.settimeout(timeout)

    def close(self) -> None:
        """Close the reader of the socket, too."""
        self._raw.close()
        super().close()


class _Connection(HTTPConnection):
    """A connection that reads bounded responses, and notes when it starts to send a request.

    At that point the name is resolved, a proxy has connected, and the TLS handshake is done.
    """

    response_class = _BoundedResponse

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Extend the method with which urllib3 sends a request."""
        if self.is_closed:
            self.connect()
        sending.started = True
        super().request(*args, **kwargs)
