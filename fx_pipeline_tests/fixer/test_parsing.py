"""A body becomes the requested days, or an error that says why it cannot be trusted."""

import datetime as dt
import json

import pytest

from fx_pipeline.fixer.errors import (
    BadResponse,
    InvalidKey,
    NoRates,
    Unfinished,
)
from fx_pipeline.fixer.parsing import (
    parse_historical,
    parse_symbols,
    parse_timeseries,
)
from fx_pipeline.rates import DayRates, RejectedRate
from fx_pipeline_tests.fixer.documents import (
    DATE,
    DAY,
    END,
    SERIES,
    START,
    changed,
    historical,
    timeseries,
)


def test_parses_a_day() -> None:
    assert historical(changed(DAY)) == DayRates(
        date=DATE,
        base="EUR",
        timestamp=946943999,
        rates={"EUR": 1.0, "USD": 1.020124, "GBP": 0.627016, "BTC": 3.9823669e-05},
    )


@pytest.mark.parametrize("written", ["946943999", "946943999.0", "9.46943999e8", "9.46943999E+8"])
def test_accepts_each_way_of_writing_a_timestamp(written: str) -> None:
    body = changed(DAY).replace(b"946943999", written.encode())
    assert historical(body) == historical(changed(DAY))
    assert isinstance(historical(body).timestamp, int)


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(DAY, indent=4).encode(),
        b"\n\t " + json.dumps(DAY).encode() + b"\r\n",
        b"\xef\xbb\xbf" + json.dumps(DAY).encode(),
        json.dumps(DAY).encode("utf-16"),
        changed(DAY, extra={"anything": ["at", "all"]}),
    ],
    ids=["pretty-printed", "with space around", "with a byte order mark", "UTF-16", "with more in it"],
)
def test_accepts_each_way_of_writing_a_day(body: bytes) -> None:
    assert historical(body) == historical(changed(DAY))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the response is truncated or not JSON"),
        (changed(DAY)[:-20], "the response is truncated or not JSON"),
        (changed(DAY) + b"}", "the response is truncated or not JSON"),
        (b"\xff\xfe\xfd", "the response is truncated or not JSON"),
        (b" <!DOCTYPE html><html></html>", "the response is an HTML page"),
        (b"[1, 2]", "the response is not a JSON object"),
        (b"null", "the response is not a JSON object"),
        (b"[" * 100_000, "the response is nested too deeply"),
        (b'{"a": ' * 100_000, "the response is nested too deeply"),
        (changed(DAY)[:-2] + b', "USD": 7}}', "the response is truncated or not JSON"),
        (changed(DAY)[:-1] + b', "base": "EUR"}', "the response is truncated or not JSON"),
        (b'{"success": true, "n": ' + b"9" * 5000 + b"}", "the response is truncated or not JSON"),
        (b'{"success": true, "rates": {"\\ud800": 1}}', "the response is truncated or not JSON"),
        (changed(DAY, success=...), "the response does not say whether it succeeded"),
        (changed(DAY, success=1), "the response does not say whether it succeeded"),
        (b'{"message": "hello"}', "the response does not say whether it succeeded"),
        (changed(DAY, date="2000-01-04"), "the response has another date than requested"),
        (changed(DAY, date=20000103), "the response has another date than requested"),
        (changed(DAY, date=...), "the response has another date than requested"),
        (changed(DAY, base="USD"), "the response has another base than requested"),
        (changed(DAY, base=["EUR"]), "the response has another base than requested"),
        (changed(DAY, base=...), "the response has another base than requested"),
        (changed(DAY, timestamp=...), "the response has no timestamp"),
        (changed(DAY, timestamp="946943999"), "the response has no timestamp"),
        (changed(DAY, timestamp=True), "the response has no timestamp"),
        (changed(DAY, timestamp=946943999.5), "the response has no timestamp"),
        (changed(DAY, timestamp=float("inf")), "the response has no timestamp"),
        (changed(DAY, timestamp=float("nan")), "the response has no timestamp"),
        (
            changed(DAY, timestamp=946943999 - 86400),
            "the response's timestamp is from an earlier day, so its rates may be old",
        ),
        (changed(DAY, timestamp=946943999 + 2 * 86400), "the response's timestamp is from a later day"),
        (changed(DAY, timestamp=10**30), "the response's timestamp is from a later day"),
        (changed(DAY, rates=...), "the response has no valid rate"),
        (changed(DAY, rates={}), "the response has no valid rate"),
        (changed(DAY, rates=[]), "the response has no valid rate"),
        (changed(DAY, rates=None), "the response has no valid rate"),
        (changed(DAY, rates={"USD": None, "GBP": 0}), "the response has no valid rate"),
    ],
)
def test_rejects_a_day_that_cannot_be_trusted(body: bytes, reason: str) -> None:
    with pytest.raises(BadResponse) as caught:
        historical(body)
    assert (caught.value.reason, caught.value.requested, caught.value.retryable) == (
        reason,
        "2000-01-03",
        True,
    )


