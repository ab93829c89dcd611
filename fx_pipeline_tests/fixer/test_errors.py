"""Each error of Fixer has one meaning, in each of its styles."""

import datetime as dt
import json
import pickle
from typing import Any

import pytest

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer import errors
from fx_pipeline.fixer.document import response_error
from fx_pipeline.fixer.errors import FixerError, meaning
from fx_pipeline.fixer.parsing import parse_historical

ASKED_AT = dt.datetime(2026, 11, 20, 12, tzinfo=dt.timezone.utc)

# Fixer's documentation: code, type, and what it means here: class, retryable, scope
DOCUMENTED = [
    (101, "missing_access_key", errors.InvalidKey, False, "run"),
    (101, "invalid_access_key", errors.InvalidKey, False, "run"),
    (102, "inactive_user", errors.InactiveAccount, False, "run"),
    (103, "invalid_api_function", errors.UnknownEndpoint, False, "run"),
    (104, "usage_limit_reached", errors.QuotaExhausted, False, "run"),
    (104, "monthly_limit_reached", errors.QuotaExhausted, False, "run"),
    (104, "rate_limit_reached", errors.QuotaExhausted, False, "run"),
    (105, "function_access_restricted", errors.EndpointRestricted, False, "endpoint"),
    (105, "base_currency_access_restricted", errors.BaseRestricted, False, "base"),
    (105, "https_access_restricted", errors.HttpsRestricted, False, "run"),
    (106, "no_rates_available", errors.NoRates, False, "date"),
    (201, "invalid_base_currency", errors.InvalidBase, False, "run"),
    (202, "invalid_currency_codes", errors.InvalidSymbols, False, "symbols"),
    (301, "invalid_date", errors.InvalidDate, False, "date"),
    (302, "invalid_date", errors.InvalidDate, False, "date"),
    (402, "invalid_from_currency", errors.InvalidConversion, False, "date"),
    (402, "invalid_to_currency", errors.InvalidConversion, False, "date"),
    (403, "invalid_conversion_amount", errors.InvalidConversion, False, "date"),
    (404, "404_not_found", errors.UnknownEndpoint, False, "run"),
    (501, "no_timeframe_supplied", errors.InvalidTimeframe, False, "date"),
    (502, "invalid_start_date", errors.InvalidTimeframe, False, "date"),
    (503, "invalid_end_date", errors.InvalidTimeframe, False, "date"),
    (504, "invalid_time_frame", errors.InvalidTimeframe, False, "date"),
    (505, "time_frame_too_long", errors.TimeframeTooLong, False, "date"),
    (500, "internal_error", errors.ServerTrouble, True, "date"),
]

# How one of them is written: the error object, from code and type
STYLES = {
    "as documented": lambda code, type: {"code": code, "type": type, "info": "In words."},
    "without info": lambda code, type: {"code": code, "type": type},
    "with a longer type": lambda code, type: {"code": code, "type": type + "_v2", "info": "In words."},
    "code as text": lambda code, type: {"code": str(code), "type": type},
    "type as code": lambda code, type: {"code": type, "message": "In words."},
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500])
@pytest.mark.parametrize(("code", "type", "kind", "retryable", "scope"), DOCUMENTED)
def test_a_documented_error_means_the_same_in_each_style(
    code: int, type: str, kind: type[FixerError], retryable: bool, scope: str, status: int, style: str
) -> None:
    body = json.dumps({"success": False, "error": STYLES[style](code, type)}).encode()
    error = response_error(status, body, "2000-01-03")
    assert error is not None
    assert (error.__class__, error.retryable, error.scope) == (kind, retryable, scope)


@pytest.mark.parametrize(
    ("code", "type", "kind"),
    [
        (101, None, errors.InvalidKey),
        (105, None, errors.EndpointRestricted),
        (105, "something_new", errors.EndpointRestricted),
        (106, "invalid_date", errors.NoRates),  # the code is believed, not the type
        (None, "invalid_date", errors.InvalidDate),
        (429, "usage_limit_reached", errors.QuotaExhausted),  # a code that is not documented says nothing
        (None, "something_new", errors.ServerTrouble),
        (999, None, errors.ServerTrouble),
        (None, None, errors.ServerTrouble),
    ],
)
def test_uses_the_code_first_then_the_type(
    code: int | None, type: str | None, kind: type[FixerError]
) -> None:
    assert meaning(code, type) is kind


