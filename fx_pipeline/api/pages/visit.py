"""What a page is made from, a visit, and what it is before it is rendered."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.reading.queries import Queries


class Span(NamedTuple):
    """The newest and the oldest stored day, and the base that every stored rate is for one unit of."""

    newest: str
    oldest: str
    base: str

    def asked(self, base: str) -> str:
        """The parameter `base` that a link needs: empty for the stored one."""
        return "" if base == self.base else base


@dataclass(frozen=True, slots=True)
class Visit:
    """What a page is made from: the stored data, and what was asked for when."""

    queries: Queries
    parameters: Parameters

    @property
    def today(self) -> dt.date:
        """The day of the visit, UTC."""
        return self.parameters.now.date()

    def text(self, name: str) -> str:
        """The last value of a parameter; empty where there is none."""
        return self.parameters.values.get(name, [""])[-1].strip()

    def names(self) -> dict[str, str]:
        """Every code and its name."""
        return {code: name for code, name, *_ in self.queries.rows("symbols")}

    def is_made_up(self, date: str = "") -> bool:
        """Whether the sandbox has given values of a day, or of the newest."""
        fetches = self.queries.rows("day_fetches", date=date)
        return any(provider == "sandbox" for _, _, _, provider, *_ in fetches)

    def span(self) -> Span | None:
        """What is stored, from where to where; None while nothing is."""
        ((newest, oldest, base),) = self.queries.rows("latest_date")
        return Span(newest, oldest, base) if newest else None


@dataclass(frozen=True, slots=True)
class Page:
    """A page before it is rendered: its template, what that shows, the status; or where to go instead."""

    template: str
    context: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    elsewhere: str | None = None
