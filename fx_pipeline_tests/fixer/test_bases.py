"""Rates are in the base that the response names, or are converted to it exactly once."""

import datetime as dt
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.fixer.errors import (
    BadResponse,
    MislabelledBase,
)
from fx_pipeline.fixer.parsing import (
    parse_historical,
    parse_timeseries,
)
from fx_pipeline_tests.fixer.documents import (
    DATE,
    DAY,
    NOW,
    SERIES,
    START,
    changed,
    historical,
    timeseries,
)


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
    """Return two weeks in which these days alternate."""
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
