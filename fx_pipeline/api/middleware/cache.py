"""Whole answers, kept in front of everything else in a worker (RFC 9111), for as long as they are true.

Kept are answers under ``/rates/`` that anybody may have: those that came with `Cache-Control: public` to a
request without credentials. They are given only to such requests, and only while nothing has been committed
to the database since, which is asked each time: no answer is ever stale.
"""

import datetime as dt
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.parameters import is_harmless
from fx_pipeline.api.reading.served import Version
from fx_pipeline.api.replies import LONGEST_URI, RECENT_SECONDS, is_named, takes_gzip

CREDENTIALS = frozenset({b"authorization", b"cookie", b"apikey"})

OVERHEAD = 2_000
"""Bytes that keeping one answer takes beside its body and its key, about."""

RECENT = dt.timedelta(seconds=RECENT_SECONDS)
_MAX_AGE = re.compile(rb"public, max-age=([0-9]+)")

Header = tuple[bytes, bytes]
Asked = tuple[tuple[str, str], ...]
Key = tuple[bytes, Asked, bool]


@dataclass(slots=True)
class Kept:
    """One answer with status 200: the headers of a first telling, and those of each later one."""

    body: bytes
    etag: str
    expires: dt.datetime
    hit: list[Header]
    not_modified: list[Header]
    size: int


@dataclass(slots=True)
class _Recorded:
    """A response, as the application sent it."""

    status: int = 500
    headers: list[Header] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(name.lower(), value) for name, value in message.get("headers", [])]
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    def header(self, name: bytes) -> bytes | None:
        return _field(self.headers, name)


class ResponseCache:
    """An ASGI application that caches up to `size` bytes of the responses of `app`.

    While `datasette` requires a token, every request goes to `app`.
    """

    def __init__(self, app: ASGIApp, datasette: FxDatasette, size: int) -> None:
        self.app = app
        self.size = size
        self._datasette = datasette
        self._version = datasette.served.version()
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self._key(scope) if scope["type"] == "http" else None
        if key is None:
            await self.app(scope, receive, send)
            return
        version = self._datasette.served.version()
        if version != self._version:
            self._forget_all(version)
        kept = self._kept.get(key)
        if kept is not None and kept.expires > self._datasette.clock():
            self._kept.move_to_end(key)
            await _tell(kept, scope, send)
        else:
            await self._ask(key, version, scope, receive, send)

    async def _ask(
        self, key: Key, version: Version | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Have the whole answer made, keep it if it may be kept, and tell what of it was asked for."""
        recorded = _Recorded()
        headers = [pair for pair in scope["headers"] if pair[0] not in _NOT_PASSED_ON]
        if key[2]:
            # The key says what was understood of it, and the answer is to be of that alone.
            headers.append((b"accept-encoding", b"gzip"))
        await self.app({**scope, "method": "GET", "headers": headers}, receive, recorded)
        kept = self._keepable(key, recorded)
        if kept is None:
            await _pass(recorded, scope, send)
            return
        # What was read may be newer than `version`, but never older. It is kept only if it is surely neither.
        if version is not None and self._datasette.served.version() == version == self._version:
            self._keep(key, kept)
        await _tell(kept, scope, send, _MISS)

    def _key(self, scope: Scope) -> Key | None:
        """What determines the answer; None where it is not for anybody, or not to be kept."""
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        if scope["method"] not in ("GET", "HEAD") or not path.startswith(b"/rates"):
            return None
        accepted = b""
        for name, value in scope["headers"]:
            if name in CREDENTIALS:
                return None
            if name == b"accept-encoding":
                accepted = accepted + b", " + value if accepted else value
        query = scope["query_string"]
        asked = _asked(query)
        if asked is None or not self._datasette.is_open() or len(path) + len(query) > LONGEST_URI:
            return None
        path = path.partition(b"?")[0].removesuffix(b"/")
        if b"%" in path:
            if b"%2f" in path.lower():
                # An encoded slash divides nothing: this is another path than the one it looks like.
                return None
            path = unquote_to_bytes(path)
        return (path, asked, takes_gzip(accepted.decode("latin-1")))

    def _keepable(self, key: Key, recorded: _Recorded) -> Kept | None:
        control = _MAX_AGE.fullmatch(recorded.header(b"cache-control") or b"")
        etag = recorded.header(b"etag")
        if recorded.status != 200 or control is None or etag is None:
            return None
        now = self._datasette.clock()
        midnight = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time.min, dt.timezone.utc)
        max_age = dt.timedelta(seconds=int(control[1]))
        # What a response says of its own age depends on the day, so none is fresh past midnight.
        margin = RECENT if max_age <= RECENT else dt.timedelta(0)
        expires = min(now + max_age, midnight - margin)
        unmodified = [
            pair for pair in recorded.headers if pair[0] not in (b"content-type", b"content-length")
        ]
        body = bytes(recorded.body)
        return Kept(
            body=body,
            etag=etag.decode("latin-1"),
            expires=expires,
            hit=recorded.headers,
            not_modified=[pair for pair in unmodified if pair[0] != b"content-encoding"],
            size=len(body) + len(key[0]) + sum(len(name) + len(value) for name, value in key[1]) + OVERHEAD,
        )

    def _keep(self, key: Key, kept: Kept) -> None:
        if kept.size > self.size // 4:
            return
        if key in self._kept:
            self._bytes -= self._kept.pop(key).size
        self._kept[key] = kept
        self._bytes += kept.size
        while self._bytes > self.size:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= oldest.size

    def _forget_all(self, version: Version | None) -> None:
        self._kept.clear()
        self._bytes = 0
        self._version = version


_NOT_PASSED_ON = (b"if-none-match", b"accept-encoding")
_HIT = (b"server-timing", b'cache;desc="hit"')
_MISS = (b"server-timing", b'cache;desc="miss"')


async def _tell(kept: Kept, scope: Scope, send: Send, marker: Header = _HIT) -> None:
    named = _field(scope["headers"], b"if-none-match")
    if named is not None and is_named(kept.etag, named.decode("latin-1")):
        status, headers, body = 304, [*kept.not_modified, marker], b""
    else:
        status, headers = 200, [*kept.hit, marker]
        body = b"" if scope["method"] == "HEAD" else kept.body
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _pass(recorded: _Recorded, scope: Scope, send: Send) -> None:
    body = b"" if scope["method"] == "HEAD" else bytes(recorded.body)
    await send({"type": "http.response.start", "status": recorded.status, "headers": recorded.headers})
    await send({"type": "http.response.body", "body": body})


def _asked(query: bytes) -> Asked | None:
    """Return the parameters that the response depends on: all but those that are ignored.

    None where this is for others to decide: scripts, which not everybody may have, and semicolons, which are
    refused.
    """
    if not query:
        return ()
    if b";" in query:
        return None
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    asked = tuple((name, value) for name, value in pairs if not is_harmless(name))
    return None if any(name == "callback" for name, _ in asked) else asked


def _field(headers: Iterable[Header], name: bytes) -> bytes | None:
    for found, value in headers:
        if found == name:
            return value
    return None
