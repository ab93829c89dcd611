"""A span for each request, if traces are on. Those of the queries are below it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline import tracing
from fx_pipeline.api.metrics.names import OperationNames
from fx_pipeline.logs import Redactor
from fx_pipeline.serving.request_id import TRACEPARENT, new_id

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

_redact = Redactor()


class Traced:
    """An ASGI application in front of `app` that continues the trace of the client, or begins one."""

    def __init__(self, app: ASGIApp, names: OperationNames) -> None:
        self.app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request. Its id is that of the trace if the client has sent none."""
        if scope["type"] != "http":
            await self.app(scope, receive, _flushing(send))
            return
        headers = dict(scope["headers"])
        method = scope["fx_method"] if scope["fx_method"] in _METHODS else "_OTHER"
        operation = self._names.of(scope["path"])
        route = self._names.route_of(operation)
        client, server = scope.get("client") or (None, None), scope.get("server") or (None, None)
        attributes = {
            "http.request.method": method,
            "http.route": route,
            "url.scheme": scope["scheme"],
            "url.path": scope["fx_path"].decode("latin-1"),
            # The redactor knows an encoded name, such as `%61ccess_key`, only after `?` or `&`.
            "url.query": _redact(f"?{scope['query_string'].decode('latin-1')}")[1:] or None,
            "server.address": server[0],
            "server.port": server[1],
            "client.address": client[0],
            "user_agent.original": headers.get(b"user-agent", b"").decode("latin-1") or None,
            "network.protocol.version": scope.get("http_version"),
            "fx.operation": operation,
        }
        name = f"{'HTTP' if method == '_OTHER' else method} {route or operation}"
        traceparent = headers.get(TRACEPARENT, b"").decode("latin-1")
        with tracing.span(name, kind="SERVER", attributes=attributes, traceparent=traceparent) as span:
            request_id = scope["fx_request_id"] or (span.trace_id or "").encode() or new_id()
            scope = {**scope, "fx_request_id": request_id}
            span.add({"fx.request_id": request_id.decode()})

            async def observing(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.add({"http.response.status_code": message["status"]})
                    if message["status"] >= 500:
                        span.fail(str(message["status"]))
                await send(message)

            await self.app(scope, receive, observing)


def _flushing(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            tracing.flush()
        await send(message)

    return sending
