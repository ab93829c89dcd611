"""Faulty responses of the sandbox: wrong statuses, wrong content types, and broken connections."""

import asyncio
import json
import socket
import struct
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from fx_pipeline.fixer.sandbox.faults import Fault
from fx_pipeline.fixer.sandbox.protocol import Refusal

_JSON = "application/json; charset=utf-8"
_PAGE = b"<!DOCTYPE html><html><head><title>Error</title></head><body><h1>Bad gateway</h1></body></html>"


def json_response(document: dict[str, Any] | bytes, status: int) -> Response:
    """Return `document` as compact JSON. Bytes are sent unchanged, labelled as JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document, separators=(",", ":")).encode()
    return Response(body, status, media_type=_JSON)


def broken(
    fault: Fault, document: dict[str, Any], status: int, timeout_seconds: float, retry_after: int
) -> Response:
    """Return the response `document` with one of the transport faults."""
    dice = fault.dice
    if fault.kind == "rate-limit":
        headers = {"Retry-After": str(retry_after)} if dice.random() < 0.5 else None
        return JSONResponse({"message": "API rate limit exceeded"}, 429, headers)
    if fault.kind == "server-error":
        return Response("Internal error", dice.choice([500, 502, 503]), media_type="text/plain")
    if fault.kind == "html":
        return Response(_PAGE, dice.choice([200, 400, 502]), media_type="text/html")
    if fault.kind == "fixer-error":
        return json_response(Refusal(500, "internal_error", "An internal error occurred.").document(), 200)
    if fault.kind == "plain":
        return Response(json.dumps(document, indent=2), status, media_type="text/plain")
    return _HungUp(fault.kind, json_response(document, status), timeout_seconds)


class _HungUp(Response):
    """A connection that ends before the response is complete: `reset`, `timeout` or `cut`."""

    def __init__(self, kind: str, whole: Response, seconds: float) -> None:
        super().__init__(whole.body, whole.status_code, media_type=_JSON)
        self.kind, self.seconds = kind, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        transport: asyncio.Transport | None = scope["transport"]
        if transport is None:
            raise RuntimeError(f"The fault {self.kind!r} needs a socket: serve the sandbox with uvicorn.")
        await receive()  # the empty request body; the next message is the end of the connection
        if self.kind == "timeout":
            try:
                await asyncio.wait_for(receive(), self.seconds)
                return  # the client hung up first
            except (asyncio.TimeoutError, asyncio.CancelledError):  # cancelled: the sandbox is stopping
                transport.abort()
        elif self.kind == "reset":
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)  # with the length of the whole body
            half = bytes(self.body)[: len(self.body) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            transport.close()
        await receive()