def test_rejects_bad_values_and_keeps_the_rest_of_the_day() -> None:
    body = changed(DAY)[:-2] + (
        b', "AAA": null, "BBB": 0, "CCC": -1.5, "DDD": NaN, "EEE": Infinity, "FFF": 1e999, "GGG": "1.2",'
        b' "HHH": true, "III": [[1]], "usd": 1.1, "": 1, "JJJ": ' + b"9" * 400 + b"}}"
    )
    day = historical(body)
    assert set(day.rates) == {"EUR", "USD", "GBP", "BTC"}
    assert [(bad.currency, bad.reason) for bad in day.rejected] == [
        ("AAA", "not a number"),
        ("BBB", "not above zero"),
        ("CCC", "not above zero"),
        ("DDD", "not finite"),
        ("EEE", "not finite"),
        ("FFF", "not finite"),
        ("GGG", "not a number"),
        ("HHH", "not a number"),
        ("III", "not a number"),
        ("usd", "not a currency code of three capital letters"),
        ("", "not a currency code of three capital letters"),
        ("JJJ", "not finite"),
    ]
    assert day.rejected[0] == RejectedRate(DATE, "AAA", "null", "not a number")


@pytest.mark.parametrize("depth", [*range(1, 1200, 7), 5_000, 50_000])
def test_survives_values_nested_at_any_depth(depth: int) -> None:
    body = changed(DAY)[:-2] + b', "ZZZ": ' + b"[" * depth + b"]" * depth + b"}}"
    try:
        assert [bad.currency for bad in historical(body).rejected] == ["ZZZ"]
    except BadResponse as error:
        assert error.reason in {"the response is nested too deeply", "the response has no valid rate"}


@pytest.mark.parametrize(
    ("now", "over"),
    [
        (dt.datetime(2000, 1, 3, 23, 59, 59, tzinfo=dt.timezone.utc), False),
        (dt.datetime(2000, 1, 4, 0, 0, 0, tzinfo=dt.timezone.utc), True),
        (dt.datetime(2000, 1, 4, 1, 0, tzinfo=dt.timezone(dt.timedelta(hours=2))), False),
        (dt.datetime(2000, 1, 3, 23, 0, tzinfo=dt.timezone(-dt.timedelta(hours=2))), True),
    ],
)
def test_a_day_is_complete_from_the_next_midnight_utc(now: dt.datetime, over: bool) -> None:
    if over:
        assert parse_historical(changed(DAY), DATE, "EUR", asked_at=now)
        return
    with pytest.raises(Unfinished, match="the day is not over") as caught:
        parse_historical(changed(DAY), DATE, "EUR", asked_at=now)
    assert not caught.value.retryable


