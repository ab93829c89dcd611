"""The calendar of the Coverage page: states, gaps, years and months, compared with a simple model."""

import datetime as dt
from calendar import isleap

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fx_pipeline.api.pages.calendar import Calendar, Day, Month, Run
from fx_pipeline.rates import date_range
from fx_pipeline.wanted import WantedDays

START, END = dt.date(2023, 12, 28), dt.date(2024, 3, 3)
ROWS = [
    ("2023-12-30", 30, 0, 0),
    ("2023-12-31", 30, 2, 0),
    # No value of this day could be stored, so it is missing.
    ("2024-01-01", 0, 0, 3),
    ("2024-01-03", 29, 1, 1),
    ("2024-02-28", 30, 0, 0),
]
# No run was asked for 4 to 9 January.
WANTED = WantedDays([(dt.date(2023, 12, 29), dt.date(2024, 1, 3)), (dt.date(2024, 1, 10), None)])


def test_the_state_of_each_day() -> None:
    calendar = Calendar(ROWS, WANTED, START, END)
    stored = {
        "2023-12-30": "stored",
        "2023-12-31": "revised",
        "2024-01-03": "rejected",
        "2024-02-28": "stored",
    }
    last = dt.date(2024, 2, 28)
    missing = {
        dt.date(2023, 12, 29),
        dt.date(2024, 1, 1),
        dt.date(2024, 1, 2),
        *date_range(dt.date(2024, 1, 10), dt.date(2024, 2, 27)),
        *date_range(dt.date(2024, 2, 29), dt.date(2024, 3, 2)),  # not yet the newest day
    }
    expected = {
        date: stored.get(str(date), "missing" if date in missing else "unfetched")
        for date in date_range(START, END)
    }
    assert {
        day.date: day.state for year in (2023, 2024) for month in calendar.months(year) for day in month.days
    } == expected
    assert (calendar.days, calendar.stored, calendar.last) == (67, 4, last)
    assert (calendar.revised, calendar.rejected) == (3, 4)
    assert calendar.counts == {"stored": 2, "revised": 1, "rejected": 1, "missing": 55, "unfetched": 8}
    assert calendar.gaps == [
        (dt.date(2023, 12, 29), dt.date(2023, 12, 29)),
        (dt.date(2024, 1, 1), dt.date(2024, 1, 2)),
        (dt.date(2024, 1, 10), dt.date(2024, 2, 27)),
        (dt.date(2024, 2, 29), dt.date(2024, 3, 2)),
    ]


def test_years_are_runs_of_days_in_one_state() -> None:
    newest, oldest = Calendar(ROWS, WANTED, START, END).years()
    assert (newest.number, oldest.number) == (2024, 2023)
    assert oldest.runs == [
        Run(362, 1, "unfetched"),
        Run(363, 1, "missing"),
        Run(364, 1, "stored"),
        Run(365, 1, "revised"),
    ]
    assert newest.runs == [
        Run(0, 2, "missing"),
        Run(2, 1, "rejected"),
        Run(3, 6, "unfetched"),
        Run(9, 49, "missing"),
        Run(58, 1, "stored"),
        Run(59, 3, "missing"),
        Run(62, 1, "unfetched"),
    ]
    assert oldest.label == "2023: 1 stored, 1 stored with revised values, 1 missing, 1 not fetched"


def test_the_first_month_begins_at_the_start() -> None:
    december = Calendar(ROWS, WANTED, START, END).months(2023)
    assert december == [
        Month(
            "December",
            3,
            [
                Day(dt.date(2023, 12, 28), "unfetched"),
                Day(dt.date(2023, 12, 29), "missing"),
                Day(dt.date(2023, 12, 30), "stored", 30),
                Day(dt.date(2023, 12, 31), "revised", 30, 2),
            ],
        )
    ]


@pytest.mark.parametrize(
    ("day", "label"),
    [
        (Day(dt.date(2024, 1, 3), "stored", 30), "3 January 2024: stored, 30 currencies"),
        (
            Day(dt.date(2024, 1, 3), "rejected", 29, 1, 2),
            "3 January 2024: stored with rejected values, 29 currencies, 1 revised, 2 rejected",
        ),
        (Day(dt.date(2024, 1, 3), "missing"), "3 January 2024: missing"),
    ],
)
def test_a_day_has_a_label(day: Day, label: str) -> None:
    assert day.label == label


def test_in_an_empty_database_all_wanted_days_are_missing() -> None:
    calendar = Calendar([], WANTED, START, END)
    gaps = [(dt.date(2023, 12, 29), dt.date(2024, 1, 3)), (dt.date(2024, 1, 10), dt.date(2024, 3, 2))]
    assert (calendar.stored, calendar.last, calendar.gaps) == (0, None, gaps)
    assert calendar.counts == {"missing": 6 + 53, "unfetched": calendar.days - 6 - 53}


@given(
    start=st.dates(dt.date(1999, 1, 1), dt.date(2030, 1, 1)),
    length=st.integers(0, 1500),
    counts=st.dictionaries(
        st.integers(0, 1500), st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)), max_size=60
    ),
    asked=st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 300)), max_size=5),
)
@example(start=dt.date(2000, 10, 1), length=515, counts={}, asked=[])  # ends on 28 February of a common year
def test_the_calendar_matches_the_model(
    start: dt.date, length: int, counts: dict[int, tuple[int, int, int]], asked: list[tuple[int, int]]
) -> None:
    end = start + dt.timedelta(length)
    known = {start + dt.timedelta(place): values for place, values in counts.items() if place <= length}
    offsets = {place + day for place, days in asked for day in range(days) if place + day <= length}
    wanted = {start + dt.timedelta(offset) for offset in offsets}
    calendar = Calendar(
        [(str(date), *values) for date, values in known.items()],
        WantedDays().with_dates(wanted, newest=end),
        start,
        end,
    )
    stored = {date for date, (currencies, *_) in known.items() if currencies}
    missing = {date for date in wanted - stored if date < max([end, *stored])}
    assert {date for first, last in calendar.gaps for date in date_range(first, last)} == missing
    assert calendar.counts["missing"] == len(missing)
    assert calendar.stored == len(stored)
    for year in calendar.years():
        # Each run covers the places of its days; only 29 February may be covered by the day before it.
        places = [place for run in year.runs for place in range(run.place, run.place + run.length)]
        assert places == list(range(places[0], places[-1] + 1))
        days = [date for date in date_range(start, end) if date.year == year.number]
        assert sum(year.counts.values()) == len(days)
        both_sides = days[0] <= dt.date(year.number, 2, 28) < dt.date(year.number, 3, 1) <= days[-1]
        assert len(places) == len(days) + (both_sides and not isleap(year.number))
        first = dt.date(2024, days[0].month, days[0].day).timetuple().tm_yday - 1
        assert places[0] == first
