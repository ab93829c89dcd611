"""The domain: codes, dates, ranges, what may be stored, and arithmetic against exact fractions."""

import datetime as dt
import json
import math
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.rates import (
    RejectedRate,
    as_number,
    calendar,
    contiguous,
    convert,
    counted,
    date_range,
    fluctuation,
    is_code,
    parse_date,
    read_rates,
    rebase,
    round_significant,
)

DAY = dt.date(2026, 3, 6)

rates = st.floats(min_value=1e-9, max_value=1e9)
dates = st.dates(min_value=dt.date(1999, 1, 1), max_value=dt.date(2099, 12, 31))
codes = st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)


@pytest.mark.parametrize("text", ["EUR", "XAU", "BTC", "AAA"])
def test_codes(text: str) -> None:
    assert is_code(text)


@pytest.mark.parametrize("text", ["", "EU", "EURO", "eur", "E1R", "EUR ", "EUR\n", "ÄÖÜ", "ＥＵＲ"])
def test_not_codes(text: str) -> None:
    assert not is_code(text)


@given(dates)
def test_a_date_is_read_as_it_is_written(date: dt.date) -> None:
    assert parse_date(date.isoformat()) == date


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-02-30",
        "2023-02-29",
        "2024-13-01",
        "2024-1-1",
        "20240101",
        "2024-W01-1",
        "2024-01-01T00:00:00",
        " 2024-01-01",
        "2024-01-01\n",
        "0000-01-01",
        "٢٠٢٤-٠١-٠١",
        "-001-01-01",
        "10000-01-01",
    ],
)
def test_not_dates(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_date(text)


def test_what_may_be_stored_and_what_not() -> None:
    raw = {
        "EUR": 1,
        "USD": 1.1618,
        "usd": 1.0,
        "GBP": None,
        "JPY": "183",
        "CHF": 0,
        "SEK": -1.5,
        "NOK": math.nan,
        "DKK": math.inf,
        "PLN": True,
        "HUF": 10**400,
        "CZK": 3e-320,
        "RON": 9.99e-101,
        "BGN": 10**101,
        "ISK": 1e-100,
        "HRK": 10**100,
    }
    kept, rejected = read_rates(DAY, raw)
    assert kept == {"EUR": 1.0, "USD": 1.1618, "ISK": 1e-100, "HRK": 1e100}
    assert [(bad.currency, bad.value[:5], bad.reason) for bad in rejected] == [
        ("usd", "1.0", "not a currency code of three capital letters"),
        ("GBP", "null", "not a number"),
        ("JPY", "'183'", "not a number"),
        ("CHF", "0", "not above zero"),
        ("SEK", "-1.5", "not above zero"),
        ("NOK", "nan", "not finite"),
        ("DKK", "inf", "not finite"),
        ("PLN", "True", "not a number"),
        ("HUF", "10000", "not finite"),
        ("CZK", "3e-32", "too small or too large to be a rate"),
        ("RON", "9.99e", "too small or too large to be a rate"),
        ("BGN", "10000", "too small or too large to be a rate"),
    ]
    assert all(isinstance(bad, RejectedRate) and bad.date == DAY for bad in rejected)


def cross_rate(rate: float, base_rate: float) -> float:
    rebased = rebase({"AAA": rate, "BBB": base_rate}, stored_base="EUR", base="BBB")
    assert rebased is not None
    return rebased["AAA"]


@given(rates, rates)
def test_a_cross_rate_is_the_quotient(rate: float, base_rate: float) -> None:
    exact = Fraction(rate) / Fraction(base_rate)
    assert abs(Fraction(cross_rate(rate, base_rate)) - exact) <= exact / 10**9


@given(rates, rates)
def test_a_cross_rate_has_ten_significant_digits(rate: float, base_rate: float) -> None:
    digits = Decimal(repr(cross_rate(rate, base_rate))).normalize().as_tuple().digits
    assert len(digits) <= 10


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.23456789049, 1.23456789),
        (1.23456789051, 1.234567891),
        (0.000000123456789049, 1.23456789e-07),
        (1.1344e-08, 1.1344e-08),
        (19660.0, 19660.0),
        (123456789012.0, 123456789000.0),
        (9.99999999999, 10.0),
    ],
)
def test_rounding(value: float, rounded: float) -> None:
    assert round_significant(value) == rounded


@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(min_value=1, max_value=15))
def test_rounding_is_to_the_nearest_and_final(value: float, digits: int) -> None:
    rounded = round_significant(value, digits)
    assert abs(Fraction(rounded) - Fraction(value)) <= Fraction(value) * 6 / 10**digits
    assert round_significant(rounded, digits) == rounded


day_rates = st.dictionaries(codes, rates, max_size=12)


@given(day_rates, codes)
def test_the_stored_base_changes_no_digit(day: dict[str, float], base: str) -> None:
    assert rebase(day, stored_base=base, base=base) == dict(sorted({**day, base: 1.0}.items()))


@given(day_rates, codes, st.data())
def test_another_base(day: dict[str, float], stored_base: str, data: st.DataObject) -> None:
    whole = {**day, stored_base: 1.0}
    base = data.draw(st.sampled_from(sorted(whole)))
    rebased = rebase(day, stored_base=stored_base, base=base)
    assert rebased is not None
    assert list(rebased) == sorted(whole)
    assert rebased[base] == 1
    for code, rate in rebased.items():
        exact = Fraction(whole[code]) / Fraction(whole[base])
        assert abs(Fraction(rate) - exact) <= exact / 10**9


