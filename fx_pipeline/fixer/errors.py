"""The errors that a request to Fixer can end with: retry, stop, fall back, or no data.

One class is one meaning. The error's code decides, then the start of its type. Fixer's own words never do:
they vary, and some errors have none. No text here contains a URL, because a URL may contain the key.
"""

import datetime as dt
from typing import Literal

from fx_pipeline.fetch import Fetch

Scope = Literal["run", "endpoint", "base", "symbols", "date"]


class FixerError(Exception):
    """A failed request to Fixer. `str()` says what happened, for which dates, and what to do.

    `scope` is what the error concerns:

    - `run`: all further requests. Stop.
    - `endpoint`: the plan lacks this endpoint. Use another one.
    - `base`: the plan lacks this base. Request EUR.
    - `symbols`: a requested code is unknown. Request the others.
    - `date`: only this request.

    `retryable`: the same request may succeed later, after `retry_after` seconds if Fixer named a wait.

    `reason` leaves out the dates and Fixer's own words (`info`), so that failures can be grouped by it.
    `fetch` is what was received, None if nothing was. `calls` is the number of HTTP requests made.
    """

    retryable: bool = False
    scope: Scope = "date"
    summary: str = ""
    advice: str = ""

    def __init__(
        self,
        reason: str = "",
        requested: str = "",
        *,
        code: int | None = None,
        type: str | None = None,
        info: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        # pickle calls the class with `args`, and restores the attributes by itself.
        super().__init__(reason, requested)
        self.reason = reason or self.summary
        self.requested = requested
        self.code = code
        self.type = type
        self.info = info
        self.retry_after = retry_after
        self.fetch: Fetch | None = None
        self.calls = 0

    def __str__(self) -> str:
        about = f" ({self.requested})" if self.requested else ""
        info = f' Fixer says: "{self.info}"' if self.info else ""
        return f"Fixer{about}: {self.reason}.{info} {self.advice}".rstrip()


class InvalidKey(FixerError):
    """101, HTTP 401: no key, or an unknown key."""

    summary = "the access key is missing or unknown"
    scope = "run"
    advice = "Set FIXER_ACCESS_KEY to the key shown in your Fixer account, and FIXER_BASE_URL to its host."


class InactiveAccount(FixerError):
    """102, HTTP 403: the key is valid, but its account may not use Fixer."""

    summary = "the account may not use this service"
    scope = "run"
    advice = "Check in your Fixer account that it is active and subscribed, then start again."


class UnknownEndpoint(FixerError):
    """103, 404: the address has no such endpoint."""

    summary = "there is no such endpoint at this address"
    scope = "run"
    advice = "Set FIXER_BASE_URL to https://data.fixer.io/api or https://api.apilayer.com/fixer."


class QuotaExhausted(FixerError):
    """104, or HTTP 429 with no calls left: no rates before the plan's next month."""

    summary = "this month's calls are used up"
    scope = "run"
    advice = (
        "Wait for the plan's next month, or upgrade it. FIXER_MONTHLY_QUOTA stops runs before this happens."
    )


class EndpointRestricted(FixerError):
    """105 `function_access_restricted`: the plan lacks this endpoint."""

    summary = "the plan lacks this endpoint"
    scope: Scope = "endpoint"
    advice = "Upgrade the plan, or set FIXER_TIMESERIES=0 to fetch days one by one."


class BaseRestricted(FixerError):
    """105 `base_currency_access_restricted`: the plan has rates in EUR only."""

    summary = "the plan lacks this base"
    scope = "base"
    advice = "Set FX_BASE=EUR, or upgrade to a plan with other bases."


class HttpsRestricted(FixerError):
    """105 `https_access_restricted`: the plan has no HTTPS."""

    summary = "the plan lacks HTTPS"
    scope = "run"
    advice = (
        "Upgrade to a plan with HTTPS, or set FIXER_BASE_URL to http://data.fixer.io/api (key unencrypted)."
    )


class NoRates(FixerError):
    """106: Fixer has no data for this request."""

    summary = "there are no rates for this request"
    advice = "There is nothing to fetch, and a retry will not help."


class InvalidBase(FixerError):
    """201: Fixer does not have the base currency."""

    summary = "the base is unknown"
    scope = "run"
    advice = "Set FX_BASE to a code that Fixer lists."


class InvalidSymbols(FixerError):
    """202: one of the requested codes is unknown, so the whole request fails."""

    summary = "one of the symbols is unknown"
    scope: Scope = "symbols"
    advice = "Correct FX_SYMBOLS, or remove the codes that Fixer does not list."


class InvalidDate(FixerError):
    """301, 302: a date that is missing, malformed, before 1999 or in the future."""

    summary = "the date is not accepted"
    advice = "Request days from 1999-01-01 to yesterday (UTC)."


class InvalidConversion(FixerError):
    """402, 403: a conversion without a valid `from`, `to` or `amount`."""

    summary = "the conversion is not accepted"
    advice = "Use two currency codes and an amount above zero."


class InvalidTimeframe(FixerError):
    """501 to 504: a range that is missing, malformed or reversed."""

    summary = "the range of days is not accepted"
    advice = "Request at most 365 days, all of them from 1999-01-01 to yesterday (UTC)."


class TimeframeTooLong(InvalidTimeframe):
    """505: a range of more days than one call allows. The limit may be lower than documented."""

    summary = "the range has too many days for one call"
    advice = "Request fewer days at a time."


class RequestRefused(FixerError):
    """An HTTP 4xx that is not from Fixer: the request did not reach it."""

    summary = "the request was refused before it reached Fixer"
    scope = "run"
    advice = "Check FIXER_BASE_URL, and whether a proxy blocks the request."


class Redirected(FixerError):
    """An HTTP 3xx. It is not followed, because that would send the key to another address."""

    summary = "the address redirects, and redirects are not followed"
    scope = "run"
    advice = "Set FIXER_BASE_URL to the final address, for example with https:// instead of http://."


class RateLimited(FixerError):
    """HTTP 429: too many requests in a short time."""

    summary = "too many requests in a short time"
    retryable = True
    advice = "Try again later, perhaps with a lower FIXER_CONCURRENCY."


class ServerTrouble(FixerError):
    """HTTP 5xx, or an undocumented error of Fixer."""

    summary = "a problem on the provider's side"
    retryable = True
    advice = "Try again later."


class Unreachable(FixerError):
    """No response: no connection, a broken one, or a timeout."""

    summary = "no response"
    retryable = True
    advice = "Check the network and FIXER_BASE_URL, then try again."


class UnknownHost(Unreachable):
    """The host name is not known to DNS, or DNS does not respond."""

    summary = "the host name is unknown"


class InsecureConnection(Unreachable):
    """No TLS connection could be made."""

    summary = "no secure connection could be made"


class UntrustedServer(FixerError):
    """The server's TLS certificate is not trusted. Nothing was sent to it, in particular not the key."""

    summary = "the server's certificate is not trusted"
    scope = "run"
    advice = "Check FIXER_BASE_URL. Behind a proxy, set REQUESTS_CA_BUNDLE to its certificates."


class BadResponse(FixerError):
    """A response that cannot be trusted: truncated, not JSON, or not what was requested."""

    summary = "the response cannot be used"
    retryable = True
    advice = "None of it is stored. Try again later."


class MislabelledBase(BadResponse):
    """A response that names another base than its rates have. All would be wrong by the same factor."""

    summary = "the response's rates are not in the base it names"
    advice = (
        "None of it is stored. Set FX_BASE=EUR, the base that every plan has, with another FX_DATABASE, "
        "or ask the provider why it ignores `base`."
    )


class Unfinished(FixerError):
    """A day that is not over, or was not when Fixer sent its rates, which still change."""

    summary = "the day is not over (UTC)"
    advice = "A day can be fetched from 00:00 UTC on the next day."


class ProviderDown(FixerError):
    """A run stopped because too many requests in a row failed.

    `last` is the kind of the last error.
    """

    last: str = ""
    summary = "the provider is not responding"
    scope = "run"
    advice = "The run has stopped to save calls. Run the days again when Fixer responds."

    @classmethod
    def after(cls, requests: int, last: FixerError) -> "ProviderDown":
        """Return the error for this number of requests, with the reason of the last."""
        reason = f"{requests} requests in a row failed, the last with: {last.reason}"
        if requests == 1:
            reason = f"still failing, as in the previous run: {last.reason}"
        stopped = cls(reason, info=last.info)
        stopped.last = type(last).__name__
        if isinstance(last, Unreachable):
            stopped.advice = f"The run has stopped. {last.advice}"
        return stopped


class LongWaitRequested(FixerError):
    """The provider asks for a longer wait (Retry-After) than a run accepts."""

    summary = "the provider asks for a long wait"
    scope = "run"
    advice = "The run has stopped. Run the days again after that time."

    @classmethod
    def until(cls, instant: dt.datetime, last: FixerError) -> "LongWaitRequested":
        """Return the error that names the end of the wait, and the reason of the last response."""
        reason = f"{last.reason}; it accepts no request before {instant:%Y-%m-%d %H:%M:%S} UTC"
        return cls(reason, info=last.info)


_MEANINGS: tuple[tuple[int, str, type[FixerError]], ...] = (
    (101, "missing_access_key", InvalidKey),
    (101, "invalid_access_key", InvalidKey),
    (102, "inactive_user", InactiveAccount),
    (103, "invalid_api_function", UnknownEndpoint),
    (104, "usage_limit", QuotaExhausted),
    (104, "monthly_limit", QuotaExhausted),
    (104, "rate_limit", QuotaExhausted),
    (105, "function_access", EndpointRestricted),
    (105, "base_currency_access", BaseRestricted),
    (105, "https_access", HttpsRestricted),
    (106, "no_rates", NoRates),
    (201, "invalid_base", InvalidBase),
    (202, "invalid_currency_codes", InvalidSymbols),
    (301, "invalid_date", InvalidDate),
    (302, "invalid_date", InvalidDate),
    (402, "invalid_from_currency", InvalidConversion),
    (402, "invalid_to_currency", InvalidConversion),
    (403, "invalid_conversion_amount", InvalidConversion),
    (404, "404_not_found", UnknownEndpoint),
    (501, "no_timeframe", InvalidTimeframe),
    (502, "invalid_start_date", InvalidTimeframe),
    (503, "invalid_end_date", InvalidTimeframe),
    (504, "invalid_time_frame", InvalidTimeframe),
    (505, "time_frame_too_long", TimeframeTooLong),
)
"""The documented errors: code, start of the type, meaning."""


def meaning(code: int | None, type: str | None) -> type[FixerError]:
    """Return the class for an error with this `code` and `type`; either may be missing.

    If neither is documented, that is ServerTrouble, which is retried.
    """
    same_code = [row for row in _MEANINGS if row[0] == code]
    same_type = [row for row in same_code or _MEANINGS if type and type.startswith(row[1])]
    for _, _, kind in same_type + same_code:
        return kind
    return ServerTrouble
