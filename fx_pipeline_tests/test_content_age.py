"""The age of the content: how long the newest rates have been unchanged, and what that shows."""

import datetime as dt
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.business_days import business_days, is_business_day
from fx_pipeline.content_age import ContentAge, Step, content_age, newest_content

MONDAY = dt.date(2024, 6, 3)
DAY = dt.timedelta(days=1)
USUAL, FEW = 30, 2


def steps(*changed: int, first: dt.date = MONDAY) -> list[Step]:
    """Return steps of a day each, the first one to `first`."""
    return [
        Step(first + number * DAY, first + (number - 1) * DAY, count) for number, count in enumerate(changed)
    ]


def weeks(count: int, changed: int = USUAL, weekend: int = 0) -> list[int]:
    """Return the changes of weeks from Monday on."""
    return [*[changed] * 5, weekend, weekend] * count


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2024-03-28", True),
        ("2024-03-29", False),  # Good Friday
        ("2024-03-30", False),
        ("2024-04-01", False),  # Easter Monday
        ("2024-04-02", True),
        ("2024-05-01", False),
        ("2024-05-09", True),  # Ascension Day: the European Central Bank publishes
        ("2024-12-24", True),
        ("2024-12-25", False),
        ("2024-12-26", False),
        ("2024-12-31", True),
        ("1999-12-31", False),
        ("2025-01-01", False),
    ],
)
def test_business_days_are_the_weekdays_on_which_payments_are_settled(date: str, expected: bool) -> None:
    assert is_business_day(dt.date.fromisoformat(date)) is expected


@pytest.mark.parametrize(
    ("changed", "business", "longest", "state"),
    [
        ([*weeks(2), 30], 0, 0, "changing"),
        (weeks(2), 0, 0, "changing"),  # a weekend is no news
        ([*weeks(2), 0], 1, 0, "suspicious"),
        ([*weeks(2), 0, 0], 2, 0, "frozen"),
        ([*weeks(2), 0, 0, 1], 0, 2, "changing"),
        ([*weeks(2), 30, 0, 0, 30, 30, 0, 0, 0, 0], 2, 2, "changing"),  # no longer than before
        ([*weeks(2), 30, 0, 0, 30, 30, 0, 0, 0, 0, 0], 3, 2, "frozen"),
        ([30, 30, 30, 0, 0], 2, 0, "changing"),  # too little is known
        ([0, 0, 0, 0, 0, 0, 0, 0, 0], 7, 0, "changing"),  # perhaps only pegged currencies
        ([*weeks(2, weekend=3), 0], 1, 0, "suspicious"),  # too few weekends are known
        ([*weeks(4, weekend=3), 0], 1, 0, "frozen"),  # this provider has no closing days
        ([*weeks(4, changed=4, weekend=3), 0], 1, 0, "changing"),
        ([*weeks(4, changed=3), 0, 0], 2, 0, "frozen"),
        ([*weeks(4, changed=FEW), 0, 0, 0, 0], 4, 0, "changing"),
        ([*weeks(12, changed=FEW), 0, 0, 0, 0], 4, 0, "suspicious"),
        ([*weeks(12, changed=FEW), 0, 2, 2, 0, 0, 0, 0, 0], 3, 1, "changing"),
    ],
)
def test_the_state_follows_from_the_rest_and_the_days_before(
    changed: list[int], business: int, longest: int, state: str
) -> None:
    age = content_age(steps(*changed))
    assert age is not None
    assert (age.business_days, age.longest, age.state) == (business, longest, state)


def test_christmas_is_no_rest() -> None:
    first = dt.date(2024, 12, 2)
    quiet = {dt.date(2024, 12, 25), dt.date(2024, 12, 26)}
    days = [first + number * DAY for number in range(26)]
    changed = [0 if day.weekday() >= 5 or day in quiet else USUAL for day in days]
    assert content_age(steps(*changed[:25], first=first)) == ContentAge(
        dt.date(2024, 12, 24), 0, 0, "changing"
    )


def test_a_day_far_from_the_one_before_is_not_compared() -> None:
    known = steps(*weeks(2))
    after = Step(known[-1].date + 6 * DAY, known[-1].date, 0)
    assert content_age([*known, after]) == ContentAge(after.date, 0, 0, "changing")
    assert content_age([]) is None


def rows(known: Iterable[Step]) -> list[tuple[str, str, int]]:
    return [(str(step.date), str(step.before), step.changed) for step in known]


histories = st.lists(st.sampled_from([0, 0, 0, 1, 3, 30]), min_size=1, max_size=80).map(
    lambda changed: steps(*changed)
)


@given(known=histories)
def test_the_rest_is_counted_back_from_the_newest_day(known: list[Step]) -> None:
    age = content_age(known)
    assert age is not None
    resting = [step for step in known if step.date > age.unchanged_since]
    assert not any(step.changed for step in resting)
    assert age.business_days == business_days(age.unchanged_since + DAY, known[-1].date)
    assert all(step.changed for step in known if step.date == age.unchanged_since)


@given(known=histories, more=st.integers(0, 10))
def test_frozen_rates_stay_frozen_until_one_changes(known: list[Step], more: int) -> None:
    def state(changed: list[int]) -> str:
        age = content_age(steps(*changed))
        assert age is not None
        return age.state

    changed = [step.changed for step in known]
    if state(changed) == "frozen":
        assert state([*changed, *[0] * more]) == "frozen"
        assert state([*changed, *[0] * more, 1]) == "changing"


@given(known=histories)
def test_only_resting_content_needs_the_whole_history(known: list[Step]) -> None:
    asked = []

    def read(since: str) -> list[tuple[str, str, int]]:
        asked.append(since)
        return rows(step for step in known if str(step.date) >= since)

    age, whole = newest_content(read, known[-1].date), content_age(known)
    assert age is not None
    assert whole is not None
    assert (age.unchanged_since, age.business_days, age.state) == (
        whole.unchanged_since,
        whole.business_days,
        whole.state,
    )
    assert (len(asked) == 1) == (whole.business_days == 0 and any(step.changed for step in known[-15:]))
    assert newest_content(read, None) is None
