"""Responses of Fixer: bodies, headers and errors."""

import datetime as dt
import gzip
import json

import pytest

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer import errors
from fx_pipeline.rates import DayRates
from fx_pipeline_tests.fixer.calls import DATE, DAY, GOOD, PAGE, client_of, refused
from fx_pipeline_tests.fixer.scripted_server import (
    Play,
    reply,
    scripted,
    then_hang_up,
)


def test_returns_the_whole_response() -> None:
    before = dt.datetime.now(dt.timezone.utc)
    body = b"\n" + json.dumps({**DAY, "rates": {"EUR": 1, "USD": 2}}, indent=2).encode()
    sent = reply(
        body, Content_Type="text/plain", x_ratelimit_limit_month="100", x_ratelimit_remaining_month="7"
    )
    with (
        scripted(sent) as server,
        client_of(server.url) as client,
    ):
        answer = client.historical(DATE)
    assert before <= answer.asked_at <= dt.datetime.now(dt.timezone.utc)
    assert answer == Fetch(
        endpoint="historical",
        base="EUR",
        symbols=(),
        start_date=DATE,
        end_date=DATE,
        asked_at=answer.asked_at,
        status="ok",
        body=body,
        calls=1,
        quota_limit=100,
        quota_remaining=7,
        days=(DayRates(date=DATE, base="EUR", timestamp=946943999, rates={"EUR": 1.0, "USD": 2.0}),),
    )


@pytest.mark.parametrize(
    "answer",
    [
        reply(gzip.compress(GOOD.partition(b"\r\n\r\n")[2], mtime=0), Content_Encoding="gzip"),
        then_hang_up(b"HTTP/1.0 200 OK\r\n\r\n" + GOOD.partition(b"\r\n\r\n")[2]),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
        % (len(GOOD.partition(b"\r\n\r\n")[2]), GOOD.partition(b"\r\n\r\n")[2]),
    ],
    ids=["gzip", "until the connection closes", "chunked"],
)
def test_reads_a_response_in_each_transfer_encoding(answer: Play) -> None:
    with scripted(answer) as server, client_of(server.url) as client:
        read = client.historical(DATE)
    assert (read.days[0].rates["USD"], read.calls) == (1.020124, 1)


@pytest.mark.parametrize(
    ("date", "kept"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37+00:00"),
        ("Sunday, 06-Nov-94 08:49:37 GMT", "1994-11-06T08:49:37+00:00"),
        ("Sun, 06 Nov 1994 09:49:37 +0100", "1994-11-06T08:49:37+00:00"),
        ("", None),
        ("now", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 999999999999 08:49:37 GMT", None),
    ],
)
def test_reads_the_time_of_the_response_from_its_date_header(date: str, kept: str | None) -> None:
    with scripted(reply(DAY, Date=date)) as server, client_of(server.url) as client:
        provider_at = client.historical(DATE).provider_at
    assert (provider_at and provider_at.isoformat()) == kept


@pytest.mark.parametrize(
    ("limit", "remaining", "kept"),
    [
        ("100", "0", (100, 0)),
        ("100", "100", (100, 100)),
        (" 100 ", "7", (100, 7)),
        ("100", "99999999999", (None, None)),
        ("100", "101", (None, None)),
        ("0", "0", (None, 0)),
        ("0", "5", (None, 5)),
        ("100", "-1", (100, None)),
        ("100", "60.0", (100, None)),
        ("100", "1e1", (100, None)),
        ("100", "9" * 12, (100, None)),
        ("100", "٧", (100, None)),
        ("100", "0x7", (100, None)),
        ("100", "", (100, None)),
        ("-100", "7", (None, 7)),
        ("many", "7", (None, 7)),
        ("100, 100", "7, 7", (None, None)),
    ],
)
def test_reads_only_a_credible_quota_from_the_headers(
    limit: str, remaining: str, kept: tuple[int | None, int | None]
) -> None:
    sent = reply(DAY, x_ratelimit_limit_month=limit, x_ratelimit_remaining_month=remaining)
    with scripted(sent) as server, client_of(server.url) as client:
        answer = client.historical(DATE)
    assert (answer.quota_limit, answer.quota_remaining) == kept


@pytest.mark.parametrize(
    ("answer", "kind", "scope", "status"),
    [
        (refused(101, "invalid_access_key"), errors.InvalidKey, "run",
         "the access key is missing or unknown (101 invalid_access_key)"),
        (refused(104, "usage_limit_reached"), errors.QuotaExhausted, "run",
         "this month's calls are used up (104 usage_limit_reached)"),
        (refused(105, "function_access_restricted"), errors.EndpointRestricted, "run",
         "the plan lacks this endpoint (105 function_access_restricted)"),
        (refused(105, "base_currency_access_restricted"), errors.BaseRestricted, "base",
         "the plan lacks this base (105 base_currency_access_restricted)"),
        (refused(106, "no_rates_available"), errors.NoRates, "date",
         "there are no rates for this request (106 no_rates_available)"),
        (reply({"message": "Invalid authentication credentials"}, 401), errors.InvalidKey, "run",
         "the access key is missing or unknown (HTTP 401)"),
        (reply({"message": "limit"}, 429, x_ratelimit_remaining_month="0"), errors.QuotaExhausted, "run",
         "this month's calls are used up (HTTP 429)"),
        (reply(PAGE, 404), errors.UnknownEndpoint, "run",
         "there is no such endpoint at this address (HTTP 404)"),
        (reply({**DAY, "date": "2000-01-04"}), errors.BadResponse, "date",
         "the response has another date than requested"),
        (reply({**DAY, "rates": {}}), errors.BadResponse, "date", "the response has no valid rate"),
    ],
)  # fmt: skip
def test_does_not_retry_an_error_response_and_returns_its_body(
    answer: bytes, kind: type[errors.FixerError], scope: str, status: str
) -> None:
    with scripted(answer) as server, client_of(server.url) as client:
        with pytest.raises(kind) as caught:
            client.historical(DATE)
        assert len(server.requests) == caught.value.calls == 1
    error = caught.value
    assert error.fetch is not None
    assert (error.scope, error.reason, error.fetch.status) == (scope, status, status)
    assert (error.fetch.body, error.fetch.days) == (answer.partition(b"\r\n\r\n")[2], ())
    assert str(error).startswith(f"Fixer (2000-01-03): {status}.")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_does_not_follow_a_redirect(status: int) -> None:
    with scripted(GOOD) as elsewhere, scripted(reply("", status, Location=elsewhere.url)) as server:
        with client_of(server.url) as client, pytest.raises(errors.Redirected):
            client.historical(DATE)
        assert (len(server.requests), elsewhere.requests) == (1, [])


def test_returns_the_names_of_the_symbols() -> None:
    symbols = {"success": True, "symbols": {"AED": "United Arab Emirates Dirham"}}
    with scripted(reply(symbols)) as server, client_of(server.url) as client:
        answer = client.symbols()
    assert (answer.endpoint, answer.names) == ("symbols", symbols["symbols"])
