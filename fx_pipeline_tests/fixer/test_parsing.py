"""A body becomes the requested days, or an error that says why it cannot be trusted."""

import datetime as dt
import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.fixer.document import response_error
from fx_pipeline.fixer.errors import (
    BadResponse,
    FixerError,
    InvalidKey,
    MislabelledBase,
    NoRates,
    Unfinished,
)
from fx_pipeline.fixer.parsing import (
    parse_historical,
    parse_symbols,
    parse_timeseries,
)
from fx_pipeline.rates import DayRates, RejectedRate

DATE = dt.date(2000, 1, 3)
NOW = dt.datetime(2026, 11, 20, 0, 0, tzinfo=dt.timezone.utc)

DAY: dict[str, Any] = {
    "success": True,
    "timestamp": 946943999,
    "historical": True,
    "base": "EUR",
    "date": "2000-01-03",
    "rates": {"EUR": 1, "USD": 1.020124, "GBP": 0.627016, "BTC": 3.9823669e-05},
}
SERIES: dict[str, Any] = {
    "success": True,
    "timeseries": True,
    "start_date": "2012-05-01",
    "end_date": "2012-05-03",
    "base": "EUR",
    "rates": {
        "2012-05-02": {"EUR": 1, "USD": 1.315066, "AUD": 1.274202},
        "2012-05-01": {"EUR": 1, "USD": 1.322891, "AUD": 1.278047},
    },
}
START, END = dt.date(2012, 5, 1), dt.date(2012, 5, 3)


def changed(document: dict[str, Any], **changes: Any) -> bytes:
    """`document` with other values, or without the names whose value is `...`."""
    document = {name: value for name, value in {**document, **changes}.items() if value is not ...}
    return json.dumps(document).encode()


def historical(body: bytes, base: str = "EUR") -> DayRates:
    (day,) = parse_historical(body, DATE, base, asked_at=NOW)
    return day


def timeseries(body: bytes, base: str = "EUR") -> tuple[DayRates, ...]:
    return parse_timeseries(body, START, END, base, asked_at=NOW)


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
        (changed(DAY, timestamp=946943999 - 86400), "the response's timestamp is from another day"),
        (changed(DAY, timestamp=946943999 + 2 * 86400), "the response's timestamp is from another day"),
        (changed(DAY, timestamp=10**30), "the response's timestamp is from another day"),
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


def test_converts_rates_in_euro_to_the_requested_base() -> None:
    day = historical(changed(DAY), base="USD")
    assert (day.base, day.timestamp) == ("USD", 946943999)
    assert day.rates == {
        "EUR": 0.9802729864,
        "USD": 1.0,
        "GBP": 0.6146468469,  # Fixer itself says 0.614647
        "BTC": 3.903806694e-05,
    }
    assert [day.base for day in timeseries(changed(SERIES), base="AUD")] == ["AUD", "AUD"]


@pytest.mark.parametrize(
    "rates",
    [
        {"EUR": 1, "GBP": 0.6},  # nothing to divide by
        {"EUR": 1, "USD": 0, "GBP": 0.6},
        {"EUR": 1, "USD": 1e-300, "GBP": 1e300},
        {"EUR": 1, "USD": 1e300, "GBP": 1e-300},
    ],
)
def test_refuses_rates_in_euro_without_a_rate_for_the_base(rates: dict[str, float]) -> None:
    with pytest.raises(BadResponse, match="the response is in EUR and has no rate to convert it to USD"):
        historical(changed(DAY, rates=rates), base="USD")


MISLABELLED = "the response's rates are not in {}, the base it names"
IN_EURO = "the response's rates are in EUR, not in {}, the base it names"
WITHOUT = "the response has no rate for {}, the base it names"


def series(base: str, *days: dict[str, float]) -> bytes:
    """Two weeks with these days in turn."""
    dates = [START + dt.timedelta(offset) for offset in range(14)]
    rates = {f"{date}": days[number % len(days)] for number, date in enumerate(dates)}
    return changed(SERIES, base=base, rates=rates, end_date=f"{dates[-1]}")


