"""The range of days that the page of a currency shows."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import ApiError
from fx_pipeline.api.pages.ranges import (
    PRESETS,
    Range,
    complete_presets,
    months_before,
    preset,
    requested,
)

NOW = dt.datetime(2026, 3, 10, 12, 0, tzinfo=dt.timezone.utc)
LIMITS = Range(dt.date(2019, 1, 1), dt.date(2026, 3, 9))
DATES = st.dates(dt.date(1999, 1, 1), dt.date(2026, 3, 10))
RANGES = st.tuples(DATES, DATES).map(lambda dates: Range(min(dates), max(dates)))


def chosen(query: str, limits: Range = LIMITS) -> str:
    return str(requested(Parameters.parse(query, NOW), limits))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "2025-03-09 to 2026-03-09"),
        ("range=1m", "2026-02-09 to 2026-03-09"),
        ("range=5y", "2021-03-09 to 2026-03-09"),
        ("range=all", "2019-01-01 to 2026-03-09"),
        ("start_date=&end_date=&range=1m", "2026-02-09 to 2026-03-09"),
        ("start_date=2020-02-03&end_date=2020-02-29", "2020-02-03 to 2020-02-29"),
        ("start_date=2020-02-03&end_date=2020-02-03&range=", "2020-02-03 to 2020-02-03"),
        ("start_date=2020-02-03", "2020-02-03 to 2026-03-09"),
        ("end_date=2020-02-03&start_date=", "2019-01-01 to 2020-02-03"),
        # An open end beyond the limits.
        ("start_date=2026-03-10", "2026-03-10 to 2026-03-10"),
        ("end_date=2001-01-01", "2001-01-01 to 2001-01-01"),
        ("start_date=1999-01-01&end_date=2026-03-10", "1999-01-01 to 2026-03-10"),
    ],
)
def test_reads_the_requested_range(query: str, expected: str) -> None:
    assert chosen(query) == expected


@pytest.mark.parametrize(
    ("query", "info"),
    [
        ("start_date=2020-02-03&end_date=2020-02-02", "The end 2020-02-02 is before the start 2020-02-03."),
        ("range=2y", "'range' is '2y', which is none of 1m, 1y, 5y, all."),
        ("range=ALL", "'range' is 'ALL', which is none of 1m, 1y, 5y, all."),
        ("range=1m&end_date=2010-01-01", "The request has 'range' and dates. Send one of them."),
        ("range=1m&range=1y", "The parameter 'range' is given more than once."),
        ("end_date=2020-02-03&end_date=2020-02-04", "The parameter 'end_date' is given more than once."),
        ("start_date=3.2.2020", "'3.2.2020' is not a date of the form YYYY-MM-DD."),
        ("end_date=2023-02-29", "2023-02-29 does not exist: February 2023 has 28 days."),
        ("end_date=2026-03-11", "2026-03-11 is in the future: today is 2026-03-10 (UTC)."),
    ],
)
def test_refuses_a_bad_range(query: str, info: str) -> None:
    with pytest.raises(ApiError) as refused:
        chosen(query)
    assert (refused.value.kind.status, refused.value.info) == (400, info)


@given(RANGES, RANGES)
def test_a_range_is_cut_to_the_days_that_are_also_in_the_limits(wanted: Range, limits: Range) -> None:
    days, allowed = ({one.start + dt.timedelta(n) for n in range(one.days)} for one in (wanted, limits))
    shown = wanted.within(limits)
    if not days & allowed:
        assert shown is None
    else:
        assert shown is not None
        assert (shown.start, shown.end, shown.days) == (
            min(days & allowed),
            max(days & allowed),
            len(days & allowed),
        )


@given(RANGES, st.sampled_from(sorted(PRESETS)))
def test_a_preset_ends_with_the_limits_and_stays_in_them(limits: Range, key: str) -> None:
    found = preset(key, limits)
    assert found.end == limits.end
    assert found.within(limits) == found
    _, months = PRESETS[key]
    is_complete = months is None or found.start == months_before(limits.end, months)
    assert (key in complete_presets(limits)) == is_complete


@pytest.mark.parametrize(
    ("date", "months", "before"),
    [
        ("2026-11-23", 1, "2026-10-23"),
        ("2026-03-31", 1, "2026-02-28"),
        ("2024-03-31", 1, "2024-02-29"),
        ("2024-02-29", 12, "2023-02-28"),
        ("2026-01-15", 1, "2025-12-15"),
        ("2026-01-15", 60, "2021-01-15"),
        ("2026-12-31", 12, "2025-12-31"),
    ],
)
def test_months_before_a_date(date: str, months: int, before: str) -> None:
    assert str(months_before(dt.date.fromisoformat(date), months)) == before
