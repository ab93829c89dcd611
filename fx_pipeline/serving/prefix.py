"""The path prefix of a server: the path of its public address, such as /fx for https://example.com/fx.

A proxy passes the path of a request unchanged. A path that begins with the prefix loses it, exactly once. Any
other path is served as it is, so that a health check on the loopback interface needs no prefix. With the
prefix /fx, the path /fx/rates therefore means /rates, and /fx/fx/rates means /fx/rates.
"""

import re
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_PREFIX = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+)*")


def prefix_of(url: str | None) -> str:
    """Return the path of a public address, without a slash at its end; an empty text for none."""
    return urlsplit(url).path.rstrip("/") if url else ""


def is_prefix(text: str) -> bool:
    """Return whether a path needs no encoding in a URL or in HTML, and is the same to every proxy."""
    return _PREFIX.fullmatch(text) is not None


class WithoutPrefix:
    """An ASGI application that passes `app` each request without the prefix."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self._prefix = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request or the websocket."""
        if "path" in scope:
            sent: bytes = scope.get("raw_path") or scope["path"].encode()
            raw_path = without_prefix(sent, self._prefix)
            scope = {**scope, "path": unquote(raw_path.decode("latin-1")), "raw_path": raw_path}
        await self.app(scope, receive, send)


class WithPrefix:
    """An ASGI application that passes `app` each request with the prefix, as the proxy sent it."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request or the websocket."""
        if "path" in scope:
            raw_path = self._prefix.encode() + (scope.get("raw_path") or scope["path"].encode())
            scope = {**scope, "path": f"{self._prefix}{scope['path']}", "raw_path": raw_path}
        await self.app(scope, receive, send)


def without_prefix(path: bytes, prefix: bytes) -> bytes:
    """Return the path without the prefix, or unchanged if it does not begin with it."""
    rest = path.removeprefix(prefix)
    if rest == path or not (rest.startswith(b"/") or rest == b""):
        return path
    return rest or b"/"
