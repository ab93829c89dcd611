"""Fixer over HTTP: one question, one answer, both kept whole. What an answer means is read in `answers`.

A request that brings no answer of Fixer's (no connection, HTTP 429 and 5xx, a cut body, a page of HTML) is
made again here, as urllib3's `Retry` says. An answer that is wrong is handed up with its body, to be kept.
"""

import datetime as dt
import ipaddress
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

import requests
from pydantic import SecretStr
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPResponse, Retry
from urllib3.exceptions import InvalidHeader

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.bases import PROVIDER_BASE
from fx_pipeline.fixer.connection import BoundedAdapter, sending
from fx_pipeline.fixer.errors import (
    BaseRestricted,
    EndpointRestricted,
    FixerError,
    InvalidDate,
    InvalidTimeframe,
    Unfinished,
)
from fx_pipeline.fixer.key import AccessKey
from fx_pipeline.fixer.network import TooLargeError, explain
from fx_pipeline.fixer.pace import LONGEST_WAIT, Pace, Stopped
from fx_pipeline.fixer.parsing import parse_body, refusal
from fx_pipeline.rates import FIRST_DATE, MAX_TIMESERIES_DAYS

logger = logging.getLogger(__name__)

LARGEST_BODY = 64 * 2**20
"""Bytes of an answer. A year of 170 currencies takes 1.3 million."""

LONGEST_RETRY_AFTER = 10 * 365 * 86400
"""Seconds to which a longer Retry-After is shortened."""

SANDBOX = "fx-pipeline-sandbox"
"""How the sandbox names itself in `Server`: its rates are told apart from Fixer's for ever."""

GATEWAY = "api.apilayer.com"
"""The host that wants the key in a header."""

Auth = Literal["auto", "query", "header"]
Spend = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Terms:
    """Under which the requests of a question are made: how they are counted, and when one may be made."""

    spend: Spend | None
    refund: Spend | None
    pace: Pace | None


