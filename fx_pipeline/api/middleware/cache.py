"""The response cache of a worker (RFC 9111). Its responses are never stale.

It stores the responses under ``/rates/`` that are public: those with `Cache-Control: public` to a request
without credentials. It sends them only to such requests, and only if nothing has been committed to the
database since. Each request checks that.
"""

import datetime as dt
import re
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from time import perf_counter_ns
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.parameters import is_harmless
from fx_pipeline.api.reading.served import Version
from fx_pipeline.api.replies import LONGEST_URI, RECENT_SECONDS, is_named
from fx_pipeline.serving.request_id import new_id, with_id

OVERHEAD = 2_000
"""Approximate bytes per entry in addition to its body and key."""

LONGEST_REMEMBERED_QUERY = 256
"""Bytes of a query string whose parameters are remembered: up to 1,000, each about 40 times its size."""

RECENT = dt.timedelta(seconds=RECENT_SECONDS)

_MAX_AGE = re.compile(rb"public, max-age=([0-9]+)")
_HIT = (b"server-timing", b'cache;desc="hit"')
_MISS = (b"server-timing", b'cache;desc="miss"')

Header = tuple[bytes, bytes]
Query = tuple[tuple[str, str], ...]
Key = tuple[str, Query, bool]
Messages = tuple[Message, Message]
"""The start and the body of a response."""
Answer = tuple[Message, Message, int, int]
"""The same, and what is counted when it is a hit: its record in `Counters`, and the bytes of its body."""


@dataclass(frozen=True, slots=True)
class Cached:
    """A response with status 200, as the messages that send it, and those of a 304 in its place."""

    etag: str
    expires: dt.datetime
    full: Answer
    not_modified: Answer
    size: int

    def answer(self, if_none_match: bytes | None) -> Answer:
        """Return what the client needs: a 304 if it has the response already."""
        is_known = if_none_match is not None and is_named(self.etag, if_none_match.decode("latin-1"))
        return self.not_modified if is_known else self.full


@dataclass(slots=True)
class _Recorded:
    """A response as the application sent it."""

    status: int = 500
    headers: list[Header] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")


