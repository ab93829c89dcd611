"""Which days are stored, as a calendar shows it: each day since the start in one of five states.

A gap is a day that is missing between the first and the last stored one. What lies before the first or after
the last has not been fetched yet, and is no gap.
"""

import datetime as dt
from calendar import isleap
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

from fx_pipeline.rates import contiguous

STATES = {
    "stored": "stored",
    "revised": "stored, with values that were revised",
    "rejected": "with values that could not be stored",
    "missing": "missing",
    "unfetched": "not fetched yet",
}
"""The states of a day, and how each is said of it."""


class Day(NamedTuple):
    """One day: its state, and how many currencies, revised values and rejected values it has."""

    date: dt.date
    state: str
    currencies: int = 0
    revised: int = 0
    rejected: int = 0

    @property
    def told(self) -> str:
        """The day in words."""
        parts = [STATES[self.state]]
        if self.currencies:
            parts.append(f"{self.currencies} currencies")
        if self.revised:
            parts.append(f"{self.revised} revised")
        if self.rejected:
            parts.append(f"{self.rejected} rejected")
        return f"{self.date.day} {self.date:%B} {self.date.year}: {', '.join(parts)}"


class Run(NamedTuple):
    """Days of a year, one after another, in one state: the place of the first, and how many places they take.

    The places are those of a leap year, from 0.
    """

    place: int
    length: int
    state: str


class Year(NamedTuple):
    """A year: how many of its days are in each state, and its days as runs."""

    number: int
    counts: Counter[str]
    runs: list[Run]

    @property
    def told(self) -> str:
        """The year in words."""
        counted = ", ".join(
            f"{self.counts[state]} {words}" for state, words in STATES.items() if self.counts[state]
        )
        return f"{self.number}: {counted}"


class Month(NamedTuple):
    """A month: its name, how many places of its first week stand empty (weeks begin on Monday), its days."""

    name: str
    empty: int
    days: list[Day]


class Coverage:
    """Every day from `start` to `end`.

    `rows` are those of the canned query `coverage`: date, currencies, values revised, values rejected.
    """

    def __init__(self, rows: Iterable[tuple[str, int, int, int]], start: dt.date, end: dt.date) -> None:
        # By their ordinals: dates of 27 years are many to make.
        self._known = {dt.date.fromisoformat(date).toordinal(): counts for date, *counts in rows}
        stored = [day for day, (currencies, *_) in self._known.items() if currencies]
        self._first, self._last = (min(stored), max(stored)) if stored else (0, 0)
        self._days = range(start.toordinal(), end.toordinal() + 1)
        self._states = [self._state(day) for day in self._days]
        self.counts = Counter(self._states)
        self.stored = sum(self.counts[state] for state in ("stored", "revised", "rejected"))
        self.last = dt.date.fromordinal(self._last) if stored else None
        self.revised = sum(revised for _, revised, _ in self._known.values())
        self.rejected = sum(rejected for _, _, rejected in self._known.values())

    @property
    def days(self) -> int:
        """How many days there are."""
        return len(self._days)

    @cached_property
    def gaps(self) -> list[tuple[dt.date, dt.date]]:
        """The first and the last day of each gap, oldest first."""
        missing = (day for day, state in zip(self._days, self._states, strict=True) if state == "missing")
        return contiguous(dt.date.fromordinal(day) for day in missing)

    def years(self) -> list[Year]:
        """The years, newest first."""
        first, last = dt.date.fromordinal(self._days[0]).year, dt.date.fromordinal(self._days[-1]).year
        return [self._year(number) for number in range(last, first - 1, -1)]

    def months(self, year: int) -> list[Month]:
        """The months of a year, as far as they lie within the coverage."""
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
        first = days.start - dt.date(number, 1, 1).toordinal()
        leap_day = 366 if isleap(number) else 59
        # Where each day lies, and where the last of them ends; a run reaches as far as the next one, so that
        # the place of a 29 February that is none is left to the day before it, where another day follows.
        places = [day + (day >= leap_day) for day in range(first, first + len(states))]
        places.append(places[-1] + 1)
        runs = []
        at = 0
        for state, alike in groupby(states):
            end = at + sum(1 for _ in alike)
            runs.append(Run(places[at], places[end] - places[at], state))
            at = end
        return Year(number, Counter(states), runs)

    def _day(self, date: dt.date) -> Day:
        day = date.toordinal()
        return Day(date, self._state(day), *self._known.get(day, ()))

    def _state(self, day: int) -> str:
        currencies, revised, rejected = self._known.get(day, (0, 0, 0))
        if not currencies:
            return "missing" if self._first < day < self._last else "unfetched"
        if rejected:
            return "rejected"
        return "revised" if revised else "stored"
