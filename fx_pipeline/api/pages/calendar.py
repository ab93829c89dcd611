"""The calendar of the Coverage page: each day since the start in one of five states.

A wanted day is missing if it is not stored, unless it is the last day, which may still be fetched. Missing
days in a row form a gap. All other days that are not stored count as not fetched.
"""

import datetime as dt
from calendar import isleap
from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple

from fx_pipeline.rates import counted
from fx_pipeline.wanted import WantedDays

STATES = {
    "stored": "stored",
    "revised": "stored with revised values",
    "rejected": "stored with rejected values",
    "missing": "missing",
    "unfetched": "not fetched",
}
"""The states of a day, and the words for them."""

LEAP_DAY = 59
"""The place of 29 February among the 366 days of a leap year, counted from 0."""


class Day(NamedTuple):
    """A day: its state, and how many currencies, revised values and rejected values it has."""

    date: dt.date
    state: str
    currencies: int = 0
    revised: int = 0
    rejected: int = 0

    @property
    def label(self) -> str:
        """The day and its state in words."""
        parts = [STATES[self.state]]
        if self.currencies:
            parts.append(counted(self.currencies, "currency", "currencies"))
        if self.revised:
            parts.append(f"{self.revised} revised")
        if self.rejected:
            parts.append(f"{self.rejected} rejected")
        return f"{self.date.day} {self.date:%B} {self.date.year}: {', '.join(parts)}"


class Run(NamedTuple):
    """Consecutive days of a year in one state. The places are those of a leap year, counted from 0."""

    place: int
    length: int
    state: str


class Year(NamedTuple):
    """A year: the number of days in each state, and its days as runs."""

    number: int
    counts: Counter[str]
    runs: list[Run]

    @property
    def label(self) -> str:
        """The year and its counts in words."""
        counted = ", ".join(
            f"{self.counts[state]} {words}" for state, words in STATES.items() if self.counts[state]
        )
        return f"{self.number}: {counted}"


class Month(NamedTuple):
    """A month: its name, the empty places before its first day (weeks begin on Monday), its days."""

    name: str
    empty: int
    days: list[Day]


class Calendar:
    """Every day from `start` to `end`.

    `rows` come from the canned query `coverage`: date, currencies, revised values, rejected values.
    """

    def __init__(
        self, rows: Iterable[tuple[str, int, int, int]], wanted: WantedDays, start: dt.date, end: dt.date
    ) -> None:
        # Ordinals, because creating the dates of 27 years is slow.
        self._known = {dt.date.fromisoformat(date).toordinal(): counts for date, *counts in rows}
        stored = {dt.date.fromordinal(day) for day, (currencies, *_) in self._known.items() if currencies}
        self.gaps = wanted.missing(stored, newest=end)
        """The first and the last day of each gap, oldest first."""
        self._missing = {
            day for first, last in self.gaps for day in range(first.toordinal(), last.toordinal() + 1)
        }
        self._days = range(start.toordinal(), end.toordinal() + 1)
        self._states = [self._state(day) for day in self._days]
        self.counts = Counter(self._states)
        self.stored = sum(self.counts[state] for state in ("stored", "revised", "rejected"))
        self.last = max(stored, default=None)
        self.revised = sum(revised for _, revised, _ in self._known.values())
        self.rejected = sum(rejected for _, _, rejected in self._known.values())

    @property
    def days(self) -> int:
        """The number of days."""
        return len(self._days)

    def years(self) -> list[Year]:
        """Return the years, newest first."""
        first, last = dt.date.fromordinal(self._days[0]).year, dt.date.fromordinal(self._days[-1]).year
        return [self._year(number) for number in range(last, first - 1, -1)]

    def months(self, year: int) -> list[Month]:
        """Return the months of a year, without days before the start and after the end."""
        days = (dt.date.fromordinal(day) for day in self._days_of(year))
        months = []
        for _, listed in groupby(days, key=lambda date: date.month):
            of_month = [self._day(date) for date in listed]
            first = of_month[0].date
            months.append(Month(f"{first:%B}", first.weekday(), of_month))
        return months

    def _days_of(self, year: int) -> range:
        first = max(self._days.start, dt.date(year, 1, 1).toordinal())
        return range(first, min(self._days.stop, dt.date(year + 1, 1, 1).toordinal()))

    def _year(self, number: int) -> Year:
        days = self._days_of(number)
        states = self._states[days.start - self._days.start : days.stop - self._days.start]
        first = dt.date.fromordinal(days.start)
        place = dt.date(2024, first.month, first.day).timetuple().tm_yday - 1
        cells = list(states)
        if not isleap(number) and place < LEAP_DAY < place + len(states):
            # In a common year, 28 February takes the place of 29 February too.
            cells.insert(LEAP_DAY - place, cells[LEAP_DAY - place - 1])
        runs = []
        for state, equal in groupby(cells):
            length = sum(1 for _ in equal)
            runs.append(Run(place, length, state))
            place += length
        return Year(number, Counter(states), runs)

    def _day(self, date: dt.date) -> Day:
        day = date.toordinal()
        return Day(date, self._state(day), *self._known.get(day, ()))

    def _state(self, day: int) -> str:
        currencies, revised, rejected = self._known.get(day, (0, 0, 0))
        if not currencies:
            return "missing" if day in self._missing else "unfetched"
        if rejected:
            return "rejected"
        return "revised" if revised else "stored"