class ResponseCache:
    """An ASGI application that caches up to `size` bytes of the responses of `app`.

    It counts the requests that it answers or passes to `app`. While `datasette` requires a token, every
    request goes to `uncached`, as do those that are never cached.
    """

    def __init__(self, app: ASGIApp, uncached: ASGIApp, datasette: FxDatasette, size: int) -> None:
        self.app = app
        self.uncached = uncached
        self.size = size
        self.used = 0
        """Bytes in use."""
        self._database = datasette.served
        self._clock = datasette.clock
        self._datasette = datasette
        self._counters = datasette.counters
        self._count_hit = datasette.counters.add
        self._version = datasette.served.version()
        self._entries: OrderedDict[Key, Cached] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from the cache if possible."""
        started = perf_counter_ns()
        key = self._key(scope) if scope["type"] == "http" else None
        if key is None:
            await self.uncached(scope, receive, send)
            return
        version = self._database.version()
        if version != self._version:
            self.clear()
            self._version = version
        cached = self._entries.get(key)
        if cached is not None and cached.expires > self._clock():
            self._entries.move_to_end(key)
            start, body, record, size = cached.answer(scope["fx_if_none_match"])
            self._count_hit(record, started, size)
            # A new id would take 3 % of the time of a cached response, and no log would have it.
            if (request_id := scope["fx_request_id"]) is not None:
                start = with_id(start, request_id)
            await send(start)
            await send(body)
        else:
            await self._fetch(key, version, started, scope, receive, send)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
        self.used = 0

    async def _fetch(
        self, key: Key, version: Version | None, started: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Get the full response from `app`, store it if allowed, and send what the client needs of it."""
        recorded = _Recorded()
        request_id = scope["fx_request_id"] or new_id()
        headers = [header for header in scope["headers"] if header[0] != b"if-none-match"]
        try:
            await self.app({**scope, "headers": headers, "fx_request_id": request_id}, receive, recorded)
        except BaseException:
            self._count(key, 500, started, 0)
            raise
        cached = self._cacheable(key, recorded)
        if cached is None:
            start, body = _messages(recorded.status, recorded.headers, bytes(recorded.body))
        else:
            # The data may be newer than `version`, but never older. Store it only if it is neither.
            if version is not None and self._database.version() == version == self._version:
                self._store(key, cached)
            start, body, *_ = cached.answer(scope["fx_if_none_match"])
            start = {**start, "headers": [*start["headers"][:-1], _MISS]}
        self._count(key, start["status"], started, len(body["body"]))
        await send(with_id(start, request_id))
        await send(body)

    def _count(self, key: Key, status: int, started: int, size: int) -> None:
        operation = self._datasette.operation_names.of(key[0])
        self._counters.add(self._counters.record(operation, status, "miss"), started, size)

    def _key(self, scope: Scope) -> Key | None:
        """Return what determines the response. None means that it is not public, or never cached."""
        raw_path: bytes = scope["raw_path"]
        if not raw_path.startswith(b"/rates") or scope["method"] != "GET":
            return None
        query = scope["query_string"]
        # `edge` refuses longer requests, and those with a semicolon.
        if query and (len(raw_path) + len(query) > LONGEST_URI or b";" in query):
            return None
        if scope["fx_has_credentials"] or not self._datasette.is_open():
            return None
        if b"%" in raw_path and b"%2f" in raw_path.lower():
            # An encoded slash separates nothing, so this is a different path than the decoded one.
            return None
        # Only short queries are remembered: the parameters of a long one can take 40 times its size.
        parse = _parameters if len(query) <= LONGEST_REMEMBERED_QUERY else _parameters.__wrapped__
        parameters = parse(query) if query else ()
        return None if parameters is None else (scope["path"], parameters, scope["fx_takes_gzip"])

    def _cacheable(self, key: Key, recorded: _Recorded) -> Cached | None:
        control = _MAX_AGE.fullmatch(_field(recorded.headers, b"cache-control") or b"")
        etag = _field(recorded.headers, b"etag")
        if recorded.status != 200 or control is None or etag is None:
            return None
        now = self._clock()
        midnight = dt.datetime.combine(now.date() + dt.timedelta(days=1), dt.time.min, dt.timezone.utc)
        max_age = dt.timedelta(seconds=int(control[1]))
        # The Cache-Control of a response depends on the day, so clients must not reuse it past midnight.
        margin = RECENT if max_age <= RECENT else dt.timedelta(0)
        path, parameters, _ = key
        without_body = [header for header in recorded.headers if header[0] not in _OF_A_BODY]
        body = bytes(recorded.body)
        operation, counters = self._datasette.operation_names.of(path), self._counters
        return Cached(
            etag=etag.decode("latin-1"),
            expires=min(now + max_age, midnight - margin),
            full=(
                *_messages(200, [*recorded.headers, _HIT], body),
                counters.record(operation, 200, "hit"),
                len(body),
            ),
            not_modified=(
                *_messages(304, [*without_body, _HIT], b""),
                counters.record(operation, 304, "hit"),
                0,
            ),
            size=len(body) + len(path) + sum(len(name) + len(value) for name, value in parameters) + OVERHEAD,
        )

    def _store(self, key: Key, cached: Cached) -> None:
        if cached.size > self.size // 4:
            return
        if replaced := self._entries.pop(key, None):
            self.used -= replaced.size
        self._entries[key] = cached
        self.used += cached.size
        while self.used > self.size:
            _, oldest = self._entries.popitem(last=False)
            self.used -= oldest.size


_OF_A_BODY = (b"content-type", b"content-length", b"content-encoding")


def _messages(status: int, headers: Iterable[Header], body: bytes) -> Messages:
    start = {"type": "http.response.start", "status": status, "headers": list(headers)}
    return start, {"type": "http.response.body", "body": body}


# Parsing takes 5 µs, almost half the time of a hit.
@lru_cache(maxsize=1_000)
def _parameters(query: bytes) -> Query | None:
    """Return the parameters that the response depends on: all but those that are ignored.

    None for a script: whether a client may have one depends on its headers.
    """
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    parameters = tuple((name, value) for name, value in pairs if not is_harmless(name))
    return None if any(name == "callback" for name, _ in parameters) else parameters


def _field(headers: Iterable[Header], name: bytes) -> bytes | None:
    for found, value in headers:
        if found == name:
            return value
    return None
