"""How pages show numbers and dates, and their arithmetic compared with exact fractions."""

import datetime as dt
import re
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.api.pages import figures
from fx_pipeline.api.pages.figures import Summary

RATES = st.floats(1e-9, 1e9)


@pytest.mark.parametrize(
    ("rate", "shown"),
    [
        (1.0, "1.00000"),
        (1.165, "1.16500"),
        (0.8669, "0.866900"),
        (19700.0, "19,700.0"),
        (178.7174671606, "178.717"),
        (999999.5, "1,000,000"),
        (9.999996, "10.0000"),
        (123456789.0, "123,457,000"),
        (0.000223, "0.000223000"),
        (1.2412e-05, "0.0000124120"),
        (1.27e-07, "1.27000e-7"),
        (3.2e-12, "3.20000e-12"),
    ],
)
def test_a_rate_is_shown_with_six_significant_digits(rate: float, shown: str) -> None:
    assert figures.shown_rate(rate) == shown


@given(RATES)
def test_a_shown_rate_is_exact_to_six_digits(rate: float) -> None:
    shown = Fraction(figures.shown_rate(rate).replace(",", ""))
    assert abs(shown - Fraction(rate)) <= Fraction(rate) * Fraction(6, 10**6)


@pytest.mark.parametrize(
    ("percent", "shown", "direction"),
    [
        (0.26, "+0.26\u202f%", "up"),
        (-1.04, "−1.04\u202f%", "down"),
        (0.0, "0.00\u202f%", "flat"),
        (0.004, "0.00\u202f%", "flat"),
        (-0.004, "0.00\u202f%", "flat"),
        (0.006, "+0.01\u202f%", "up"),
        (-1234.5, "−1,234.50\u202f%", "down"),
    ],
)
def test_a_change_has_a_sign_unless_it_is_shown_as_zero(percent: float, shown: str, direction: str) -> None:
    assert (figures.shown_change(percent), figures.direction(percent)) == (shown, direction)


@given(RATES, RATES)
def test_a_change_is_in_percent_of_the_first_rate(earlier: float, later: float) -> None:
    exact = (Fraction(later) - Fraction(earlier)) / Fraction(earlier) * 100
    assert abs(Fraction(figures.change_percent(earlier, later)) - exact) <= abs(exact) / 10**9 + Fraction(
        1, 10**9
    )


@pytest.mark.parametrize(
    ("date", "shown", "weekday"),
    [
        ("2026-03-09", "9 March 2026", "Monday"),
        ("2024-02-29", "29 February 2024", "Thursday"),
        ("1999-01-01", "1 January 1999", "Friday"),
    ],
)
def test_a_date_is_shown_in_words(date: str, shown: str, weekday: str) -> None:
    assert (figures.shown_date(date), figures.weekday(date)) == (shown, weekday)


def test_instants_are_shown_to_the_second() -> None:
    assert figures.shown_instant("2026-03-10T00:05:00.123456Z") == "2026-03-10 00:05:00 UTC"
    assert figures.shown_timestamp(946943999) == "2000-01-03 23:59:59 UTC"


@pytest.mark.parametrize(
    ("days", "shown"), [(0, "today"), (1, "yesterday"), (2, "2 days ago"), (1234, "1,234 days ago")]
)
def test_an_age_is_shown_in_words(days: int, shown: str) -> None:
    assert figures.shown_age(days) == shown


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        ("superseded_by", "Superseded by"),
        ("fetch_id", "Fetch"),
        ("id", "Id"),
        ("rejected_rates", "Rejected rates"),
        ("rate", "Rate"),
    ],
)
def test_a_column_has_a_heading(name: str, heading: str) -> None:
    assert figures.shown_column(name) == heading


@pytest.mark.parametrize(
    ("rows", "numbers"),
    [
        ([], set()),
        ([["2026-03-09", "USD", 1.165, "3"], ["2026-03-08", "EUR", 1, ""]], {2, 3}),
        ([["1.2412e-05", "-4", "1.", "0x1f", "1,000"]], {0, 1}),
        ([["", " "], ["", " "]], set()),
        ([["<a>1</a>", "1"], ["2", "2"]], {1}),
    ],
)
def test_finds_the_columns_of_numbers(rows: list[list[object]], numbers: set[int]) -> None:
    assert figures.number_columns(rows) == numbers


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([1.0, 2.0, 3.0], "M0,20L45,10L90,0"),
        ([3.0, 1.0], "M0,0L90,20"),
        ([5.0, 5.0, 5.0], "M0,10L45,10L90,10"),
        ([None, 1.0, 3.0, None, None, 2.0], "M18,20L36,0M90,10h0"),
        ([5.0], ""),
        ([None, 5.0, None], ""),
        ([None, None], ""),
        ([], ""),
    ],
)
def test_a_line_fills_its_box_and_breaks_at_missing_days(values: list[float | None], path: str) -> None:
    assert figures.line(values, 90, 20) == path


