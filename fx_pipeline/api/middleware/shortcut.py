"""Answers anonymous requests for rates without Datasette's router.

The router's work (sessions, messages, CSRF, forty other routes) costs more than the response. It changes
nothing for a request without a cookie and credentials. All other requests go through it.
"""

import re

from datasette import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from fx_pipeline.api import views
from fx_pipeline.api.datasette import FxDatasette

_RATES = re.compile(rb"/rates(/(?!docs$).*)?")
IDENTIFYING_HEADERS = frozenset({b"cookie", b"authorization"})


class Shortcut:
    """An ASGI application in front of `app`, which is Datasette's own."""

    def __init__(self, app: ASGIApp, datasette: FxDatasette) -> None:
        self.app = app
        self._datasette = datasette

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request here if it is anonymous and about rates."""
        if not _is_anonymous(scope) or _RATES.fullmatch(scope["raw_path"]) is None:
            await self.app(scope, receive, send)
            return
        await self._datasette.invoke_startup()
        response = await views.rates(Request(scope, receive), self._datasette)
        response.headers["vary"] = "Cookie, Authorization"  # as the router sets it
        await response.asgi_send(send)


def _is_anonymous(scope: Scope) -> bool:
    return (
        scope["type"] == "http"
        and scope.get("actor") is None
        and IDENTIFYING_HEADERS.isdisjoint(name for name, _ in scope["headers"])
    )
