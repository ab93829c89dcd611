"""Logs each request, for `serve --access-log`: with the name of its token, and never with a token or key."""

import logging
from time import perf_counter_ns

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.metrics.names import OperationNames
from fx_pipeline.logs import ACCESS, begin_request, of_request
from fx_pipeline.serving.request_id import new_id

logger = logging.getLogger(ACCESS)

_CACHE = {b'cache;desc="hit"': "hit", b'cache;desc="miss"': "miss"}


class AccessLog:
    """An ASGI application in front of `app` that logs each request when its response has been sent."""

    def __init__(self, app: ASGIApp, names: OperationNames) -> None:
        self.app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request, which gets an id if it has none."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, size, cache = perf_counter_ns(), 500, 0, "bypass"
        scope = {**scope, "fx_request_id": scope["fx_request_id"] or new_id()}
        begin_request()

        async def measuring(message: Message) -> None:
            nonlocal status, size, cache
            if message["type"] == "http.response.start":
                status = message["status"]
                cache = _CACHE.get(dict(message["headers"]).get(b"server-timing", b""), cache)
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, measuring)
        finally:
            path, query = scope["fx_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
            logger.info(
                "request",
                extra={
                    "request_id": scope["fx_request_id"].decode(),
                    "method": scope["fx_method"],
                    "path": f"{path}?{query}" if query else path,  # the formatter removes keys and tokens
                    "operation": self._names.of(scope["path"]),
                    "status": status,
                    "milliseconds": round((perf_counter_ns() - started) / 1e6, 3),
                    "bytes": size,
                    "cache": cache,
                    "token": of_request("token"),
                    "client": ":".join(map(str, scope.get("client") or ())),
                },
            )