@given(st.lists(st.none() | RATES, min_size=2, max_size=60))
def test_a_line_has_each_value_at_its_day_and_height(values: list[float | None]) -> None:
    path = figures.line(values, 90, 20)
    drawn = [(mark, int(x), int(y)) for mark, x, y in re.findall(r"([ML])(\d+),(\d+)", path)]
    days = [(day, value) for day, value in enumerate(values) if value is not None]
    if len(days) < 2:
        assert path == ""
        return
    assert [x for _, x, _ in drawn] == [round(90 * day / (len(values) - 1)) for day, _ in days]
    starts = ["M" if day == 0 or values[day - 1] is None else "L" for day, _ in days]
    assert [mark for mark, *_ in drawn] == starts
    heights = [y for *_, y in drawn]
    assert all(0 <= y <= 20 for y in heights)
    for ((_, value), (_, other)), (y, other_y) in zip(pairwise(days), pairwise(heights), strict=True):
        assert value == other or (y >= other_y if value < other else y <= other_y)


EVERY_DAY = [str(dt.date(2023, 1, 1) + dt.timedelta(n)) for n in range(3 * 365 + 1)]
"""The days of 2023 to 2025."""

HISTORIES = st.one_of(
    st.dictionaries(st.sampled_from(EVERY_DAY), RATES, min_size=1, max_size=100).map(
        lambda days: sorted(days.items())
    ),
    st.lists(RATES, min_size=1, max_size=300).map(
        lambda rates: list(zip(EVERY_DAY[330:], rates, strict=False))
    ),
)
"""Scattered days, and days without a gap."""


def is_close(one: float, exact: Fraction) -> bool:
    return abs(Fraction(one) - exact) <= abs(exact) / 10**9 + Fraction(1, 10**9)


def test_a_partial_year_says_which_days_it_has_and_its_change_counts_from_the_day_before_it() -> None:
    days = [
        ("2020-12-31", 1.25),
        ("2024-02-01", 1.5),
        ("2024-06-01", 1.0),
        ("2024-12-31", 1.5),
        ("2025-01-01", 3.0),
    ]
    whole = dt.date(2020, 12, 31)
    assert figures.by_period(days, whole, figures.YEAR) == [
        Summary("2025", days[4], days[4], days[4], days[4], 3.0, 1, 365, 100.0),
        Summary("2024", days[1], days[3], days[1], days[2], 4 / 3, 3, 366, None),
        Summary("2020", days[0], days[0], days[0], days[0], 1.25, 1, 366, None),
    ]
    assert figures.by_period(days, dt.date(2025, 1, 1), figures.MONTH) == [
        Summary("2025-01", days[4], days[4], days[4], days[4], 3.0, 1, 31, 100.0)
    ]
    assert figures.summary("all", days, 1463) == Summary(
        "all", days[0], days[4], days[4], days[2], 8.25 / 5, 5, 1463, 140.0
    )
    assert figures.summary("one", days[:1], 1).change is None


@given(HISTORIES, st.sampled_from(EVERY_DAY), st.sampled_from([figures.YEAR, figures.MONTH]))
def test_periods_agree_with_a_naive_model(days: list[tuple[str, float]], start: str, length: int) -> None:
    rates = dict(days)
    periods = figures.by_period(days, dt.date.fromisoformat(start), length)
    named = {date[:length] for date in rates if date >= start}
    assert [one.name for one in periods] == sorted(named, reverse=True)
    for one in periods:
        own = [date for date in EVERY_DAY if date.startswith(one.name)]
        known = {date: rates[date] for date in own if date in rates and date >= start}
        assert (one.days, one.of_days) == (len(known), len(own))
        assert (one.first, one.last) == ((min(known), known[min(known)]), (max(known), known[max(known)]))
        assert (one.high[1], one.low[1]) == (max(known.values()), min(known.values()))
        assert (known[one.high[0]], known[one.low[0]]) == (one.high[1], one.low[1])
        assert is_close(one.mean, sum(map(Fraction, known.values()), Fraction()) / len(known))
        place = EVERY_DAY.index(own[0])
        before = rates.get(EVERY_DAY[place - 1]) if place else None
        if before is None:
            assert one.change is None
        else:
            assert one.change is not None
            exact = (Fraction(one.last[1]) - Fraction(before)) / Fraction(before)
            assert is_close(one.change, exact * 100)


@given(st.dictionaries(st.sampled_from(["USD", "GBP", "JPY"]), HISTORIES))
def test_indexed_rates_are_100_on_the_first_common_day(days: dict[str, list[tuple[str, float]]]) -> None:
    common = [date for date in EVERY_DAY if days and all(date in dict(of_code) for of_code in days.values())]
    index = figures.indexed(days)
    if not common:
        assert index is None
        return
    assert index is not None
    assert index[0] == common[0]
    assert list(index[1]) == list(days)
    for code, last in index[1].items():
        assert is_close(last, Fraction(days[code][-1][1]) / Fraction(dict(days[code])[common[0]]) * 100)