@dataclass(frozen=True, slots=True)
class _Question:
    endpoint: str
    path: str
    start: dt.date | None = None
    end: dt.date | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{self.start} to {self.end}" if self.endpoint == "timeseries" else self.path


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one request came to: an answer to be read, or an error, with the body if there was one.

    `sent` is whether any of it reached the provider, as far as can be seen from here.
    No more of the headers than is needed: what a server or a proxy writes there is nobody's to keep.
    """

    error: FixerError | None
    body: bytes | None = None
    provider: str = "fixer"
    quota_limit: int | None = None
    quota_remaining: int | None = None
    provider_at: dt.datetime | None = None
    sent: bool = True


class FixerClient:
    """Fixer at `base_url`, asked with `access_key` for rates of `symbols` (all if empty) in `base`.

    Where there are `symbols` the base is always one of them: to divide by, and to be known of each day.

    `timeout` is the wait for a connection and for each part of an answer, in seconds; `retries` how often a
    request is repeated; `backoff` the seconds from which waits between repetitions double, with jitter.

    `spend` is called before each HTTP request, repetitions too: the ledger of calls. If it raises, the
    request is not made and its exception comes through unchanged. `refund` is called after a request that
    did not reach the provider: the connection was refused, say.

    `pace` is shared by all questions of a run and decides when each request is made. Once it is over, the
    outcome of the last request is the answer; a question of which none was made yet raises Stopped.

    Safe for use by many threads at once: urllib3's pool is, and the session around it is only read, as it
    keeps no cookies and follows no redirects. Close it, or use it in a `with`.

    Raises InvalidKey for a key that cannot be one, ValueError for a `base_url` that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        access_key: str | SecretStr,
        *,
        auth: Auth = "auto",
        base: str = "EUR",
        symbols: Sequence[str] = (),
        timeout: tuple[float, float] = (5.0, 30.0),
        retries: int = 5,
        backoff: float = 0.5,
        spend: Spend | None = None,
    ) -> None:
        self._url, host = _checked_url(base_url)
        carrier = ("header" if host == GATEWAY else "query") if auth == "auto" else auth
        self._key = AccessKey(access_key, carrier)
        self.base = base
        self.requested_symbols = tuple(dict.fromkeys([*symbols, base])) if symbols else ()
        self._timeout = timeout
        self._spend = spend
        self._backoff = backoff
        self._retry = Retry(
            total=retries,
            backoff_factor=backoff,
            backoff_max=30,
            backoff_jitter=backoff,
            retry_after_max=LONGEST_RETRY_AFTER,
        )
        self._provider_base_only = False
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"fx-pipeline/{version('fx-pipeline')}"
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # Proxies and certificates, once: to look through the environment takes a quarter of a request's time.
        environment = self._session.merge_environment_settings(self._url, {}, None, None, None)
        self._session.proxies, self._session.verify = environment["proxies"], environment["verify"]
        self._session.trust_env = False
        for scheme in ("http://", "https://"):
            self._session.mount(
                scheme, BoundedAdapter(pool_maxsize=64)
            )  # as many as FIXER_CONCURRENCY may be

    def exclude_symbols(self, codes: Collection[str]) -> None:
        """Ask for these codes no longer; the base is still asked for. Not while questions are being asked."""
        self.requested_symbols = tuple(
            code for code in self.requested_symbols if code == self.base or code not in codes
        )

    def pace(self, *, outage: bool = False) -> Pace:
        """Return the pace for the questions of one run, with the client's own backoff."""
        return Pace(self._backoff, outage=outage)

    def historical(
        self,
        date: dt.date,
        *,
        spend: Spend | None = None,
        refund: Spend | None = None,
        pace: Pace | None = None,
    ) -> Fetch:
        """The rates of one day that is over (UTC). Raises FixerError."""
        question = _Question("historical", date.isoformat(), date, date)
        if date < FIRST_DATE:
            raise InvalidDate("history begins on 1999-01-01", question.text)
        return self._ask_rates(question, _Terms(spend, refund, pace))

    def timeseries(
        self,
        start: dt.date,
        end: dt.date,
        *,
        spend: Spend | None = None,
        refund: Spend | None = None,
        pace: Pace | None = None,
    ) -> Fetch:
        """The rates of the days from `start` to `end`, at most 365 with both, all over (UTC), by one call.

        Days that Fixer left out are not in the answer's `days`. Raises FixerError; EndpointRestricted where
        the plan lacks timeseries.
        """
        query = {"start_date": start.isoformat(), "end_date": end.isoformat()}
        question = _Question("timeseries", "timeseries", start, end, query)
        if not FIRST_DATE <= start <= end or (end - start).days >= MAX_TIMESERIES_DAYS:
            raise InvalidTimeframe("", question.text)
        return self._ask_rates(question, _Terms(spend, refund, pace))

    def symbols(
        self, *, spend: Spend | None = None, refund: Spend | None = None, pace: Pace | None = None
    ) -> Fetch:
        """The currencies that Fixer has, as the answer's `names`. Raises FixerError."""
        return self._ask(_Question("symbols", "symbols"), _Terms(spend, refund, pace))

    def close(self) -> None:
        """Give the connections back. The client can still be used afterwards."""
        self._session.close()

    def __enter__(self) -> "FixerClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FixerClient({self._url!r}, {self._key!r}, base={self.base!r})"

    def _ask_rates(self, question: _Question, terms: _Terms) -> Fetch:
        """Ask in the wanted base or, where the plan refuses it, in EUR, which reading then divides."""
        if question.end is not None and question.end >= _now().date():
            raise Unfinished("", question.text)
        spent = 0
        if not self._provider_base_only:
            try:
                return self._ask(self._in_base(question, self.base), terms)
            except BaseRestricted as refused:
                if self.base == PROVIDER_BASE:
                    raise
                spent = refused.calls
            logger.warning("The plan refuses rates in %s: they are made from rates in EUR.", self.base)
            self._provider_base_only = True
        return self._ask(self._in_base(question, PROVIDER_BASE), terms, spent)

    def _in_base(self, question: _Question, base: str) -> _Question:
        query = {**question.query, "base": base}
        if self.requested_symbols:
            query["symbols"] = ",".join(self.requested_symbols)
        return replace(question, query=query)

    def _ask(self, question: _Question, terms: _Terms, spent: int = 0) -> Fetch:
        """Ask and understand; `spent` requests were made for this question before."""
        asked_at = _now()
        outcome, calls = self._exchange(question, terms)
        calls += spent
        answer = Fetch(
            endpoint=question.endpoint,
            base=self.base,
            symbols=self.requested_symbols,
            start_date=question.start,
            end_date=question.end,
            asked_at=asked_at,
            status="ok",
            body=outcome.body or b"",
            calls=calls,
            provider=outcome.provider,
            quota_limit=outcome.quota_limit,
            quota_remaining=outcome.quota_remaining,
            provider_at=outcome.provider_at,
        )
        error = outcome.error
        if error is None:
            try:
                return parse_body(answer)
            except FixerError as wrong:
                error = wrong
        if isinstance(error, EndpointRestricted) and question.endpoint == "historical":
            error.scope = "run"  # there is nothing to fall back to
        error.calls = calls
        error.fetch = None if outcome.body is None else replace(answer, status=error.reason)
        raise error

    def _exchange(self, question: _Question, terms: _Terms) -> tuple[_Outcome, int]:
        """Make the request until it brings an answer of Fixer's or the repetitions are used up.

        The loop is here and not in urllib3, which does not see a body that breaks off, and would keep the
        URL, and so the key, in its history and its warnings. Returns the number of requests sent, too.
        """
        retry = self._retry
        outcome = self._attempt(question, terms)
        calls = int(outcome.sent)
        while (error := outcome.error) is not None and error.retryable and retry.total:
            if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
                break
            retry = retry.increment("GET", question.path, error=error)
            logger.info("Asking again for %s: %s.", question.text, error.reason)
            seconds = error.retry_after or retry.get_backoff_time()
            if terms.pace is not None:
                terms.pace.wait(seconds)
            elif seconds:
                time.sleep(seconds)
            try:
                outcome = self._attempt(question, terms)
            except Stopped:
                break
            calls += int(outcome.sent)
        return outcome, calls

    def _attempt(self, question: _Question, terms: _Terms) -> _Outcome:
        """Make one request in its turn, counted. Raises Stopped, and what `spend` raises."""
        spend = terms.spend or self._spend
        turn = terms.pace.begin() if terms.pace else None
        try:
            if spend is not None:
                spend()
            outcome = self._request(question)
            if not outcome.sent and terms.refund is not None:
                terms.refund()
        except BaseException:
            if terms.pace and turn:
                terms.pace.cancel(turn)
            raise
        if terms.pace and turn:
            terms.pace.end(turn, outcome.error)
        return outcome

    def _request(self, question: _Question) -> _Outcome:
        sending.started = False
        # Not `Session.get`, which merges the session's settings into those of each request: slow.
        request = requests.PreparedRequest()
        try:
            request.prepare(
                method="GET",
                url=f"{self._url}/{question.path}",
                headers=self._session.headers,
                params=dict(question.query),
                auth=self._key,
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
                body = self._key.redact(_read(response.raw))
                status = response.status_code
                retry_after = _seconds(self._retry, response.headers.get("retry-after"))
                limit, remaining = _quota(response.headers)
                provider_at = _instant(response.headers.get("date"))
                provider = "sandbox" if response.headers.get("server") == SANDBOX else "fixer"
        # Whatever it is, its text and its traceback may hold the URL, and so the key: it ends here, and the
        # error in its place is made after it, so that it is not even its context.
        except Exception as failure:  # noqa: BLE001
            kind, reason = explain(failure)
        else:
            error = refusal(status, body, question.text, retry_after=retry_after, quota_remaining=remaining)
            # HTTP 407 is a proxy's own: it has passed nothing on.
            return _Outcome(error, body, provider, limit, remaining, provider_at, sent=status != 407)
        return _Outcome(kind(reason, question.text), sent=sending.started)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _checked_url(base_url: str) -> tuple[str, str]:
    """The URL without a slash at its end, and its host. Errors do not repeat it: it may hold a key."""
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(
            "FIXER_BASE_URL must be http:// or https:// and a host, as https://data.fixer.io/api."
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(
            "FIXER_BASE_URL must have no user, no ? and no #: the key belongs in FIXER_ACCESS_KEY alone."
        )
    if parts.scheme == "http" and not _is_loopback(host):
        logger.warning("FIXER_BASE_URL is plain http: the access key can be read on the way to %s.", host)
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


def _seconds(retry: Retry, retry_after: str | None) -> float | None:
    """The wait a Retry-After header asks for (RFC 9110: seconds or a date), if it can be read."""
    if retry_after is None:
        return None
    try:
        return float(retry.parse_retry_after(retry_after))
    except (InvalidHeader, ValueError, OverflowError):
        return None


def _instant(text: str | None) -> dt.datetime | None:
    """Return the instant in a header `Date` (RFC 9110); None where there is none that can be read."""
    try:
        return parsedate_to_datetime(text).astimezone(dt.timezone.utc) if text else None
    except (ValueError, OverflowError):
        return None


def _quota(headers: CaseInsensitiveDict[str]) -> tuple[int | None, int | None]:
    """Return the calls a month and those left, as the headers say; None for what they do not credibly say.

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
