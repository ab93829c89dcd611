"""Gives a request the scheme of the public address, if the client used that address.

A proxy that ends TLS passes requests on by http. Only a trusted proxy can say which scheme the client used
(uvicorn trusts `X-Forwarded-Proto` from 127.0.0.1). FX_API_URL says so without any trust: its scheme decides
the absolute links and whether the cookie is only for https.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from fx_pipeline.serving.hosts import Hosts


class PublicAddress:
    """An ASGI application in front of `app`."""

    def __init__(self, app: ASGIApp, hosts: Hosts) -> None:
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request with the scheme of its client."""
        if scope["type"] == "http" and (
            scheme := self._hosts.public_scheme(Headers(scope=scope).get("host", ""))
        ):
            scope = {**scope, "scheme": scheme}
        await self.app(scope, receive, send)
