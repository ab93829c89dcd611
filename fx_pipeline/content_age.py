"""How long the newest rates have been unchanged, and whether that shows a provider whose rates stand still.

A provider may answer every day, correctly dated, with the values of an earlier day. Pure functions of how
many currencies changed from each stored day to the next. The rule is in docs/operations/checking.md.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from fx_pipeline.business_days import is_business_day

REACH = 5
"""Days. A day is not compared with one that is further away."""

RECENT = dt.timedelta(days=14)
"""Days that show that the content changes."""

MANY, SEVERAL = 5, 3
"""If usually at least so many currencies change, all of them do not rest by chance: on one day, on two."""

USUAL = 60
"""Earlier business days that show what is usual: a quarter of a year."""

LEARN = 5
"""Earlier business days that are needed to judge."""

RESTLESS = 8
"""If the content changed on each of so many weekend days and holidays, the provider has no closing days."""

PEG = 22
"""Business days, a month: content that has been unchanged for longer counts as pegged."""

CHANCE = 1e-6
"""With fewer currencies: how unlikely a rest must be, given how often they rested before."""

State = Literal["changing", "suspicious", "frozen"]


@dataclass(frozen=True, slots=True)
class Step:
    """A stored day, the stored day before it, and how many currencies differ between them."""

    date: dt.date
    before: dt.date
    changed: int

    @property
    def rested(self) -> bool:
        """Whether no currency changed. Days too far apart are not compared."""
        return not self.changed and (self.date - self.before).days <= REACH


@dataclass(frozen=True, slots=True)
class ContentAge:
    """The first stored day with the newest values, and how many later business days repeat them.

    `longest` is the most business days that repeated a day before. `state` is "frozen" if it is certain that
    the provider's rates stand still, and "suspicious" if a closing day of the provider would explain it.
    """

    unchanged_since: dt.date
    business_days: int
    longest: int
    state: State

    def document(self) -> dict[str, str | int]:
        """Return it as JSON, for `/-/health/freshness` and `status`."""
        return {
            "unchanged_since": self.unchanged_since.isoformat(),
            "business_days": self.business_days,
            "state": self.state,
        }


def steps_of_rows(rows: Iterable[tuple[str, str, int]]) -> list[Step]:
    """Return the steps of the query: date, the stored day before, and the number of changed currencies."""
    return [
        Step(dt.date.fromisoformat(date), dt.date.fromisoformat(before), changed)
        for date, before, changed in rows
    ]


def newest_content(
    read: Callable[[str], Iterable[tuple[str, str, int]]], newest: dt.date | None
) -> ContentAge | None:
    """Judge the newest stored day. `read` returns the rows of the steps from a date (YYYY-MM-DD) on.

    Reading all of 27 years takes half a second, so it reads more than RECENT days only if the content rests.
    """
    if newest is None:
        return None
    recent = steps_of_rows(read((newest - RECENT).isoformat()))
    if any(not step.rested for step in recent):
        found = content_age(recent)
        if found and not found.business_days:
            return found
    return content_age(steps_of_rows(read("")))


def content_age(steps: Sequence[Step]) -> ContentAge | None:
    """Judge how long the newest content has been unchanged. `steps` are all, oldest first; None if empty."""
    if not steps:
        return None
    start = len(steps)
    while start and steps[start - 1].rested:
        start -= 1
    now = _business_days(steps[start:])
    # Before the first change, nothing is known. Fixer's history may begin with a repeated day, 1999-01-01.
    first = next((number for number, step in enumerate(steps) if not step.rested), start)
    earlier = steps[first:start]
    longest = _longest(earlier)
    since = steps[start - 1].date if start else steps[0].before
    return ContentAge(since, now, longest, _state(earlier, now, longest))


def _state(earlier: Sequence[Step], now: int, longest: int) -> State:
    """Judge a rest of `now` business days by the steps before it."""
    business = [step for step in earlier if is_business_day(step.date)]
    if now <= longest or len(business) < LEARN:
        return "changing"
    usual = median(step.changed for step in business[-USUAL:])
    if now >= 2 and usual >= SEVERAL:
        return "frozen"
    if usual >= MANY:
        closings = [step.rested for step in earlier if not is_business_day(step.date)][-USUAL:]
        return "frozen" if len(closings) >= RESTLESS and not any(closings) else "suspicious"
    if now <= 2 * longest or longest > PEG:
        return "changing"
    chance = max(_share_of_rests(business), _share_of_rests(business[-USUAL:]))
    return "suspicious" if chance**now < CHANCE else "changing"


def _share_of_rests(steps: Sequence[Step]) -> float:
    """Return the share of rests, as if the next step were one too."""
    return (sum(step.rested for step in steps) + 1) / (len(steps) + 1)


def _longest(steps: Sequence[Step]) -> int:
    """Return the most business days in a row on which nothing changed."""
    longest = now = 0
    for step in steps:
        now = now + is_business_day(step.date) if step.rested else 0
        longest = max(longest, now)
    return longest


def _business_days(steps: Iterable[Step]) -> int:
    return sum(is_business_day(step.date) for step in steps)
