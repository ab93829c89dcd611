"""The request for a page, and the page before it is rendered."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.reading.queries import Queries


class Span(NamedTuple):
    """The newest and the oldest stored day, and the base of all stored rates."""

    newest: str
    oldest: str
    base: str

    def base_parameter(self, base: str) -> str:
        """Return the parameter `base` of a link: empty for the stored base."""
        return "" if base == self.base else base


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request for a page: its canned queries, its parameters, and what the pages depend on besides."""

    queries: Queries
    parameters: Parameters
    start: dt.date
    """The first day that can be fetched."""
    dagster_url: str | None
    """The address of the Dagster UI, if it leads somewhere for this visitor."""
    can_launch: bool
    """Whether that is so, and the UI is not read-only."""

    @property
    def today(self) -> dt.date:
        """The current day, UTC."""
        return self.parameters.now.date()

    @property
    def yesterday(self) -> dt.date:
        """The last day that is over, UTC, and so the last that can be fetched."""
        return self.today - dt.timedelta(days=1)

    def text(self, name: str) -> str:
        """Return the value of a parameter, or an empty text. Raise ApiError for two values."""
        return self.parameters.text(name)

    def names(self) -> dict[str, str]:
        """Return the name of every currency, by code."""
        return {code: name for code, name, *_ in self.queries.rows("currencies")}

    def span(self) -> Span | None:
        """Return the span of stored days; None if nothing is stored."""
        ((newest, oldest, base),) = self.queries.rows("latest_date")
        return Span(newest, oldest, base) if newest else None


@dataclass(frozen=True, slots=True)
class Page:
    """A page before it is rendered: template, context and status, or the URL of a redirect."""

    template: str
    context: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    elsewhere: str | None = None
