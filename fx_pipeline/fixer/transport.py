"""One HTTP request to Fixer, and its response without the key."""

import datetime as dt
import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from typing import Literal
from urllib.parse import urlencode, urlsplit

import requests
from pydantic import SecretStr
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse, Retry
from urllib3.exceptions import InvalidHeader

from fx_pipeline.fixer.connection import BoundedAdapter, sending
from fx_pipeline.fixer.document import response_error
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.fixer.key import AccessKey
from fx_pipeline.fixer.network import TooLargeError, explain

logger = logging.getLogger(__name__)

LARGEST_BODY = 64 * 2**20
"""Maximum bytes of a body. A year of 170 currencies takes 1.3 million."""

LONGEST_RETRY_AFTER = 10 * 365 * 86400
"""Seconds. A longer Retry-After is shortened to this."""

SANDBOX = "fx-pipeline-sandbox"
"""The sandbox's `Server` header, by which its rates are kept apart from Fixer's."""

GATEWAY = "api.apilayer.com"
"""The host that expects the key in a header."""

Auth = Literal["auto", "query", "header"]


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one request: a body to parse, or an error with the body if there was one.

    `sent` says whether any of the request reached the provider, as far as this side can tell. Only the needed
    headers are kept: a server or a proxy may put anything into the others.
    """

    error: FixerError | None
    body: bytes | None = None
    provider: str = "fixer"
    quota_limit: int | None = None
    quota_remaining: int | None = None
    provider_at: dt.datetime | None = None
    sent: bool = True
    status: int | None = None
    """The HTTP status, if there was a response."""


class Transport:
    """Sends requests to `base_url` with the access key.

    Safe for concurrent use: urllib3's pool is, and the session around it is only read, because it stores no
    cookies and follows no redirects.

    Raises InvalidKey for a key that cannot be valid, ValueError for an unusable `base_url`.
    """

    def __init__(
        self, base_url: str, access_key: str | SecretStr, auth: Auth, timeout: tuple[float, float]
    ) -> None:
        self.url, host = _checked_url(base_url)
        carrier = ("header" if host == GATEWAY else "query") if auth == "auto" else auth
        self.key = AccessKey(access_key, carrier)
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"fx-pipeline/{version('fx-pipeline')}"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Once: reading proxies and certificates from the environment takes a quarter of a request's time.
        environment = self._session.merge_environment_settings(self.url, {}, None, None, None)
        self._session.proxies, self._session.verify = environment["proxies"], environment["verify"]
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, BoundedAdapter(pool_maxsize=64))  # the maximum of FIXER_CONCURRENCY

    def close(self) -> None:
        """Close the connections. Later requests open new ones."""
        self._session.close()

    def get(self, path: str, query: Mapping[str, str], requested: str) -> Reply:
        """Send one request. `requested` names its dates in errors."""
        sending.started = False
        # Not `Session.get`, which spends time on merging the session's settings into each request's.
        request = requests.PreparedRequest()
        try:
            request.prepare(
                method="GET",
                url=f"{self.url}/{path}",
                headers=self._session.headers,
                params=dict(query),
                auth=self.key,
            )
            with self._session.send(
                request,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
                proxies=self._session.proxies,
                verify=self._session.verify,
                cert=None,
            ) as response:
                body = self.key.redact(_read(response.raw))
                status, headers = response.status_code, response.headers
        # The text and traceback of any exception may contain the URL, and so the key. The error is created
        # outside the handler, so that the exception is not even its context.
        except Exception as failure:  # noqa: BLE001
            kind, reason = explain(failure)
        else:
            return _reply(status, headers, body, requested)
        return Reply(kind(reason, requested), sent=sending.started)

    def attributes(self, path: str, query: Mapping[str, str], reply: Reply) -> dict[str, str | int | None]:
        """Return the attributes of a request's span. The URL is the one without the key."""
        url = f"{self.url}/{path}"
        parts = urlsplit(url)
        return {
            "http.request.method": "GET",
            "url.full": f"{url}?{urlencode(query)}" if query else url,
            "server.address": parts.hostname,
            "server.port": parts.port or {"http": 80, "https": 443}[parts.scheme],
            "http.response.status_code": reply.status,
        }


def _reply(status: int, headers: CaseInsensitiveDict[str], body: bytes, requested: str) -> Reply:
    limit, remaining = _quota(headers)
    retry_after = _seconds(headers.get("retry-after"))
    return Reply(
        response_error(status, body, requested, retry_after=retry_after, quota_remaining=remaining),
        body,
        provider="sandbox" if headers.get("server") == SANDBOX else "fixer",
        quota_limit=limit,
        quota_remaining=remaining,
        provider_at=_instant(headers.get("date")),
        sent=status != 407,  # a proxy's own response: it has forwarded nothing
        status=status,
    )


def _checked_url(base_url: str) -> tuple[str, str]:
    """Return the URL without a trailing slash, and its host. Errors omit the URL: it may contain a key."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(
            "FIXER_BASE_URL must be http:// or https:// and a host, such as https://data.fixer.io/api."
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            "FIXER_BASE_URL must have no user, no ? and no #: the key belongs only in FIXER_ACCESS_KEY."
        )
    if parts.scheme == "http" and not _is_loopback(host):
        logger.warning(
            "FIXER_BASE_URL is plain http: anyone between here and %s can read the access key.", host
        )
    return base_url.rstrip("/"), host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _read(raw: HTTPResponse) -> bytes:
    """Read the body, up to LARGEST_BODY."""
    body = bytearray()
    while part := raw.read1(2**16, decode_content=True):
        body += part
        if len(body) > LARGEST_BODY:
            raise TooLargeError
    return bytes(body)


def _seconds(retry_after: str | None) -> float | None:
    """Return the wait of a Retry-After header (RFC 9110: seconds or a date); None if it cannot be parsed."""
    if retry_after is None:
        return None
    try:
        return float(Retry(retry_after_max=LONGEST_RETRY_AFTER).parse_retry_after(retry_after))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _instant(text: str | None) -> dt.datetime | None:
    """Return the instant of a Date header (RFC 9110); None if it is missing or cannot be parsed."""
    try:
        return parsedate_to_datetime(text).astimezone(dt.timezone.utc) if text else None
    except (ValueError, OverflowError):
        return None


def _quota(headers: CaseInsensitiveDict[str]) -> tuple[int | None, int | None]:
    """Return the calls per month and those left, from the headers; None for values that are not credible.

    A limit of 0, or more calls left than the limit, would make the ledger count fewer calls than were made.
    """
    limit = _count(headers.get("x-ratelimit-limit-month")) or None
    remaining = _count(headers.get("x-ratelimit-remaining-month"))
    if limit is not None and remaining is not None and remaining > limit:
        return None, None
    return limit, remaining


def _count(header: str | None) -> int | None:
    text = (header or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else None
