"""The id of a request: the client's `X-Request-Id`, else the trace id of its `traceparent`, else a new one.

`traceparent` is that of W3C Trace Context (https://www.w3.org/TR/trace-context/).
"""

import re
from collections.abc import Iterable
from random import Random

from starlette.types import Message

HEADER = b"x-request-id"
TRACEPARENT = b"traceparent"

_SANE = re.compile(rb"[!-~]{1,128}")
"""Printable, without spaces. Two headers, which are joined by a comma and a space, are none."""

_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)

# A system call for each id would take twice as long. Ids need not be secret.
_random = Random()  # noqa: S311


def sent_id(request_id: bytes | None, traceparent: bytes | None) -> bytes | None:
    """Return the id that a client has sent in one of these headers, or None."""
    if request_id is not None and _SANE.fullmatch(request_id):
        return request_id
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent is not None else None
    # Only versions after 00 may have more than four parts.
    return found[2] if found and (found[1] != b"00" or found[3] is None) else None


def new_id() -> bytes:
    """Return an id in the form of a trace id."""
    return b"%032x" % _random.getrandbits(128)


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the id of a request with these headers, whose names are in lower case."""
    found = dict(headers)
    return sent_id(found.get(HEADER), found.get(TRACEPARENT)) or new_id()


def with_id(start: Message, request_id: bytes) -> Message:
    """Return the start of a response with the id of its request."""
    return {**start, "headers": [*start["headers"], (HEADER, request_id)]}
