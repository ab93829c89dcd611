"""What Fixer can answer instead of rates, and what each answer means: ask again, stop, fall back, no data.

One class is one meaning. An error is told by its code, then by the beginning of its type, never by Fixer's
own words, which vary and are missing for some. No text here holds a URL, because the key may stand in it.
"""

import datetime as dt
from typing import Literal

from fx_pipeline.fetch import Fetch

Scope = Literal["run", "endpoint", "base", "symbols", "date"]


class FixerError(Exception):
    """A question to Fixer that brought no rates. `str()` says what happened, to what, and what to do.

    `scope` tells how far it reaches: `run` (each further question would end the same: stop), `endpoint` (the
    plan lacks this endpoint: ask another), `base` (the plan lacks this base: ask in EUR), `symbols` (one of
    the codes asked for is unknown: ask without it), `date` (only what was asked for). `retryable`: the same
    question may be answered later, `retry_after` seconds from now where Fixer named a wait.

    `reason` is what happened without what was asked for and without Fixer's own words (`info`), so that
    failed dates can be grouped by it. `answer` is what was received, to be kept; None if nothing was. `calls`
    counts the HTTP requests made.
    """

    retryable: bool = False
    scope: Scope = "date"
    summary: str = ""
    advice: str = ""

    def __init__(
        self,
        reason: str = "",
        asked_for: str = "",
        *,
        code: int | None = None,
        type: str | None = None,
        info: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        # These two are `args`, from which pickle makes the error again; it restores the rest by itself.
        super().__init__(reason, asked_for)
        self.reason = reason or self.summary
        self.asked_for = asked_for
        self.code = code
        self.type = type
        self.info = info
        self.retry_after = retry_after
        self.fetch: Fetch | None = None
        self.calls = 0

    def __str__(self) -> str:
        about = f", asked for {self.asked_for}" if self.asked_for else ""
        info = f' Fixer says: "{self.info}"' if self.info else ""
        return f"Fixer{about}: {self.reason}.{info} {self.advice}".rstrip()


class InvalidKey(FixerError):
    """101, HTTP 401: no key, or one that Fixer does not know."""

    summary = "the access key is missing or unknown"
    scope = "run"
    advice = "Set FIXER_ACCESS_KEY to the key shown in your Fixer account, and FIXER_BASE_URL to its host."


class InactiveAccount(FixerError):
    """102, HTTP 403: the key is known and its account may not use Fixer."""

    summary = "the account may not use this service"
    scope = "run"
    advice = "See in your Fixer account whether it is active and subscribed, then start again."


class UnknownEndpoint(FixerError):
    """103, 404: there is no such endpoint at this address."""

    summary = "there is no such endpoint at this address"
    scope = "run"
    advice = "Set FIXER_BASE_URL to https://data.fixer.io/api or https://api.apilayer.com/fixer."


class QuotaExhausted(FixerError):
    """104, or HTTP 429 with nothing left of the month: no answer before the plan's next month."""

    summary = "the month's calls are used up"
    scope = "run"
    advice = (
        "Wait for the next month of your plan or take a larger one; FIXER_MONTHLY_QUOTA stops before this."
    )


class EndpointRestricted(FixerError):
    """105 `function_access_restricted`: the plan lacks this endpoint."""

    summary = "the plan lacks this endpoint"
    scope: Scope = "endpoint"
    advice = "Take a plan that has it; without timeseries (FIXER_TIMESERIES=0), days are fetched one by one."


class BaseRestricted(FixerError):
    """105 `base_currency_access_restricted`: the plan gives rates in EUR only."""

    summary = "the plan lacks this base"
    scope = "base"
    advice = "Ask in EUR (FX_BASE=EUR) or take a plan with other bases."


class HttpsRestricted(FixerError):
    """105 `https_access_restricted`: the plan has no HTTPS."""

    summary = "the plan lacks HTTPS"
    scope = "run"
    advice = "Take a plan with HTTPS, or set FIXER_BASE_URL to http://data.fixer.io/api (key unencrypted)."


class NoRates(FixerError):
    """106: Fixer has no data for this question."""

    summary = "there are no rates for this"
    advice = "There is nothing to fetch for it; asking again brings the same."


class InvalidBase(FixerError):
    """201: the base is no currency of Fixer's."""

    summary = "the base is unknown"
    scope = "run"
    advice = "Set FX_BASE to a code that Fixer lists."


class InvalidSymbols(FixerError):
    """202: one code of those asked for is unknown, which fails the whole question."""

    summary = "one of the symbols is unknown"
    scope: Scope = "symbols"
    advice = "Correct the codes in FX_SYMBOLS, or remove those that Fixer does not list."


class InvalidDate(FixerError):
    """301, 302: a date that is missing, malformed, before 1999 or in the future."""

    summary = "the date is not accepted"
    advice = "Ask for days from 1999-01-01 to yesterday (UTC)."


class InvalidConversion(FixerError):
    """402, 403: a conversion without a good `from`, `to` or `amount`."""

    summary = "the conversion is not accepted"
    advice = "Give two currency codes and an amount above zero."


class InvalidTimeframe(FixerError):
    """501 to 504: a range that is missing, malformed or reversed."""

    summary = "the range of days is not accepted"
    advice = "Ask for at most 365 days from a first to a last day, both from 1999-01-01 to yesterday (UTC)."


class TimeframeTooLong(InvalidTimeframe):
    """505: a range of more days than one call brings, whatever Fixer's documentation promises."""

    summary = "the range has too many days for one call"
    advice = "Ask for fewer days at a time."


class RequestRefused(FixerError):
    """An HTTP 4xx that says nothing of Fixer's: the request did not get through to it."""

    summary = "the request was refused on its way"
    scope = "run"
    advice = "See whether FIXER_BASE_URL is right and whether a proxy stands between."


class Redirected(FixerError):
    """An HTTP 3xx. It is not followed: the key would go along to where it was never meant to go."""

    summary = "the address answers with a redirect, which is not followed"
    scope = "run"
    advice = "Set FIXER_BASE_URL to where Fixer answers by itself (https:// in place of http://, perhaps)."


class RateLimited(FixerError):
    """HTTP 429: too many questions at once."""

    summary = "too many requests at once"
    retryable = True
    advice = "Ask again later; a lower FIXER_CONCURRENCY asks more slowly."


class ServerTrouble(FixerError):
    """HTTP 5xx, or an error of Fixer's that its documentation does not name."""

    summary = "trouble on the provider's side"
    retryable = True
    advice = "Ask again later."


class Unreachable(FixerError):
    """No answer: no connection, a broken one, or a wait that was too long."""

    summary = "no answer"
    retryable = True
    advice = "See whether the network is up and FIXER_BASE_URL right, then ask again."


class UntrustedServer(FixerError):
    """The server's TLS certificate is not one that can be trusted: nothing, the key least, was sent to it."""

    summary = "the server's certificate is not trusted"
    scope = "run"
    advice = (
        "See whether FIXER_BASE_URL is right; behind a proxy, set REQUESTS_CA_BUNDLE to its certificates."
    )


class BadResponse(FixerError):
    """An answer that must not be believed: cut, not JSON, or not about what was asked."""

    summary = "the answer cannot be used"
    retryable = True
    advice = "Nothing of it is stored. Ask again later."


class MislabelledBase(BadResponse):
    """An answer that names a base over rates of another: each of them would be wrong by the same factor."""

    summary = "the answer's rates are not in the base that it names"
    advice = (
        "Nothing of it is stored. Set FX_BASE=EUR, the base that every plan has, with another FX_DATABASE, "
        "or ask the provider why it ignores `base`."
    )


class Unfinished(FixerError):
    """A day that is not over, or was not when Fixer made this answer: its rates still change."""

    summary = "the day is not over (UTC)"
    advice = "A day can be fetched from 00:00 UTC of the next."


class ProviderDown(FixerError):
    """So many requests in a row were not answered that a run stopped asking."""

    summary = "the provider does not answer"
    scope = "run"
    advice = "The run has stopped, to save calls. Run the days again when Fixer answers."

    @classmethod
    def after(cls, requests: int, last: FixerError) -> "ProviderDown":
        """Make the error that says how many there were, and why the last of them was not answered."""
        reason = f"{requests} requests in a row were not answered, the last with: {last.reason}"
        if requests == 1:
            reason = f"still no answer, as in the run before: {last.reason}"
        stopped = cls(reason, info=last.info)
        if isinstance(last, Unreachable):
            stopped.advice = f"The run has stopped. {last.advice}"
        return stopped


class LongWaitRequested(FixerError):
    """The provider asks for a wait (Retry-After) that is longer than a run waits."""

    summary = "the provider asks for a long wait"
    scope = "run"
    advice = "The run has stopped. Run the days again after that time."

    @classmethod
    def until(cls, instant: dt.datetime, last: FixerError) -> "LongWaitRequested":
        """Make the error that says until when, and what the answer said."""
        reason = f"{last.reason}; it asks for no request before {instant:%Y-%m-%d %H:%M:%S} UTC"
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
"""The errors of Fixer's documentation: code, how its type begins, meaning."""


def meaning(code: int | None, type: str | None) -> type[FixerError]:
    """The class for an error that Fixer names by `code` and `type`; either may be missing.

    ServerTrouble, which is asked again, where neither is documented.
    """
    same_code = [row for row in _MEANINGS if row[0] == code]
    same_type = [row for row in same_code or _MEANINGS if type and type.startswith(row[1])]
    for _, _, kind in same_type + same_code:
        return kind
    return ServerTrouble