@pytest.mark.parametrize("early", [1, 3600, 86_399])
def test_refuses_provisional_rates_as_retryable(early: int) -> None:
    with pytest.raises(Unfinished, match="made before the day was over") as caught:
        historical(changed(DAY, timestamp=946943999 - early))
    assert caught.value.retryable


def test_raises_the_class_of_the_error_in_the_body() -> None:
    body = b'{"success": false, "error": {"code": 106, "type": "no_rates_available"}}'
    for parse in (historical, timeseries, parse_symbols):
        with pytest.raises(NoRates):
            parse(body)
    with pytest.raises(InvalidKey):
        historical(changed(DAY, error={"code": 101}))  # rates next to an error are not trusted


def test_parses_a_series_oldest_first() -> None:
    assert timeseries(changed(SERIES)) == (
        DayRates(
            date=START,
            base="EUR",
            timestamp=1335916799,
            rates={"EUR": 1.0, "USD": 1.322891, "AUD": 1.278047},
        ),
        DayRates(
            date=dt.date(2012, 5, 2),
            base="EUR",
            timestamp=1336003199,
            rates={"EUR": 1.0, "USD": 1.315066, "AUD": 1.274202},
        ),
    )


@pytest.mark.parametrize("empty", [{}, [], None, 3, {"USD": None}, {"USD": 0}])
def test_leaves_out_days_without_a_valid_rate(empty: object) -> None:
    rates = {**SERIES["rates"], "2012-05-02": empty, "2012-05-03": {"USD": 1.3, "AUD": "bad"}}
    days = timeseries(changed(SERIES, rates=rates))
    assert [(day.date.day, dict(day.rates), len(day.rejected)) for day in days] == [
        (1, {"EUR": 1.0, "USD": 1.322891, "AUD": 1.278047}, 0),
        (3, {"USD": 1.3}, 1),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the response is truncated or not JSON"),
        (changed(SERIES, start_date="2012-04-30"), "the response has another start date than requested"),
        (changed(SERIES, end_date="2012-05-04"), "the response has another end date than requested"),
        (changed(SERIES, base="GBP"), "the response has another base than requested"),
        (changed(SERIES, rates={}), "the response has no valid rate"),
        (changed(SERIES, rates=[1]), "the response has no valid rate"),
        (changed(SERIES, rates=...), "the response has no valid rate"),
        (
            changed(SERIES, rates={"2012-05-04": {"USD": 1}}),
            "the response has rates for days that were not requested",
        ),
        (
            changed(SERIES, rates={"2012-5-1": {"USD": 1}}),
            "the response has rates under a key that is not a date",
        ),
        (changed(SERIES, rates={"USD": 1}), "the response has rates under a key that is not a date"),
    ],
)
def test_rejects_a_series_that_cannot_be_trusted(body: bytes, reason: str) -> None:
    with pytest.raises(BadResponse) as caught:
        timeseries(body)
    assert (caught.value.reason, caught.value.requested) == (reason, "2012-05-01 to 2012-05-03")


def test_refuses_a_series_that_ends_with_an_unfinished_day() -> None:
    with pytest.raises(Unfinished):
        parse_timeseries(
            changed(SERIES), START, END, "EUR", asked_at=dt.datetime(2012, 5, 3, 23, tzinfo=dt.timezone.utc)
        )


def test_parses_names() -> None:
    symbols = {"AED": "United Arab Emirates Dirham", "BTC": "Bitcoin", "usd": "?", "XXX": None, "YYY": " "}
    assert parse_symbols(changed({"success": True, "symbols": symbols})) == {
        "AED": "United Arab Emirates Dirham",
        "BTC": "Bitcoin",
    }


@pytest.mark.parametrize("symbols", [..., {}, [], None, {"usd": "x"}, {"USD": 1}, {"USD": "\ud800"}])
def test_rejects_a_response_without_names(symbols: object) -> None:
    with pytest.raises(BadResponse, match="the response has no names"):
        parse_symbols(changed({"success": True, "symbols": symbols}))
