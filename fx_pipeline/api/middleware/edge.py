"""What every path has in common: methods, closed pages, CORS, the headers of pages, and unexpected errors.

Everything is read-only and readable from any page (CORS). No traceback is ever sent.
"""

import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.api.errors import (
    FUNCTION_ACCESS_RESTRICTED,
    INTERNAL_ERROR,
    INVALID_API_FUNCTION,
    INVALID_PARAMETER,
    METHOD_NOT_ALLOWED,
    UNEXPECTED,
    URI_TOO_LONG,
    ErrorKind,
    error_document,
)
from fx_pipeline.api.metrics.names import OperationNames
from fx_pipeline.api.middleware.paths import FORMS, HEALTH, MCP, is_closed
from fx_pipeline.api.replies import JSON, LONGEST_URI, MISSING, MISSING_DAYS, NO_STORE, as_json
from fx_pipeline.logs import begin_request

logger = logging.getLogger(__name__)

METHODS = "GET, HEAD, OPTIONS"
MCP_METHODS = "POST, OPTIONS"

PAGE_HEADERS = {
    # A page loads only what comes from here, and runs no script or style that is written in it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
"""The headers of every page (W3C: Content Security Policy, Referrer Policy)."""

_ALLOWED_HEADERS = (
    "Authorization, apikey, Content-Type, If-None-Match, Mcp-Protocol-Version, Mcp-Method, Mcp-Name, "
    "X-Request-Id, traceparent"
)
_EXPOSED_HEADERS = f"ETag, Link, {MISSING}, {MISSING_DAYS}, X-Truncated, X-Request-Id"


class Edge:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, names: OperationNames) -> None:
        self.app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse what no path allows, and pass on the rest."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin_request(
            request_id=scope["fx_request_id"].decode("latin-1"), operation=self._names.of(scope["path"])
        )
        response = _Response(send)
        method, path, query = scope["method"], scope["raw_path"].decode("latin-1"), scope["query_string"]
        is_form = method == "POST" and path in FORMS
        methods = MCP_METHODS if path == MCP else METHODS
        if method == "OPTIONS":
            await response.preflight(methods)
        elif method not in methods.split(", ") and not is_form:
            info = f"This API is read-only. Allowed methods: {methods}."
            await response.error(METHOD_NOT_ALLOWED, info, {"Allow": methods})
        elif len(path) + len(query) > LONGEST_URI:
            await response.error(URI_TOO_LONG, f"The path and query have more than {LONGEST_URI} bytes.")
        elif b";" in query and path.startswith("/rates"):
            info = "Parameters are separated by &. A semicolon in a value is written %3B."
            await response.error(INVALID_PARAMETER, info)
        elif (stem := path.rpartition(".")[0]) in HEALTH:
            info = f"There is no endpoint {quoted(path)[1:-1]}. There is {stem} (JSON)."
            await response.error(INVALID_API_FUNCTION, info)
        elif is_closed(path) and not is_form:
            info = "This page is about the server, not about rates, and is closed to the public."
            await response.error(FUNCTION_ACCESS_RESTRICTED, info)
        else:
            await self._pass(scope, receive, response)

    async def _pass(self, scope: Scope, receive: Receive, response: "_Response") -> None:
        try:
            await self.app(scope, receive, response)
        except Exception:
            if response.started:
                raise
            logger.exception("no response to %s", scope["path"])
            await response.error(INTERNAL_ERROR, UNEXPECTED)


class _Response:
    """Sends a response with the headers that every response has: CORS, Vary, and those of pages."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(
                raw=[(name.lower(), value) for name, value in message.get("headers", [])]
            )
            headers["Access-Control-Allow-Origin"] = "*"
            headers["Access-Control-Expose-Headers"] = _EXPOSED_HEADERS
            named = ", ".join([*headers.getlist("Vary"), "Accept-Encoding"]).split(",")
            headers["Vary"] = ", ".join(dict.fromkeys(name.strip() for name in named))
            if headers.get("Content-Type", "").startswith("text/html"):
                headers.update(PAGE_HEADERS)
            if message["status"] == 304:
                del headers["Content-Type"]
            message = {**message, "headers": headers.raw}
        await self._send(message)

    async def error(self, kind: ErrorKind, info: str, headers: dict[str, str] | None = None) -> None:
        body = as_json(error_document(kind, info))
        fields = {"Content-Type": JSON, "Content-Length": str(len(body)), "Cache-Control": NO_STORE}
        await self._whole(kind.status, {**fields, **(headers or {})}, body)

    async def preflight(self, methods: str) -> None:
        headers = {
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": "86400",
            "Cache-Control": NO_STORE,
        }
        await self._whole(204, headers, b"")

    async def _whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        await self({"type": "http.response.start", "status": status, "headers": Headers(headers).raw})
        await self({"type": "http.response.body", "body": body})
