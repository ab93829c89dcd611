"""Wanted days: the days that runs were asked for, and every day after a day that was fetched as the newest.

Only a wanted day can be missing. Any other day that is not stored is no fault.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Sequence

from fx_pipeline.rates import DateRange, contiguous

WantedRange = tuple[dt.date, dt.date | None]
"""The first and the last day of a range of wanted days. Without a last day, all later days are wanted."""


class WantedDays:
    """The wanted days, as ranges."""

    def __init__(self, ranges: Iterable[WantedRange] = ()) -> None:
        self.ranges: Sequence[WantedRange] = list(ranges)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[str, str | None]]) -> "WantedDays":
        """Return the wanted days of the rows of `wanted_ranges`."""
        parsed = dt.date.fromisoformat
        return cls((parsed(first), parsed(last) if last else None) for first, last in rows)

    def with_dates(self, dates: Collection[dt.date], *, newest: dt.date) -> "WantedDays":
        """Return the wanted days together with these, in the fewest ranges, oldest first.

        `newest` is the newest day that is over. If it is among the dates, all later days are wanted too:
        whoever fetches the newest day wants those that follow.
        """
        closed = {date for first, last in self.ranges if last for date in _days(first, last)} | set(dates)
        open_from = {first for first, last in self.ranges if last is None} | {newest} & set(dates)
        if not open_from:
            return WantedDays(contiguous(closed))
        ranges: list[WantedRange] = [*contiguous(closed | open_from)]
        upto = [index for index, (first, _) in enumerate(ranges) if first <= min(open_from)][-1]
        return WantedDays([*ranges[:upto], (ranges[upto][0], None)])

    def between(self, start: dt.date, end: dt.date) -> set[dt.date]:
        """Return the wanted days from `start` to `end`, both included."""
        return {
            date
            for first, last in self.ranges
            for date in _days(max(first, start), end if last is None else min(last, end))
        }

    def missing(self, stored: Collection[dt.date], *, newest: dt.date = dt.date.min) -> list[DateRange]:
        """Return the ranges of wanted days that are not stored, oldest first.

        Only days before the last stored day and before `newest` count: the newest day that is over may just
        not have been fetched yet. Without `newest`, only days before the last stored day count.
        """
        end = max([newest, *stored])
        if not self.ranges or end == dt.date.min:
            return []
        first = min(first for first, _ in self.ranges)
        return contiguous(self.between(first, end - dt.timedelta(days=1)) - set(stored))


def _days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    return map(dt.date.fromordinal, range(first.toordinal(), last.toordinal() + 1))
