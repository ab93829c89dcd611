"""The guard between browsers and the Dagster UI, which itself accepts every request.

Dagster's webserver executes mutations sent by GET or as `text/plain`. Any web page can make a visitor's
browser send those. With the guard, a page of another site can only follow a link.
"""

import hashlib
import hmac
import json
import logging
from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from http import HTTPStatus

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.dagster_names import FETCH_PATH
from fx_pipeline.serving.hosts import Hosts

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 16 * 2**20
"""Maximum size of a request. A backfill names each of its days."""

READING = ("GET", "HEAD")
GRAPHQL = "/graphql"
HEALTH = "/server_info"
"""Dagster's versions, for health checks. It needs no password: a check would have to store it."""

FORMS = (FETCH_PATH,)
"""Where a page of this server posts a form. Everything else that changes something must be JSON."""

_SINGLE = ("host", "origin", "content-type", "authorization", "sec-fetch-site")
_PAGES = ("document", "")
_RESPONSE_HEADERS = {
    # Dagster shows notebooks in a frame.
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_NO_FOREIGN_FRAME = "frame-ancestors 'self'"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request does not reach Dagster."""

    status: HTTPStatus
    reason: str
    headers: dict[str, str] = field(default_factory=dict)


class Guard:
    """An ASGI application in front of Dagster's."""

    def __init__(self, app: ASGIApp, hosts: Hosts, password: SecretStr | None = None) -> None:
        self.app = app
        self._hosts = hosts
        self._password = password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._judge(scope, headers)
        if refusal is None and scope["type"] == "http" and scope["method"] not in READING:
            body = await _read_body(receive)
            refusal = _judge_body(body, is_form=_is_form(scope, headers))
            receive = _Replayed(body or b"", receive)
        if refusal is not None:
            # Browsers send no password until they are asked for one.
            if refusal.status is not HTTPStatus.UNAUTHORIZED or "authorization" in headers:
                logger.warning("Refused %s %.200r: %s", scope["type"], scope["path"], refusal.reason)
            await _refuse(refusal, scope, receive, send)
            return
        await self.app(_without_password(scope), receive, _Framed(send))

    def _judge(self, scope: Scope, headers: Headers) -> Refusal | None:
        if any(len(headers.getlist(name)) > 1 for name in _SINGLE):
            return Refusal(HTTPStatus.BAD_REQUEST, "A header that may appear only once appears twice.")
        return (
            self._judge_host(scope, headers)
            or self._judge_origin(scope, headers)
            or (None if _is_health(scope) else self._judge_password(headers))
            or (_judge_method(scope, headers) if scope["type"] == "http" else None)
        )

    def _judge_host(self, scope: Scope, headers: Headers) -> Refusal | None:
        host, server = headers.get("host", ""), scope.get("server")
        if self._hosts.include(host, server[0] if server else None):
            return None
        return Refusal(
            HTTPStatus.FORBIDDEN,
            f"{host[:200]!r} is not a name of this server. If it should be, add it to FX_ALLOWED_HOSTS.",
        )

    def _judge_origin(self, scope: Scope, headers: Headers) -> Refusal | None:
        reading = scope["type"] == "http" and scope["method"] in READING
        site = headers.get("sec-fetch-site", "none")
        # Anything may link to the UI: the API's pages and alerts do.
        follows_link = (
            reading
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest", "") in _PAGES
        )
        if site not in ("same-origin", "none") and not follows_link:
            return _foreign(f"a page of another site ({site[:20]})")
        page = headers.get("origin") or (None if reading else headers.get("referer"))
        if page is None or self._hosts.is_same_origin(page, headers["host"]):
            return None
        return _foreign(f"a page of {page[:200]!r}")

    def _judge_password(self, headers: Headers) -> Refusal | None:
        if self._password is None or _is_same(_sent_password(headers), self._password):
            return None
        mistake = "That password is wrong. " if "authorization" in headers else ""
        return Refusal(
            HTTPStatus.UNAUTHORIZED,
            f"{mistake}Sign in with any user name and FX_DAGSTER_PASSWORD.",
            {"WWW-Authenticate": 'Basic realm="Dagster", charset="UTF-8"'},
        )


def _foreign(page: str) -> Refusal:
    return Refusal(
        HTTPStatus.FORBIDDEN,
        f"This request comes from {page}. If that is the address of the Dagster UI, set FX_DAGSTER_URL to "
        "it.",
    )


def _is_health(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] in READING and scope["path"] == HEALTH


def _judge_method(scope: Scope, headers: Headers) -> Refusal | None:
    if scope["method"] in READING:
        # With this Accept header Dagster sends the GraphiQL page. Otherwise it executes the query string.
        is_page = "text/html" in headers.get("accept", "") and not scope["query_string"]
        if scope["path"] != GRAPHQL or is_page:
            return None
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Send GraphQL by POST.", {"Allow": "POST"})
    if scope["method"] != "POST":
        return Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "Only GET, HEAD and POST are accepted.",
            {"Allow": "GET, HEAD, POST"},
        )
    if _is_form(scope, headers):
        # A page of another site could send it, too. Browsers name the page in this header.
        return None if "origin" in headers else _foreign("an unknown page")
    # A page of another site needs a CORS preflight to send this type, and gets none.
    if _media_type(headers) != "application/json":
        return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send a body of type application/json.")
    return None


def _is_form(scope: Scope, headers: Headers) -> bool:
    return scope["path"] in FORMS and _media_type(headers) == "application/x-www-form-urlencoded"


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _judge_body(body: bytes | None, *, is_form: bool) -> Refusal | None:
    if body is None:
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body has more than {MAX_BODY_BYTES} bytes.")
    if is_form:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        return Refusal(HTTPStatus.BAD_REQUEST, "Send one JSON object.")
    return None


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body of a request; None if it is too long. It is empty if the client has disconnected."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)


class _Replayed:
    """Passes a body that was already read to the application, then the messages after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


class _Framed:
    """Adds headers to a response, so that no page of another site can show it in a frame."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", [])))
            headers.update(_RESPONSE_HEADERS)
            # In addition to Dagster's own policy: a browser applies both.
            headers.append("Content-Security-Policy", _NO_FOREIGN_FRAME)
            message = {**message, "headers": headers.raw}
        await self._send(message)


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.reason[:100]})
        return
    headers = {"Cache-Control": "no-store", **refusal.headers}
    await PlainTextResponse(f"{refusal.reason}\n", refusal.status, headers)(scope, receive, _Framed(send))


def _without_password(scope: Scope) -> Scope:
    return {
        **scope,
        "headers": [(name, value) for name, value in scope["headers"] if name != b"authorization"],
    }


def _sent_password(headers: Headers) -> str | None:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return b64decode(credentials, validate=True).decode().partition(":")[2]
    except (Base64Error, ValueError):
        return None


def _is_same(sent: str | None, password: SecretStr) -> bool:
    """Return whether the passwords are equal, in constant time, whatever their lengths."""
    wanted = hashlib.sha256(password.get_secret_value().encode()).digest()
    return sent is not None and hmac.compare_digest(hashlib.sha256(sent.encode()).digest(), wanted)