@pytest.mark.parametrize(
    ("base", "rates", "reason"),
    [
        ("USD", {"EUR": 1, "USD": 1.1, "GBP": 0.87}, MISLABELLED),
        ("USD", {"EUR": 1, "USD": 1.0001}, MISLABELLED),
        ("USD", {"USD": 0.91, "GBP": 1}, MISLABELLED),
        ("USD", {"USD": 2}, MISLABELLED),
        ("EUR", {"USD": 1, "EUR": 0.91, "GBP": 0.79}, MISLABELLED),
        ("USD", {"EUR": 1, "GBP": 0.87}, WITHOUT),
        ("USD", {"EUR": 0.91, "GBP": 0.87}, WITHOUT),
        ("USD", {"EUR": 0.91, "USD": None}, WITHOUT),
        ("EUR", {"USD": 1.1, "GBP": 0.87}, WITHOUT),
        ("USD", {"EUR": 1, "USD": 1, "GBP": 0.87}, IN_EURO),
        ("USD", {"EUR": 1, "USD": 1, "AED": 4.04, "HKD": 8.6, "BMD": 1.1}, IN_EURO),
        ("GBP", {"EUR": 1, "GBP": 1, "USD": 1.1, "AED": 3.6725}, IN_EURO),
    ],
)
def test_refuses_rates_with_a_mislabelled_base(base: str, rates: dict[str, float], reason: str) -> None:
    for read in (
        lambda: historical(changed(DAY, base=base, rates=rates), base=base),
        lambda: timeseries(changed(SERIES, base=base, rates={"2012-05-01": rates}), base=base),
        lambda: parse_timeseries(series(base, rates), START, START + dt.timedelta(13), base, asked_at=NOW),
    ):
        with pytest.raises(MislabelledBase) as caught:
            read()
        assert caught.value.reason == reason.format(base)
        assert (caught.value.scope, caught.value.retryable) == ("date", True)


@pytest.mark.parametrize(
    ("base", "rates"),
    [
        ("USD", {"USD": 1, "EUR": 0.91, "BMD": 1, "BSD": 1, "PAB": 1, "CUC": 1}),
        ("USD", {"USD": 1.0, "EUR": 0.91, "CHF": 1}),
        ("BMD", {"USD": 1, "BMD": 1, "EUR": 0.91}),
        ("INR", {"INR": 1, "BTN": 1, "EUR": 0.0098}),
        ("GBP", {"GBP": 1, "GGP": 1, "IMP": 1, "JEP": 1}),
        ("XOF", {"XOF": 1, "XAF": 1, "EUR": 0.001524}),
        ("EUR", {"EUR": 1, "USD": 1, "GBP": 0.87}),  # as on 2022-08-31
        ("USD", {"USD": 1, "EUR": 1, "GBP": 0.87, "HKD": 7.8487}),
        ("USD", {"USD": 1, "EUR": 1, "AED": 3.6731}),
    ],
)
def test_a_currency_may_cost_exactly_one_unit_of_the_base(base: str, rates: dict[str, float]) -> None:
    day = historical(changed(DAY, base=base, rates=rates), base=base)
    assert day.rates == rates
    end = START + dt.timedelta(13)
    assert len(parse_timeseries(series(base, rates), START, end, base, asked_at=NOW)) == 14


def test_checks_the_base_of_all_days_of_a_series_together() -> None:
    end = START + dt.timedelta(13)
    parity = {"USD": 1, "EUR": 1, "GBP": 0.87}
    body = series("USD", parity, {"USD": 1, "EUR": 0.99, "GBP": 0.87}, {"EUR": 1, "GBP": 0.87})
    assert len(parse_timeseries(body, START, end, "USD", asked_at=NOW)) == 14
    body = series("USD", parity, {"USD": 1.01, "EUR": 1, "GBP": 0.87})
    with pytest.raises(MislabelledBase):
        parse_timeseries(body, START, end, "USD", asked_at=NOW)


@pytest.mark.parametrize(
    ("base", "symbols", "rates", "good"),
    [
        ("EUR", ("USD", "GBP"), {"USD": 1.1, "GBP": 0.87}, True),  # as earlier versions asked
        ("USD", ("EUR", "GBP"), {"EUR": 0.91, "GBP": 0.79}, True),
        ("USD", ("EUR", "GBP"), {"EUR": 1, "GBP": 0.87}, False),
        ("USD", ("EUR", "GBP"), {"EUR": 1, "GBP": 0.87, "HKD": 7.85}, False),
        ("EUR", ("USD", "EUR"), {"USD": 1.1}, False),
        ("USD", ("GBP", "USD"), {"GBP": 0.79}, False),
    ],
)
def test_requires_the_base_if_it_was_requested(
    base: str, symbols: tuple[str, ...], rates: dict[str, float], good: bool
) -> None:
    body = changed(DAY, base=base, rates=rates)
    if good:
        assert parse_historical(body, DATE, base, asked_at=NOW, symbols=symbols)[0].rates == rates
        return
    with pytest.raises(MislabelledBase):
        parse_historical(body, DATE, base, asked_at=NOW, symbols=symbols)