GATEWAY_429 = '{"message": "You have exceeded your daily/monthly API rate limit."}'
PAGE = "<!DOCTYPE html><html><body>Bad Request</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "retry_after"),
    [
        (401, '{"message": "No API key found in request"}', {}, errors.InvalidKey, None),
        (403, '{"message": "You cannot consume this service"}', {}, errors.InactiveAccount, None),
        (404, '{"message": "no Route matched with those values"}', {}, errors.UnknownEndpoint, None),
        (404, PAGE, {}, errors.UnknownEndpoint, None),
        (400, PAGE, {}, errors.BadResponse, None),
        (403, PAGE, {}, errors.BadResponse, None),
        (400, '{"message": "no"}', {}, errors.RequestRefused, None),
        (407, PAGE, {}, errors.RequestRefused, None),
        (408, "", {}, errors.ServerTrouble, None),
        (429, GATEWAY_429, {}, errors.RateLimited, None),
        (429, GATEWAY_429, {"retry_after": 7.0}, errors.RateLimited, 7.0),
        (429, GATEWAY_429, {"quota_remaining": 0}, errors.QuotaExhausted, None),
        (429, GATEWAY_429, {"quota_remaining": 0, "retry_after": 7.0}, errors.QuotaExhausted, None),
        (429, GATEWAY_429, {"quota_remaining": 5}, errors.RateLimited, None),
        (429, PAGE, {}, errors.RateLimited, None),
        (429, '{"error": {"code": "rate_limit_reached"}}', {}, errors.QuotaExhausted, None),
        (429, '{"error": {"code": "rate_limit_reached"}}', {"retry_after": 1.0}, errors.RateLimited, 1.0),
        (429, '{"error": {"code": "rate_limit_reached"}}', {"quota_remaining": 9}, errors.RateLimited, None),
        (429, '{"error": {"code": 104, "type": "usage_limit_reached"}}', {"retry_after": 1.0},
         errors.QuotaExhausted, None),
        (429, '{"error": {"code": 101}}', {}, errors.InvalidKey, None),
        (500, "Internal error", {}, errors.ServerTrouble, None),
        (503, PAGE, {"retry_after": 30.0}, errors.ServerTrouble, 30.0),
        (500, '{"success": true, "rates": {}}', {}, errors.ServerTrouble, None),
        (200, PAGE, {}, errors.BadResponse, None),
        (200, "", {}, errors.BadResponse, None),
        (200, '{"success": true, "ra', {}, errors.BadResponse, None),
        (200, "[]", {}, errors.BadResponse, None),
        (204, "", {}, errors.BadResponse, None),
        (301, PAGE, {}, errors.Redirected, None),
        (302, "", {}, errors.Redirected, None),
    ],
)  # fmt: skip
def test_uses_the_status_if_the_body_is_not_from_fixer(
    status: int, body: str, headers: dict[str, Any], kind: type[FixerError], retry_after: float | None
) -> None:
    error = response_error(status, body.encode(), "2000-01-03", **headers)
    assert (error.__class__, error.retry_after if error else None) == (kind, retry_after)


@pytest.mark.parametrize("body", ['{"success": true}', '{"message": "hello"}', '{"success": "yes"}'])
def test_a_successful_document_is_no_error(body: str) -> None:
    assert response_error(200, body.encode(), "2000-01-03") is None


def test_the_message_says_what_happened_and_what_to_do() -> None:
    named = b'"code": 101, "type": "invalid_access_key", "info": "You have\\n not."'
    body = b'{"success": false, "error": {' + named + b"}}"
    with pytest.raises(errors.InvalidKey) as caught:
        parse_historical(body, dt.date(2000, 1, 3), "EUR", asked_at=ASKED_AT)
    assert str(caught.value) == (
        "Fixer (2000-01-03): the access key is missing or unknown (101 invalid_access_key). "
        'Fixer says: "You have not." '
        "Set FIXER_ACCESS_KEY to the key shown in your Fixer account, and FIXER_BASE_URL to its host."
    )
    assert caught.value.reason == "the access key is missing or unknown (101 invalid_access_key)"


def test_quotes_fixer_in_one_printable_line() -> None:
    body = json.dumps({"error": {"code": 106, "info": "\x1b[31mred\x07\u202e " + "long " * 100}}).encode()
    error = response_error(200, body, "2000-01-03")
    assert error is not None and error.info is not None
    assert error.info.startswith("?[31mred?? long") and len(error.info) == 200


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FixerError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling(kind: type[FixerError]) -> None:
    error = kind("why", "2000-01-03", code=105, type="some_type", info="words", retry_after=3.0)
    error.calls, error.scope, error.retryable = 2, "run", True
    error.fetch = Fetch(
        endpoint="historical", base="EUR", symbols=(), asked_at=ASKED_AT, status="why", body=b"{}"
    )
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - made one line above
    assert (type(again), str(again), vars(again)) == (kind, str(error), vars(error))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not FixerError], ids=lambda k: k.__name__)
def test_each_error_says_what_it_is_and_what_to_do(kind: type[FixerError]) -> None:
    assert kind.summary and kind.__doc__
    assert kind.advice.endswith(".")
    assert str(kind()) == f"Fixer: {kind.summary}. {kind.advice}"
