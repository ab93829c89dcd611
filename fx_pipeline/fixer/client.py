"""Fixer's endpoints: one call, one fetch, with retries and the fallback to EUR.

A request without a response from Fixer (no connection, HTTP 429 and 5xx, a truncated body, an HTML page) is
retried here. A wrong response is passed on with its body, so that it can be stored.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

from pydantic import SecretStr
from urllib3 import Retry

from fx_pipeline import tracing
from fx_pipeline.clock import today, utc_now
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.bases import PROVIDER_BASE
from fx_pipeline.fixer.errors import (
    BaseRestricted,
    EndpointRestricted,
    FixerError,
    InvalidDate,
    InvalidTimeframe,
    Unfinished,
)
from fx_pipeline.fixer.pace import LONGEST_WAIT, Pace, Stopped
from fx_pipeline.fixer.parsing import parse_body
from fx_pipeline.fixer.transport import Auth, Reply, Transport
from fx_pipeline.rates import FIRST_DATE, MAX_TIMESERIES_DAYS

logger = logging.getLogger(__name__)

Spend = Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Limits:
    """How the requests of a call are counted, and when they may be made."""

    spend: Spend | None
    refund: Spend | None
    pace: Pace | None


@dataclass(frozen=True, slots=True)
class _Request:
    endpoint: str
    path: str
    start: dt.date | None = None
    end: dt.date | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{self.start} to {self.end}" if self.endpoint == "timeseries" else self.path


class FixerClient:
    """Fixer at `base_url`: rates of `symbols` (all if empty) in `base`.

    The base is added to `symbols`: conversions divide by its rate, and its rate shows the base of a day.

    `timeout` is for a connection and for each part of a response, in seconds. A request is retried `retries`
    times. Waits between retries double from `backoff` seconds, with jitter.

    Each method takes three options. `spend` is called before each HTTP request, retries included: it counts
    the call. If it raises, the request is not made and the exception comes through unchanged. `refund` is
    called after a request that did not reach the provider, for example if the connection was refused. `pace`
    is shared by all calls of a run and decides when each request is made. Once it is over, the result of the
    last request counts. A call that made no request raises Stopped.

    Safe for concurrent use. Close it, or use it in a `with`.

    Raises InvalidKey for a key that cannot be valid, ValueError for an unusable `base_url`.
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
    ) -> None:
        self._transport = Transport(base_url, access_key, auth, timeout)
        self.base = base
        self.requested_symbols = tuple(dict.fromkeys([*symbols, base])) if symbols else ()
        self._backoff = backoff
        self._retry = Retry(total=retries, backoff_factor=backoff, backoff_max=30, backoff_jitter=backoff)
        self._provider_base_only = False

    def exclude_symbols(self, codes: Collection[str]) -> None:
        """Stop requesting these codes, except the base. Not while calls are in flight."""
        self.requested_symbols = tuple(
            code for code in self.requested_symbols if code == self.base or code not in codes
        )

    def pace(self, *, outage: bool = False) -> Pace:
        """Return the pace for the calls of one run, with this client's backoff."""
        return Pace(self._backoff, outage=outage)

    def historical(
        self,
        date: dt.date,
        *,
        spend: Spend | None = None,
        refund: Spend | None = None,
        pace: Pace | None = None,
    ) -> Fetch:
        """Fetch the rates of one day that is over (UTC). Raise FixerError."""
        request = _Request("historical", date.isoformat(), date, date)
        if date < FIRST_DATE:
            raise InvalidDate("history begins on 1999-01-01", request.text)
        return self._fetch_rates(request, _Limits(spend, refund, pace))

    def timeseries(
        self,
        start: dt.date,
        end: dt.date,
        *,
        spend: Spend | None = None,
        refund: Spend | None = None,
        pace: Pace | None = None,
    ) -> Fetch:
        """Fetch the rates from `start` to `end` in one call: at most 365 days, all of them over (UTC).

        Days that Fixer left out are not in `days`. Raise FixerError; EndpointRestricted if the plan lacks
        timeseries.
        """
        query = {"start_date": start.isoformat(), "end_date": end.isoformat()}
        request = _Request("timeseries", "timeseries", start, end, query)
        if not FIRST_DATE <= start <= end or (end - start).days >= MAX_TIMESERIES_DAYS:
            raise InvalidTimeframe("", request.text)
        return self._fetch_rates(request, _Limits(spend, refund, pace))

    def symbols(
        self, *, spend: Spend | None = None, refund: Spend | None = None, pace: Pace | None = None
    ) -> Fetch:
        """Fetch the names of Fixer's currencies. Raise FixerError."""
        return self._fetch(_Request("symbols", "symbols"), _Limits(spend, refund, pace))

    def close(self) -> None:
        """Close the connections. The client can still be used afterwards."""
        self._transport.close()

    def __enter__(self) -> "FixerClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"FixerClient({self._transport.url!r}, {self._transport.key!r}, base={self.base!r})"

    def _fetch_rates(self, request: _Request, limits: _Limits) -> Fetch:
        """Request rates in the base or, if the plan refuses it, in EUR; parsing converts those."""
        if request.end is not None and request.end >= today():
            raise Unfinished("", request.text)
        spent = 0
        if not self._provider_base_only:
            try:
                return self._fetch(self._in_base(request, self.base), limits)
            except BaseRestricted as refused:
                if self.base == PROVIDER_BASE:
                    raise
                spent = refused.calls
            logger.warning("The plan refuses rates in %s: converting from rates in EUR instead.", self.base)
            self._provider_base_only = True
        return self._fetch(self._in_base(request, PROVIDER_BASE), limits, spent)

    def _in_base(self, request: _Request, base: str) -> _Request:
        query = {**request.query, "base": base}
        if self.requested_symbols:
            query["symbols"] = ",".join(self.requested_symbols)
        return replace(request, query=query)

    def _fetch(self, request: _Request, limits: _Limits, spent: int = 0) -> Fetch:
        """Send the request and parse the response. `spent` requests were made for this call before."""
        asked_at = utc_now()
        reply, calls = self._send_with_retries(request, limits)
        calls += spent
        fetch = Fetch(
            endpoint=request.endpoint,
            base=self.base,
            symbols=self.requested_symbols,
            start_date=request.start,
            end_date=request.end,
            asked_at=asked_at,
            status="ok",
            body=reply.body or b"",
            calls=calls,
            provider=reply.provider,
            quota_limit=reply.quota_limit,
            quota_remaining=reply.quota_remaining,
            provider_at=reply.provider_at,
        )
        error = reply.error
        if error is None:
            try:
                return parse_body(fetch)
            except FixerError as wrong:
                error = wrong
        if isinstance(error, EndpointRestricted) and request.endpoint == "historical":
            error.scope = "run"  # there is no other endpoint to use
        error.calls = calls
        error.fetch = None if reply.body is None else replace(fetch, status=error.reason)
        raise error

    def _send_with_retries(self, request: _Request, limits: _Limits) -> tuple[Reply, int]:
        """Send the request until Fixer responds or no retry is left. Return the number of requests sent, too.

        The loop is not left to urllib3: it does not notice a body that breaks off, and would keep the URL,
        and so the key, in its history and warnings.
        """
        retry = self._retry
        reply = self._send(request, limits)
        calls = int(reply.sent)
        while (error := reply.error) is not None and error.retryable and retry.total:
            if error.retry_after is not None and error.retry_after > LONGEST_WAIT:
                break
            retry = retry.increment("GET", request.path, error=error)
            logger.info("Retrying %s: %s.", request.text, error.reason)
            seconds = error.retry_after or retry.get_backoff_time()
            if limits.pace is not None:
                limits.pace.wait(seconds)
            elif seconds:
                time.sleep(seconds)
            try:
                reply = self._send(request, limits)
            except Stopped:
                break
            calls += int(reply.sent)
        return reply, calls

    def _send(self, request: _Request, limits: _Limits) -> Reply:
        """Send one request, counted, when the pace allows. Raise Stopped, and what `spend` raises."""
        turn = limits.pace.begin() if limits.pace else None
        try:
            if limits.spend is not None:
                limits.spend()
            with tracing.span(f"GET {request.endpoint}", kind="CLIENT") as span:
                reply = self._transport.get(request.path, request.query, request.text)
                if tracing.is_on():
                    span.add(self._transport.attributes(request.path, request.query, reply))
                if reply.error is not None:
                    span.fail(type(reply.error).__name__)
            if not reply.sent and limits.refund is not None:
                limits.refund()
        except BaseException:
            if limits.pace and turn:
                limits.pace.cancel(turn)
            raise
        if limits.pace and turn:
            limits.pace.end(turn, reply.error)
        return reply
