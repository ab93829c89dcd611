"""Replies and their HTTP headers: ETag and 304, Cache-Control (RFC 9110, RFC 9111).

The ETag is weak, because one reply has a compressed and a plain form (RFC 9110, 8.8.3).
"""

import datetime as dt
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import orjson
from datasette import Request, Response

from fx_pipeline.api.errors import ErrorKind, error_document

JSON = "application/json; charset=utf-8"
CSV = "text/csv; charset=utf-8"
SCRIPT = "text/javascript; charset=utf-8"
NO_STORE = "no-store"
REVALIDATE = "no-cache"
"""Cache-Control of a page: the browser stores it, and checks each time whether it has changed (304)."""
MISSING = "x-missing-rates"
"""The header for currencies without a rate on some of the days: `BGN=1999-01-04..2025-12-31`."""
MISSING_DAYS = "x-missing-days"
"""The header for the number of days of a range that are not stored."""

GZIP_LEVEL = 6
"""Level 9 takes twice as long, and saves less than one percent."""

LONGEST_URI = 8192
"""The longest path and query in bytes: ten times the length of a request that names every currency."""

LARGE_BODY = 65_536
"""From this size in bytes, a body is compressed and hashed in the thread that made it."""

RETRY_SECONDS = 5
"""When a client should retry if the server is busy."""

SETTLED_SECONDS = 86_400
"""How long any cache may store a day that is not expected to change."""
RECENT_SECONDS = 60
"""How long any cache may store a day that may change."""

_NO_GZIP = re.compile(r"gzip\s*;\s*q=0(\.0*)?\s*(,|$)", re.IGNORECASE)
_ENTITY_TAG = re.compile(r'"([^"]*)"')


Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a document is sent: indented for people, or as a script that calls a function (JSONP)."""

    indented: bool = False
    callback: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response before the check whether the client already has it."""

    body: bytes
    cache_control: str
    content_type: str = JSON
    status: int = 200
    retry_after: int | None = None
    """Seconds after which the client should retry."""
    etag: str | None = None
    gzip: bytes | None = None
    """The compressed body, for a client that accepts it."""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(document: Mapping[str, object]) -> bytes:
    """Return a document as it is sent: compact, in UTF-8, and never with NaN, which JSON does not have."""
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def error_reply(kind: ErrorKind, info: str) -> Reply:
    """Return the reply for an error."""
    retry_after = RETRY_SECONDS if kind.status == 503 else None
    return Reply(as_json(error_document(kind, info)), NO_STORE, status=kind.status, retry_after=retry_after)


def packed(reply: Reply, request: Request) -> Reply:
    """Add the ETag and the compressed body to a large reply, because both take time."""
    if len(reply.body) < LARGE_BODY:
        return reply
    etag = _etag(reply)
    if is_named(etag or "", request.headers.get("if-none-match")):
        return replace(reply, etag=etag)
    takes = takes_gzip(request.headers.get("accept-encoding", ""))
    return replace(reply, etag=etag, gzip=gzip.compress(reply.body, GZIP_LEVEL, mtime=0) if takes else None)


def rendered(reply: Reply, rendering: Rendering) -> Reply:
    """Return a document in the requested form.

    A page that loads a script cannot see its status, and gets nothing if it is an error's. So an error is a
    200 too, with its status in the document. The comment keeps a client from choosing the first bytes.
    """
    if reply.content_type != JSON:
        return reply
    if rendering.indented:
        body = orjson.dumps(orjson.loads(reply.body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        reply = replace(reply, body=body)
    if rendering.callback is None:
        return reply
    document = reply.body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return replace(
        reply,
        body=b"/**/%b(%b);" % (rendering.callback.encode(), document),
        content_type=SCRIPT,
        status=200 if reply.status < 500 else reply.status,
        headers={**reply.headers, "x-content-type-options": "nosniff"},
    )


def takes_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding (lines joined by commas) accepts gzip; q=0 refuses it (RFC 9110)."""
    return "gzip" in accepted.lower() and not _NO_GZIP.search(accepted)


def respond(request: Request, reply: Reply) -> Response:
    """Return the response to `request`: 304 without a body if the client has this reply already."""
    # Lower case, as other layers expect.
    headers = {**reply.headers, "cache-control": reply.cache_control}
    if reply.retry_after is not None:
        headers["retry-after"] = str(reply.retry_after)
    etag = reply.etag or _etag(reply)
    if etag:
        headers["etag"] = etag
        if is_named(etag, request.headers.get("if-none-match")):
            return Response(b"", status=304, headers=headers, content_type=reply.content_type)
    body = reply.body
    if reply.gzip is not None:
        body = reply.gzip
        headers["content-encoding"] = "gzip"
    headers["content-length"] = str(len(body))
    return Response(body, status=reply.status, headers=headers, content_type=reply.content_type)


def _etag(reply: Reply) -> str | None:
    if reply.status != 200 or reply.cache_control == NO_STORE:
        return None
    # OpenSSL uses the processor's SHA instructions, and takes a quarter of the time of blake2b.
    return f'W/"{hashlib.sha256(reply.body).hexdigest()[:32]}"'


def settled() -> str:
    """Return the Cache-Control of days that are not expected to change."""
    return f"public, max-age={SETTLED_SECONDS}"


def recent() -> str:
    """Return the Cache-Control of days that may change."""
    return f"public, max-age={RECENT_SECONDS}"


def until_midnight(now: dt.datetime) -> str:
    """Return the Cache-Control of a response that the next day (UTC) replaces."""
    midnight = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time.min, dt.timezone.utc)
    return f"public, max-age={min(RECENT_SECONDS, int((midnight - now).total_seconds()))}"


def is_named(etag: str, if_none_match: str | None) -> bool:
    """Return whether `If-None-Match` names the ETag, by weak comparison (RFC 9110, 8.8.3.2 and 13.1.2)."""
    if if_none_match is None:
        return False
    if if_none_match == etag:
        return True
    tag = etag.removeprefix("W/").strip('"')
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)