def test_does_not_convert_rates_mislabelled_as_euro() -> None:
    with pytest.raises(MislabelledBase, match="rates are not in EUR"):
        historical(changed(DAY, rates={"EUR": 0.9, "USD": 1, "GBP": 0.6}), base="USD")
    with pytest.raises(MislabelledBase, match="no rate for EUR"):
        historical(changed(DAY, rates={"USD": 1.1, "GBP": 0.6}), base="USD")
    body = changed(DAY, rates={"USD": 1.25, "GBP": 0.5})
    (day,) = parse_historical(body, DATE, "USD", asked_at=NOW, symbols=("GBP", "USD"))
    assert day.rates == {"USD": 1.0, "GBP": 0.4}


@given(
    st.dictionaries(st.sampled_from(["GBP", "IDR", "XAU", "BTC"]), st.floats(1e-9, 1e9), min_size=1),
    st.floats(1e-9, 1e9),
)
def test_divides_rates_in_euro_exactly_once(rates: dict[str, float], divisor: float) -> None:
    day = historical(changed(DAY, rates={**rates, "EUR": 1, "USD": divisor}), base="USD")
    assert day.rates["USD"] == 1.0
    for code, rate in rates.items():
        exact = Fraction(rate) / Fraction(divisor)
        assert abs(Fraction(day.rates[code]) - exact) <= exact / 10**9


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([*DAY, *SERIES]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from([*DAY, *SERIES, "error", "code", "type", "info", "symbols", "USD", "2012-05-01"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)
NEARLY_RIGHT = st.builds(
    lambda document, changes: {**document, **changes},
    st.sampled_from([DAY, SERIES]),
    st.dictionaries(st.sampled_from([*DAY, *SERIES, "error", "symbols"]), JSON, max_size=2),
)
DAMAGED = st.builds(
    lambda document, at, junk, length: (
        json.dumps(document).encode()[:at] + junk + json.dumps(document).encode()[at + length :]
    ),
    st.sampled_from([DAY, SERIES, {"success": False, "error": {"code": 101, "type": "x", "info": "y"}}]),
    st.integers(0, 200),
    st.binary(max_size=4),
    st.integers(0, 200),
)
BODIES = st.binary() | (JSON | NEARLY_RIGHT).map(lambda document: json.dumps(document).encode()) | DAMAGED


@given(BODIES)
def test_any_body_becomes_days_or_a_fixer_error(body: bytes) -> None:
    for parse in (historical, timeseries, parse_symbols):
        try:
            understood = parse(body)
        except FixerError as error:
            assert str(error)
        else:
            assert understood


@given(
    st.integers(100, 599),
    BODIES,
    st.none() | st.floats(0, 1e9),
    st.none() | st.integers(0, 10**6),
)
def test_any_response_is_parsed_or_a_fixer_error(
    status: int, body: bytes, retry_after: float | None, quota_remaining: int | None
) -> None:
    error = response_error(
        status, body, "2000-01-03", retry_after=retry_after, quota_remaining=quota_remaining
    )
    assert (error is None) <= (status == 200)
    assert error is None or str(error)


@pytest.mark.parametrize("code", ["106", "106.0", "1.06e2", '"106"'])
def test_accepts_each_way_of_writing_a_code(code: str) -> None:
    error = response_error(200, b'{"success": false, "error": {"code": %s}}' % code.encode(), "")
    assert (type(error), error and error.code) == (NoRates, 106)


@pytest.mark.parametrize(
    "code", ["9" * 5000, "१०१", 10**400, 1e300, -1, 1.5, float("inf"), True, [101], {"code": 101}]
)
def test_ignores_an_invalid_code(code: object) -> None:
    error = response_error(200, json.dumps({"error": {"code": code, "type": ["x"], "info": {}}}).encode(), "")
    assert error is not None and error.retryable
    assert len(str(error)) < 200