@given(day_rates, codes, st.lists(codes))
def test_symbols_choose_and_order(day: dict[str, float], base: str, symbols: list[str]) -> None:
    chosen = rebase(day, stored_base=base, base=base, symbols=symbols)
    assert chosen is not None
    assert list(chosen) == [code for code in dict.fromkeys(symbols) if code in {*day, base}]


def test_a_day_without_the_base_has_nothing_to_divide_by() -> None:
    assert rebase({"USD": 1.16}, stored_base="EUR", base="BTC") is None


def test_a_small_cross_rate_does_not_become_zero() -> None:
    day = {"IDR": 19660.0, "XAU": 0.000225}
    assert rebase(day, stored_base="EUR", base="IDR", symbols=["XAU"]) == {"XAU": 1.144455748e-08}


@pytest.mark.parametrize(
    ("amount", "rate", "result"),
    [
        ("25", 148.972231, 3724.305775),
        ("0.1", 3.0, 0.3),
        ("1000000000000.01", 1.0, 1000000000000.01),
        ("1e-7", 1.25e-05, 1.25e-12),
    ],
)
def test_conversion(amount: str, rate: float, result: float) -> None:
    assert convert(Decimal(amount), rate) == result


@given(st.decimals(min_value="1e-9", max_value="1e15", places=9), rates)
def test_a_conversion_is_the_product_of_what_is_shown(amount: Decimal, rate: float) -> None:
    exact = Fraction(amount) * Fraction(Decimal(repr(rate)))
    assert abs(Fraction(convert(amount, rate)) - exact) <= exact / 10**15


@pytest.mark.parametrize(
    ("start", "end", "change", "percentage"),
    [
        (1.228952, 1.232735, 0.003783, 0.307823251),
        (1.16, 1.16, 0, 0),
        (183.0, 91.5, -91.5, -50),
        (1.25e-05, 1.27e-05, 2e-07, 1.6),
    ],
)
def test_fluctuation(start: float, end: float, change: float, percentage: float) -> None:
    assert fluctuation(start, end) == (change, percentage)


@given(rates, rates)
def test_a_fluctuation_leads_from_the_first_rate_to_the_last(start: float, end: float) -> None:
    change, percentage = fluctuation(start, end)
    difference = Fraction(Decimal(repr(end))) - Fraction(Decimal(repr(start)))
    assert abs(Fraction(change) - difference) <= abs(difference) / 10**15
    exact = difference / Fraction(Decimal(repr(start))) * 100
    assert abs(Fraction(percentage) - exact) <= abs(exact) / 10**9


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1.0, "1"),
        (19660.0, "19660"),
        (1.1618, "1.1618"),
        (3.9823669e-05, "3.9823669e-05"),
        (0.000225, "0.000225"),
        (1e16, "1e+16"),
        (9007199254740991.0, "9007199254740991"),
    ],
)
def test_numbers_are_written_as_they_came(rate: float, text: str) -> None:
    assert json.dumps(as_number(rate)) == text


@given(st.decimals(min_value="1e-9", max_value="1e9", allow_nan=False), st.integers(1, 15))
def test_fifteen_digits_come_back(value: Decimal, digits: int) -> None:
    sent = f"{value:.{digits - 1}e}"
    assert Decimal(json.dumps(as_number(float(sent)))) == Decimal(sent)


@given(dates, st.integers(0, 400))
def test_a_range_holds_both_its_ends(start: dt.date, length: int) -> None:
    days = list(date_range(start, start + dt.timedelta(days=length)))
    assert (days[0], days[-1], len(days)) == (start, start + dt.timedelta(days=length), length + 1)
    assert days == sorted(set(days))


def test_a_range_that_ends_before_it_starts_is_empty() -> None:
    assert list(date_range(DAY, DAY - dt.timedelta(days=1))) == []


@given(st.dates(dt.date(1998, 1, 1), dt.date(2105, 1, 1)), st.integers(0, 1500))
def test_the_calendar_is_every_day_as_text(start: dt.date, length: int) -> None:
    end = start + dt.timedelta(days=length)
    assert calendar(start, end) == [day.isoformat() for day in date_range(start, end)]


@given(st.sets(dates.map(lambda date: DAY + (date - DAY) % dt.timedelta(days=60))))
def test_contiguous_ranges_hold_exactly_the_dates(days: set[dt.date]) -> None:
    ranges = contiguous(days)
    assert [day for first, last in ranges for day in date_range(first, last)] == sorted(days)
    assert all((after - last).days > 1 for (_, last), (after, _) in pairwise(ranges))


@pytest.mark.parametrize(
    ("number", "nouns", "shown"),
    [
        (0, ("gap",), "0 gaps"),
        (1, ("day",), "1 day"),
        (2557, ("day",), "2,557 days"),
        (1, ("currency", "currencies"), "1 currency"),
        (30, ("currency", "currencies"), "30 currencies"),
    ],
)
def test_a_noun_agrees_with_its_number(number: int, nouns: tuple[str, ...], shown: str) -> None:
    assert counted(number, *nouns) == shown
