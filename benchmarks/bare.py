"""The baseline: an application that sends the file BARE_BODY and does nothing else."""

import os
from pathlib import Path

from starlette.types import Receive, Scope, Send

BODY = Path(os.environ["BARE_BODY"]).read_bytes()
HEADERS = [
    (b"content-type", b"application/json; charset=utf-8"),
    (b"content-length", str(len(BODY)).encode()),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the body in response to every request."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})
