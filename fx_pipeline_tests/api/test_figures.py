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
DAYS = st.lists(RATES, min_size=1, max_size=400).map(
    lambda rates: [(str(dt.date(2023, 12, 1) + dt.timedelta(n)), rate) for n, rate in enumerate(rates)]
)


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


def test_sums_up_days_by_year() -> None:
    days = [
        ("2023-12-30", 1.0),
        ("2023-12-31", 1.25),
        ("2024-01-01", 1.5),
        ("2024-06-01", 1.0),
        ("2024-12-31", 1.5),
        ("2026-01-01", 3.0),
    ]
    assert figures.by_year(days) == [
        Summary("2026", days[5], days[5], days[5], days[5], 3.0, 100.0),
        Summary("2024", days[2], days[4], days[2], days[3], 4 / 3, 20.0),
        Summary("2023", days[0], days[1], days[1], days[0], 1.125, 25.0),
    ]
    assert figures.summary("all", days) == Summary("all", days[0], days[5], days[5], days[0], 9.25 / 6, 200.0)


@given(DAYS)
def test_every_day_is_in_exactly_one_year(days: list[tuple[str, float]]) -> None:
    years = figures.by_year(days)[::-1]
    assert (years[0].first, years[-1].last) == (days[0], days[-1])
    for year in years:
        own = [day for day in days if day[0].startswith(year.name)]
        assert (year.first, year.last) == (own[0], own[-1])
        assert (year.high[1], year.low[1]) == (max(rate for _, rate in own), min(rate for _, rate in own))
        mean = sum((Fraction(rate) for _, rate in own), Fraction()) / len(own)
        assert abs(Fraction(year.mean) - mean) <= mean / 10**12
    assert sum(1 for year in years for day in days if day[0].startswith(year.name)) == len(days)
