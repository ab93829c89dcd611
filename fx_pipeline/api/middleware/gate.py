"""Who may ask. The token of a request is found, judged and taken out before Datasette sees the request.

What is behind the gate holds no token, and so cannot log, show or report one. A token travels as
`Authorization: Bearer` (RFC 6750), as the header `apikey` or as the parameter `access_key` (as at Fixer's
two hosts), or stands behind the cookie of a browser that has given one at `/-/login`. Any valid one opens,
whatever else was sent along: clients of Fixer cannot be kept from sending an `access_key`.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from datasette.actor_auth_cookie import actor_from_request as actor_of_cookie
from datasette.utils import baseconv
from datasette.utils.asgi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.errors import (
    FUNCTION_ACCESS_RESTRICTED,
    INVALID_ACCESS_KEY,
    MISSING_ACCESS_KEY,
    PAYLOAD_TOO_LARGE,
    ErrorKind,
    error_document,
)
from fx_pipeline.api.middleware.origins import why_foreign_form
from fx_pipeline.api.replies import JSON, NO_STORE, as_json
from fx_pipeline.api.tokens.live import Holder

LOGIN, LOGOUT = FORMS = ("/-/login", "/-/logout")
COOKIE = "ds_actor"
COOKIE_SECONDS = 30 * 86_400
LONGEST_FORM = 8192
"""Bytes of a form that are read."""
WRITE_SECONDS = 10
"""How long requests are counted in memory before they are written."""

# Supervisors have no token, and what pages look like tells nothing.
_OPEN = re.compile(r"/-/(health(/freshness)?|login)|/static/.*|/favicon\.ico")
_LOCAL = re.compile(r"/(?![/\\])[!-~]*")

MISSING = (
    "This API asks for a token: send it as `Authorization: Bearer`, as the header `apikey` or as the "
    "parameter `access_key`."
)
CLOSED = "No request is answered now: the server has lost track of its tokens. /-/health says what to do."
INVALID = "This token is not valid: it was never made here, or it has been revoked."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered, and where it was going."""

    kind: ErrorKind
    info: str
    next: str


