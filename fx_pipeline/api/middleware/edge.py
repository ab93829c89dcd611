"""The outermost layer, around Datasette as a whole: what every path answers alike, and what is closed.

Everything is read-only and readable from any page (CORS). Nothing leaves as a traceback.
"""

import logging
import re
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.errors import (
    FUNCTION_ACCESS_RESTRICTED,
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    METHOD_NOT_ALLOWED,
    URI_TOO_LONG,
    ErrorKind,
    error_document,
)
from fx_pipeline.api.middleware.gate import FORMS
from fx_pipeline.api.replies import JSON, LONGEST_URI, MISSING, NO_STORE, as_json, takes_gzip

logger = logging.getLogger(__name__)

METHODS = "GET, HEAD, OPTIONS"
MCP = "/-/mcp"
MCP_METHODS = "POST, OPTIONS"

LONGEST_COOKIES = 8192
_OWN_COOKIES = ("ds_actor=", "ds_csrftoken=", "ds_messages=")

PAGE_HEADERS = {
    # A page loads and does nothing that does not come from here, and nothing that is written in it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""What every page says of itself to browsers (W3C: Content Security Policy, Referrer Policy)."""

_OPEN = re.compile(r"/-/(health(/freshness)?|login|mcp)")
_FROM_PAGES = "Authorization, apikey, Content-Type, If-None-Match, Mcp-Protocol-Version, Mcp-Method, Mcp-Name"


class Edge:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        answer = _Answer(send, head=method == "HEAD")
        path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
        # One slash at the end changes nothing; two are another path, at which the API has nothing.
        is_other = path.endswith("//") and path.startswith("/rates")
        asked, path = path, path if is_other else path.removesuffix("/") or "/"
        is_form = method == "POST" and path in FORMS
        methods = MCP_METHODS if path == MCP else METHODS
        if method == "OPTIONS":
            await answer.preflight(methods)
        elif method not in methods.split(", ") and not is_form:
            info = f"This API is read-only: it answers {methods}."
            await answer.error(METHOD_NOT_ALLOWED, info, {"Allow": methods})
        elif len(path) + len(scope["query_string"]) > LONGEST_URI:
            await answer.error(URI_TOO_LONG, f"The path and query have more than {LONGEST_URI} bytes.")
        elif b";" in scope["query_string"] and path.startswith("/rates"):
            info = "Parameters are separated by &. A semicolon in a value is written %3B."
            await answer.error(INVALID_PARAMETER, info)
        elif path.startswith("/-/") and _OPEN.fullmatch(path) is None and not is_form:
            info = "This page is about the server, not about rates, and is closed to the public."
            await answer.error(FUNCTION_ACCESS_RESTRICTED, info)
        else:
            # As it was asked for, too: there a browser goes on to when somebody has signed in.
            await self._pass({**_plain(scope, path), "fx_path": asked}, receive, answer)

    async def _pass(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self.app(scope, receive, answer)
        except Exception:
            if answer.started:
                raise
            logger.exception("no answer to %s", scope["path"])
            await answer.error(INTERNAL_ERROR, "Something went wrong here. It has been logged.")


class _Answer:
    """Sends a response, as every response is to be: CORS, Vary, and no body for HEAD."""

    def __init__(self, send: Send, *, head: bool) -> None:
        self._send = send
        self._head = head
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(
                raw=[(name.lower(), value) for name, value in message.get("headers", [])]
            )
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Access-Control-Expose-Headers"] = f"ETag, Link, {MISSING}, X-Truncated"
            named = ", ".join([*headers.getlist("Vary"), "Accept-Encoding"]).split(",")
            headers["Vary"] = ", ".join(dict.fromkeys(name.strip() for name in named))
            if headers.get("Content-Type", "").startswith("text/html"):
                headers.update(PAGE_HEADERS)
            if message["status"] == 304:
                del headers["Content-Type"]
            message = {**message, "headers": headers.raw}
        elif message["type"] == "http.response.body" and self._head:
            message = {**message, "body": b""}
        await self._send(message)

    async def error(self, kind: ErrorKind, info: str, headers: dict[str, str] | None = None) -> None:
        body = as_json(error_document(kind, info))
        fields = {"Content-Type": JSON, "Content-Length": str(len(body)), "Cache-Control": NO_STORE}
        await self._whole(kind.status, {**fields, **(headers or {})}, body)

    async def preflight(self, methods: str) -> None:
        headers = {
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _FROM_PAGES,
            "Access-Control-Max-Age": "86400",
            "Cache-Control": NO_STORE,
        }
        await self._whole(204, headers, b"")

    async def _whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        await self({"type": "http.response.start", "status": status, "headers": Headers(headers).raw})
        await self({"type": "http.response.body", "body": body})


def _plain(scope: Scope, path: str) -> Scope:
    """The request as Datasette can read it: without the last slash, and without what it stumbles over."""
    headers = MutableHeaders(raw=list(scope["headers"]))
    cookies = _own_cookies("; ".join(headers.getlist("cookie")))
    del headers["cookie"]
    if cookies:
        headers["cookie"] = cookies
    if not takes_gzip(", ".join(headers.getlist("accept-encoding"))):
        del headers["accept-encoding"]
    return {
        **scope,
        "method": "POST" if scope["method"] == "POST" else "GET",
        "path": unquote(path),
        "raw_path": path.encode("latin-1"),
        "headers": headers.raw,
    }


def _own_cookies(sent: str) -> str:
    """The cookies that Datasette sets, or none of them where they cannot be read.

    Those of other servers on the same host are left out: to read all that a browser sends can take long.
    """
    own = "; ".join(part.strip() for part in sent.split(";") if part.strip().startswith(_OWN_COOKIES))
    try:
        SimpleCookie(own[:LONGEST_COOKIES].encode("latin-1").decode())
    except (CookieError, UnicodeDecodeError):
        return ""
    return own if len(own) <= LONGEST_COOKIES else ""
