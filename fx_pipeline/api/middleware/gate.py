"""Requires a token while one is needed, and takes it out of the request before Datasette sees it.

No code behind the gate has a token, so none can log, show or report one. A token is sent as `Authorization:
Bearer` (RFC 6750), as the header `apikey` or as the parameter `access_key` (as with Fixer's two hosts). A
browser that sent one at `/-/login` has a cookie instead. Any valid token is enough, whatever else the request
contains: clients of Fixer always send an `access_key`.
"""

import asyncio
import re
import time
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from datasette import Request, Response
from datasette.actor_auth_cookie import actor_from_request as actor_of_cookie
from datasette.utils import baseconv
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
from fx_pipeline.api.middleware.paths import FORMS, LOGOUT, needs_no_token
from fx_pipeline.api.pages.login import Refusal, refused
from fx_pipeline.api.replies import JSON, NO_STORE, as_json
from fx_pipeline.api.tokens.live import Holder
from fx_pipeline.logs import add_to_request

COOKIE = "ds_actor"
COOKIE_SECONDS = 30 * 86_400
LONGEST_FORM = 8192
"""The most bytes that are read of a form."""
WRITE_SECONDS = 10
"""How long requests are counted in memory before the counts are written."""

_LOCAL_PATH = re.compile(r"/(?![/\\])[!-~]*")

MISSING = (
    "This API needs a token. Send it as `Authorization: Bearer`, as the header `apikey` or as the "
    "parameter `access_key`."
)
CLOSED = "All requests are refused: the server has lost track of its tokens. See /-/health."
INVALID = "This token is not valid: it does not exist, or it has been revoked."


class Gate:
    """An ASGI application in front of `app` that passes on requests with a valid token, if one is needed."""

    def __init__(self, app: ASGIApp, datasette: FxDatasette) -> None:
        self.app = app
        self._datasette = datasette
        self._tokens = datasette.tokens
        self._prefix = datasette.prefix
        self._home = f"{datasette.prefix}/"
        self._writing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request if it has a valid token or needs none."""
        if scope["type"] != "http":
            await self.app(scope, receive, self._until_shutdown(send))
            return
        sent, scope = take_tokens(scope)
        path = scope["raw_path"].decode("latin-1")
        if scope["method"] == "POST" and path in FORMS:
            response = await self._form_response(path, scope, receive)
            await response.asgi_send(send)
        elif needs_no_token(path) or not self._tokens.are_required():
            await self.app(scope, receive, send)
        elif holder := self._holder(sent) or self._holder_of_cookie(scope):
            self._count(holder)
            add_to_request(token=holder.name)
            await self.app({**scope, "actor": _actor(holder)}, receive, send)
        else:
            response = await self._refuse(bool(sent), path, scope)
            await response.asgi_send(send)

    def _holder(self, sent: list[str]) -> Holder | None:
        return next((holder for token in sent if (holder := self._tokens.find(token))), None)

    def _holder_of_cookie(self, scope: Scope) -> Holder | None:
        actor = actor_of_cookie(self._datasette, Request(scope, None))
        key = actor.get("key") if isinstance(actor, dict) else None
        return self._tokens.find_by_key(key) if isinstance(key, str) else None

    async def _refuse(self, has_token: bool, path: str, scope: Scope) -> Response:
        kind, info = (INVALID_ACCESS_KEY, INVALID) if has_token else (MISSING_ACCESS_KEY, MISSING)
        if self._tokens.problem():
            info = CLOSED
        if _is_page(path, scope):
            refusal = Refusal(kind, f"{self._prefix}{_requested(scope)}")
            return await refused(Request(scope, None), self._datasette, refusal)
        return _error(kind, info)

    async def _form_response(self, path: str, scope: Scope, receive: Receive) -> Response:
        if (why := why_foreign_form(self._datasette.hosts, scope)) is not None:
            return _error(FUNCTION_ACCESS_RESTRICTED, why)
        form = await _read_form(receive)
        if form is None:
            return _error(PAYLOAD_TOO_LARGE, f"A form has at most {LONGEST_FORM} bytes.")
        if path == LOGOUT:
            response = _redirect(self._home)
            self._set_cookie(response, "", 0, scope)
            return response
        next_path = form.get("next", self._home)
        if _LOCAL_PATH.fullmatch(next_path) is None:
            next_path = self._home
        holder = self._tokens.find(form.get("token", "").strip())
        if holder is None:
            refusal = Refusal(INVALID_ACCESS_KEY, next_path)
            return await refused(Request(scope, None), self._datasette, refusal)
        response = _redirect(next_path)
        self._set_cookie(response, self._cookie(holder), COOKIE_SECONDS, scope)
        return response

    def _set_cookie(self, response: Response, value: str, seconds: int, scope: Scope) -> None:
        # With a prefix, other paths of the same host may belong to other servers.
        path, secure = self._prefix or "/", scope["scheme"] == "https"
        response.set_cookie(COOKIE, value, max_age=seconds, path=path, httponly=True, secure=secure)

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


def take_tokens(scope: Scope) -> tuple[list[str], Scope]:
    """Return the tokens of a request in order of precedence, and the request without them.

    The name of `Authorization` stays, because a response to a request with it is private (RFC 9111, 3.5).
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
        remaining = []
        for part in query.split(b"&"):
            name, _, value = part.decode("latin-1").partition("=")
            if unquote_plus(name) == "access_key":
                keys.append(unquote_plus(value).strip())
            else:
                remaining.append(part)
        query = b"&".join(remaining)
    tokens = [token for token in (*bearer, *keys) if token]
    return tokens, {**scope, "headers": headers, "query_string": query}


def _actor(holder: Holder) -> dict[str, Any]:
    return {"id": holder.name, "key": holder.key}


def _is_page(path: str, scope: Scope) -> bool:
    """Return whether a browser requests a page, not data."""
    if path.endswith((".json", ".csv")) or (path.startswith("/rates") and path != "/rates/docs"):
        return False
    return "text/html" in Headers(scope=scope).get("accept", "")


def _requested(scope: Scope) -> str:
    """Return the path and query as they were requested, without the prefix and a token."""
    path, query = scope["fx_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


async def _read_form(receive: Receive) -> dict[str, str] | None:
    """Return the fields of a form, or None if it is longer than LONGEST_FORM."""
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


def _error(kind: ErrorKind, info: str) -> Response:
    headers = {"cache-control": NO_STORE}
    if kind.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(as_json(error_document(kind, info)), kind.status, headers, JSON)
