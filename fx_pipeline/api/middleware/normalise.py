"""The outermost layer: brings each request into the one form that all other layers rely on.

Behind it, the method is never HEAD, the path has neither the prefix of FX_API_URL nor a slash at its end,
`Accept-Encoding` is `gzip` or absent, and the only cookies are Datasette's. The headers are read once, and
the scope says what was found there:

- `fx_path`: the path as it was sent, without the prefix. The login form redirects there.
- `fx_method`: the method as it was sent.
- `fx_has_credentials`: whether there is a cookie or a token in a header.
- `fx_takes_gzip`: whether the client accepts it.
- `fx_if_none_match`: the value of that header, or None.
- `fx_request_id`: the id that the client has sent, or None.
"""

import functools
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api import replies
from fx_pipeline.serving.prefix import without_prefix
from fx_pipeline.serving.request_id import HEADER, TRACEPARENT, sent_id

LONGEST_COOKIES = 8192

_GZIP = (b"accept-encoding", b"gzip")
_CREDENTIALS = frozenset({b"authorization", b"cookie", b"apikey"})
_REWRITTEN = frozenset({b"accept-encoding", b"cookie"})
_OWN_COOKIES = ("ds_actor=", "ds_csrftoken=", "ds_messages=")

Header = tuple[bytes, bytes]


class Normalise:
    """An ASGI application that passes `app` every request in normal form, without `prefix`."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self._prefix = prefix.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request in normal form. Refuse websockets."""
        if scope["type"] == "http":
            normalised = _normalised(scope, self._prefix)
            if scope["method"] == "HEAD":
                normalised["method"] = "GET"
                send = functools.partial(_send_without_body, send)
            await self.app(normalised, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)


def _normalised(scope: Scope, prefix: bytes) -> Scope:
    sent_path: bytes = scope.get("raw_path") or scope["path"].encode()
    if prefix:
        sent_path = without_prefix(sent_path, prefix)
    path = sent_path
    # One slash at the end changes nothing. Two are a different path, where the API has nothing.
    if path.endswith(b"/") and not (path.endswith(b"//") and path.startswith(b"/rates")):
        path = path[:-1]
    path = path or b"/"
    sent_headers = scope["headers"]
    found = dict(sent_headers)
    if len(found) < len(sent_headers):
        found = _joined(sent_headers)
    headers = [header for header in sent_headers if header[0] not in _REWRITTEN]
    takes_gzip = _takes_gzip(found.get(b"accept-encoding", b""))
    if takes_gzip:
        headers.append(_GZIP)
    if b"cookie" in found:
        headers += _own_cookies(found[b"cookie"])
    text = path.decode("latin-1")
    return {
        **scope,
        "path": unquote(text) if "%" in text else text,
        "raw_path": path,
        "headers": headers,
        "fx_path": sent_path,
        "fx_method": scope["method"],
        "fx_has_credentials": not _CREDENTIALS.isdisjoint(found),
        "fx_takes_gzip": takes_gzip,
        "fx_if_none_match": found.get(b"if-none-match"),
        "fx_request_id": sent_id(found.get(HEADER), found.get(TRACEPARENT)),
    }


@functools.lru_cache(maxsize=64)
def _takes_gzip(accepted: bytes) -> bool:
    return replies.takes_gzip(accepted.decode("latin-1"))


def _joined(headers: Iterable[Header]) -> dict[bytes, bytes]:
    """Return the headers by name. The values of those that were sent more than once are joined."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        separator = b"; " if name == b"cookie" else b", "
        found[name] = found[name] + separator + value if name in found else value
    return found


def _own_cookies(sent: bytes) -> list[Header]:
    """Return the header with the cookies that Datasette sets. Drop all of them if they cannot be read.

    Cookies of other servers on the same host are dropped, because parsing all of them can take long.
    """
    parts = (part.strip() for part in sent.decode("latin-1").split(";"))
    found: dict[str, str] = {}
    for part in parts:
        if part.startswith(_OWN_COOKIES):
            # Browsers send the cookie with the longest path first (RFC 6265, 5.4): the one with the prefix.
            found.setdefault(part.partition("=")[0], part)
    own = "; ".join(found.values()).encode("latin-1")
    if not own or len(own) > LONGEST_COOKIES:
        return []
    try:
        SimpleCookie(own.decode())
    except (CookieError, UnicodeDecodeError):
        return []
    return [(b"cookie", own)]


async def _send_without_body(send: Send, message: Message) -> None:
    await send({**message, "body": b""} if message["type"] == "http.response.body" else message)
