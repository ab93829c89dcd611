"""Requests for rates by nobody in particular, answered without Datasette's router.

What the router does for a request (sessions, messages, CSRF, forty other routes) costs more than the answer
and changes nothing for one without a cookie and without credentials. All others go through it.
"""

import re

from datasette.utils.asgi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from fx_pipeline.api import views
from fx_pipeline.api.datasette import FxDatasette

_RATES = re.compile(rb"/rates(/(?!docs$).*)?")
_OF_SOMEBODY = frozenset({b"cookie", b"authorization"})


class Shortcut:
    """An ASGI application in front of `app`, which is Datasette's own."""

    def __init__(self, app: ASGIApp, datasette: FxDatasette) -> None:
        self.app = app
        self._datasette = datasette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match = _RATES.fullmatch(scope["raw_path"]) if self._is_direct(scope) else None
        if match is None:
            await self.app(scope, receive, send)
            return
        path = (match[1] or b"/")[1:].decode("latin-1")
        request = Request({**scope, "url_route": {"kwargs": {"path": path}}}, receive)
        response = await views.rates(request, self._datasette)
        response.headers["vary"] = "Cookie, Authorization"  # as the router would
        await response.asgi_send(send)

    def _is_direct(self, scope: Scope) -> bool:
        return (
            scope["type"] == "http"
            and scope.get("actor") is None
            # Datasette's start-up is its own, at the first request.
            and self._datasette._startup_invoked
            and _OF_SOMEBODY.isdisjoint(name for name, _ in scope["headers"])
        )