class Gate:
    """An ASGI application in front of `app`: it lets through who holds a valid token, while one is needed."""

    def __init__(self, app: ASGIApp, datasette: FxDatasette) -> None:
        self.app = app
        self._datasette = datasette
        self._tokens = datasette.tokens
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, self._until_shutdown(send))
            return
        sent, scope = take_tokens(scope)
        path = scope["raw_path"].decode("latin-1")
        if scope["method"] == "POST" and path in FORMS:
            await self._answer_form(path, scope, receive, send)
        elif _OPEN.fullmatch(path) or not self._tokens.are_required():
            await self.app(scope, receive, send)
        elif holder := self._holder(sent) or self._holder_of_cookie(scope):
            self._count(holder)
            await self.app({**scope, "actor": _actor(holder)}, receive, send)
        else:
            kind, info = (INVALID_ACCESS_KEY, INVALID) if sent else (MISSING_ACCESS_KEY, MISSING)
            if self._tokens.problem():
                info = CLOSED
            await self._refuse(Refusal(kind, info, _destination(scope)), path, scope, receive, send)

    def _holder(self, sent: list[str]) -> Holder | None:
        return next((holder for token in sent if (holder := self._tokens.find(token))), None)

    def _holder_of_cookie(self, scope: Scope) -> Holder | None:
        actor = actor_of_cookie(self._datasette, Request(scope, None))
        key = actor.get("key") if isinstance(actor, dict) else None
        return self._tokens.find_by_key(key) if isinstance(key, str) else None

    async def _refuse(self, refusal: Refusal, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_page(path, scope):
            await self.app(_login_page(scope, refusal), receive, send)
        else:
            await _send_error(refusal.kind, refusal.info, send)

    async def _answer_form(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if (why := why_foreign_form(self._datasette.hosts, scope)) is not None:
            await _send_error(FUNCTION_ACCESS_RESTRICTED, why, send)
            return
        form = await _read_form(receive)
        if form is None:
            await _send_error(PAYLOAD_TOO_LARGE, f"A form has at most {LONGEST_FORM} bytes.", send)
            return
        response, destination = _redirect("/"), form.get("next", "/")
        if _LOCAL.fullmatch(destination) is None:
            destination = "/"
        secure = scope["scheme"] == "https"
        if path == LOGOUT:
            response.set_cookie(COOKIE, "", max_age=0, httponly=True, secure=secure)
        elif holder := self._tokens.find(form.get("token", "").strip()):
            response = _redirect(destination)
            response.set_cookie(
                COOKIE, self._cookie(holder), max_age=COOKIE_SECONDS, httponly=True, secure=secure
            )
        else:
            refusal = Refusal(INVALID_ACCESS_KEY, INVALID, destination)
            await self.app(_login_page(scope, refusal), receive, send)
            return
        await response.asgi_send(send)

    def _cookie(self, holder: Holder) -> str:
        expires = baseconv.base62.encode(int(time.time()) + COOKIE_SECONDS)
        signed: str = self._datasette.sign({"a": _actor(holder), "e": expires}, "actor")
        return signed

    def _count(self, holder: Holder) -> None:
        self._tokens.count(holder)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_counts())

    async def _write_counts(self) -> None:
        await asyncio.sleep(WRITE_SECONDS)
        await asyncio.to_thread(self._tokens.write_counts)

    def _until_shutdown(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.complete":
                self._tokens.write_counts()
            await send(message)

        return sending


async def login(request: Request, datasette: FxDatasette) -> Response:
    """``/-/login``: a page that takes a token, in its own right or instead of the one that was asked for."""
    refusal: Refusal | None = request.scope.get("fx_refusal")
    context = {
        "required": datasette.tokens.are_required(),
        "invalid": refusal is not None and refusal.kind is INVALID_ACCESS_KEY,
        "next": refusal.next if refusal else request.args.get("next") or "/",
    }
    html = await datasette.render_template("login.html", context, request=request)
    headers = {"cache-control": NO_STORE}
    if refusal:
        return Response.html(
            html, status=refusal.kind.status, headers={**headers, "www-authenticate": "Bearer"}
        )
    return Response.html(html, headers=headers)


def take_tokens(scope: Scope) -> tuple[list[str], Scope]:
    """The tokens that a request carries in the open, in the order in which they count, and the rest of it.

    Of `Authorization` the name is left, because an answer to one who sent it is private (RFC 9111, 3.5).
    """
    bearer, keys, headers = [], [], []
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                bearer.append(token.strip())
            headers.append((name, b"-"))
        elif name == b"apikey":
            keys.append(value.decode("latin-1").strip())
        else:
            headers.append((name, value))
    query: bytes = scope["query_string"]
    if query:
        kept = []
        for part in query.split(b"&"):
            name, _, value = part.decode("latin-1").partition("=")
            if unquote_plus(name) == "access_key":
                keys.append(unquote_plus(value).strip())
            else:
                kept.append(part)
        query = b"&".join(kept)
    tokens = [token for token in (*bearer, *keys) if token]
    return tokens, {**scope, "headers": headers, "query_string": query}


def _actor(holder: Holder) -> dict[str, Any]:
    return {"id": holder.name, "key": holder.key}


def _is_page(path: str, scope: Scope) -> bool:
    """Whether a person asks with a browser, for a page and not for data."""
    if path.endswith((".json", ".csv")) or (path.startswith("/rates") and path != "/rates/docs"):
        return False
    return "text/html" in Headers(scope=scope).get("accept", "")


def _destination(scope: Scope) -> str:
    query = scope["query_string"]
    asked = scope["fx_path"] + (f"?{query.decode('latin-1')}" if query else "")
    return str(asked)


def _login_page(scope: Scope, refusal: Refusal) -> Scope:
    return {
        **scope,
        "method": "GET",
        "path": LOGIN,
        "raw_path": LOGIN.encode(),
        "query_string": b"",
        "fx_refusal": refusal,
    }


async def _read_form(receive: Receive) -> dict[str, str] | None:
    """The fields of a form; None if it is too long to be one of ours."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LONGEST_FORM:
            return None
    return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _redirect(path: str) -> Response:
    return Response("", status=303, headers={"location": path, "cache-control": NO_STORE})


async def _send_error(kind: ErrorKind, info: str, send: Send) -> None:
    headers = {"cache-control": NO_STORE}
    if kind.status == 401:
        headers["www-authenticate"] = "Bearer"
    response = Response(as_json(error_document(kind, info)), kind.status, headers, JSON)
    await response.asgi_send(send)
