"""Counts the requests that the response cache neither answers nor stores, and gives them an id."""

from time import perf_counter_ns

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.metrics.counters import Counters
from fx_pipeline.api.metrics.names import OperationNames
from fx_pipeline.serving.request_id import new_id, with_id


class Counted:
    """An ASGI application in front of `app` that counts each request once. The response has the id."""

    def __init__(self, app: ASGIApp, counters: Counters, names: OperationNames) -> None:
        self.app = app
        self._counters = counters
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request, and count it before the last part of its response is sent."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, size, is_counted = perf_counter_ns(), 500, 0, False
        request_id = scope["fx_request_id"] or new_id()

        def count() -> None:
            nonlocal is_counted
            if not is_counted:
                is_counted = True
                record = self._counters.record(self._names.of(scope["path"]), status, "bypass")
                self._counters.add(record, started, size)

        async def counting(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                message = with_id(message, request_id)
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    count()
            await send(message)

        try:
            await self.app({**scope, "fx_request_id": request_id}, receive, counting)
        finally:
            count()  # if there was an error; the server then sends a 500
