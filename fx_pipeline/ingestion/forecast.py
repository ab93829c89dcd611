"""What a set of days needs before its first call: calls, the share of the quota, and minutes."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from fx_pipeline.ingestion.plan import Call
from fx_pipeline.rates import counted
from fx_pipeline.store.ledger import Quota

WORTH_SHOWING = 20
"""Fewer days are fetched within seconds."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The calls to make, newest first, the number of stored days to skip, and what is known of the provider.

    `pace`: the seconds that a call took in the last runs; None if none was measured.
    """

    calls: Sequence[Call]
    skipped: int = 0
    quota: Quota | None = None
    pace: float | None = None

    @property
    def days(self) -> int:
        """The number of days to fetch."""
        return sum(len(call.dates) for call in self.calls)

    @property
    def allowed(self) -> int:
        """The number of these calls that the quota allows now."""
        return len(self.calls) if self.quota is None else min(len(self.calls), self.quota.left())

    @property
    def fits(self) -> bool:
        """Whether the quota allows all calls."""
        return self.allowed == len(self.calls)

    @property
    def fitting(self) -> frozenset[dt.date]:
        """The newest days, those that the quota allows."""
        return frozenset(date for call in self.calls[: self.allowed] for date in call.dates)

    @property
    def minutes(self) -> float | None:
        """The time that all calls take at the measured pace; None without one."""
        return None if self.pace is None else len(self.calls) * self.pace / 60

    def __str__(self) -> str:
        """Return what is needed, in one line."""
        parts = [f"{counted(self.days, 'day')} to fetch, {self.skipped:,} to skip; {self._share()}"]
        if self.calls:
            parts.append(self._time())
        return "; ".join(parts) + "."

    def summary(self) -> str:
        """Return what is needed, in a few words."""
        calls = counted(len(self.calls), "call")
        share = f" ({len(self.calls) / self.quota.limit:.0%} of the quota)" if self.quota else ""
        time = "" if self.minutes is None else f", {max(1, round(self.minutes)):,} min"
        return f"{counted(self.days, 'day')}, {calls}{share}{time}, {self.skipped:,} skipped"

    def refusal(self, remedy: str) -> str:
        """Return why nothing is fetched, how many days fit, when the quota renews, and the remedy."""
        if self.quota is None:
            raise ValueError("Without a quota, everything fits.")
        parts = [
            f"Nothing was fetched, because the quota is too small: {counted(self.days, 'day')} need "
            f"{counted(len(self.calls), 'call')}, and {self.allowed:,} may be made."
        ]
        if fitting := self.fitting:
            newest = counted(len(fitting), "day")
            parts.append(f"The newest {newest}, from {min(fitting)} on, fit: {remedy}.")
        return " ".join([*parts, f"{self.quota}."])

    def document(self) -> dict[str, object]:
        """Return the forecast as JSON."""
        return {
            "days": self.days,
            "skipped": self.skipped,
            "calls": len(self.calls),
            "calls_allowed": self.allowed,
            "fits": self.fits,
            "minutes": None if self.minutes is None else round(self.minutes, 2),
        }

    def _share(self) -> str:
        calls = counted(len(self.calls), "call")
        if self.quota is None:
            return f"{calls}, and no quota is set"
        share = len(self.calls) / self.quota.limit
        left, until = self.quota.left(), self.quota.renewed_on
        return f"{calls}, {share:.0%} of the {self.quota.limit:,} of a month; {left:,} are left until {until}"

    def _time(self) -> str:
        if self.minutes is None or self.pace is None:
            return "no run has been measured yet, so the time is unknown"
        time = "less than a minute" if self.minutes < 1 else f"about {counted(round(self.minutes), 'minute')}"
        return f"{time}, at the pace of the last runs ({60 / self.pace:,.0f} calls a minute)"
