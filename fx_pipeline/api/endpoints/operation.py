"""The types that describe an operation of the API and run it.

`contract.operations` lists the operations. Everything else about them is derived from that list: routes,
the OpenAPI document, the tools for assistants, the docs page, the links of the index, and which parameters
are refused. The response cache distinguishes every parameter that is not known to be harmless.
"""

import datetime as dt
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from fx_pipeline.api import replies
from fx_pipeline.api.endpoints.counts import Counts
from fx_pipeline.api.endpoints.parameters import AsOf
from fx_pipeline.api.errors import ErrorKind
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import Reply
from fx_pipeline.rates import FIRST_DATE
from fx_pipeline.settings import Settings

Schema = dict[str, Any]
"""A JSON Schema (2020-12), or another part of an OpenAPI document."""

IN_FLIGHT = dt.timedelta(hours=1)
"""The longest time from a fetch's instant to its commit. What was known before that no longer changes."""

NEVER = "9999-12-31"


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored data of an instance: rates of `codes` from `first` to `newest`. The defaults mean none.

    `recent` is the first stored day of the last three.
    """

    codes: Collection[str] = ()
    first: dt.date | None = None
    newest: dt.date | None = None
    recent: dt.date | None = None
    today: dt.date | None = None

    @property
    def last_days(self) -> tuple[str, str]:
        """The first and the last stored day of the last three, for examples."""
        last = self.newest or FIRST_DATE
        return (self.recent or last).isoformat(), last.isoformat()

    @property
    def usual_codes(self) -> list[str]:
        """Currencies for examples."""
        usual = [code for code in ("USD", "GBP", "JPY") if code in self.codes]
        return usual or sorted(self.codes) or ["USD"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the path or the query string, with an example that works."""

    name: str
    description: str
    schema: Schema
    example: Callable[[Stored], object]
    place: Literal["path", "query"] = "query"
    required: bool = False
    essential: bool = True
    """False for a second name of another parameter, and for the form of the response."""
    component: str = ""
    """The name in the OpenAPI document, if another parameter there is called `name`."""

    @property
    def key(self) -> str:
        """The name in the OpenAPI document."""
        return self.component or self.name


class ErrorGroup(NamedTuple):
    """The errors that an operation may return, under the name that the OpenAPI document gives them."""

    name: str
    kinds: tuple[ErrorKind, ...]


class Tag(NamedTuple):
    """A group of operations by subject. Generated clients have a module for each."""

    name: str
    description: str


class Link(NamedTuple):
    """A link of the index. `{first}`, `{last}` and `{base}` in the target stand for stored values."""

    name: str
    target: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a handler uses besides the parsed request."""

    queries: Queries
    now: dt.datetime
    settings: Settings
    operations: "tuple[Operation[Any], ...]"
    counts: Counts = field(default_factory=Counts)
    version: Any = None
    """The version of the database before `queries` were opened, if known."""
    closed: str | None = None
    """Why the server refuses every request that needs a token, if it does."""

    def cache_control(self, end: str, as_of: AsOf | None) -> str:
        """Return the Cache-Control of a response about days up to `end` (YYYY-MM-DD)."""
        if as_of:
            return replies.settled() if self.now - as_of.instant > IN_FLIGHT else replies.recent()
        window = self.now.date() - dt.timedelta(days=1 + self.settings.fx_revision_days)
        return replies.settled() if end < window.isoformat() else replies.recent()

    def cache_control_of_newest(self, as_of: AsOf | None) -> str:
        """Return the Cache-Control of a response about the newest day."""
        return self.cache_control(NEVER, as_of) if as_of else replies.until_midnight(self.now)


Input = TypeVar("Input")


def no_cost(_: object) -> int:
    """Return the cost of a request that reads at most one day."""
    return 0


@dataclass(frozen=True, slots=True)
class Operation(Generic[Input]):
    """One operation of the API: what it is called, what it takes and returns, and how it is run.

    `parse` makes the input from the parameters and the parts of the path, or raises ApiError. `cost` is an
    upper bound on the rates that an input reads beyond one day. `answer` makes the reply in one read
    transaction, from the canned queries `queries`: a client who may not view these may not call it.
    """

    path: str
    name: str
    summary: str
    description: str
    tag: Tag
    response: str
    """The name of the schema of a successful response."""
    answer: Callable[[Context, Input], Reply]
    parse: Callable[..., Input]
    parameters: tuple[Parameter, ...] = ()
    errors: ErrorGroup | None = None
    queries: tuple[str, ...] = ()
    cost: Callable[[Input], int] = no_cost
    link: Link | None = None
    is_tool: bool = False
    """Whether assistants get it as a tool."""

    @property
    def essential(self) -> tuple[Parameter, ...]:
        """The parameters, without second names and those that only choose the form of the response."""
        return tuple(parameter for parameter in self.parameters if parameter.essential)

    @property
    def query_names(self) -> tuple[str, ...]:
        """The names of the parameters in the query string."""
        return tuple(parameter.name for parameter in self.parameters if parameter.place == "query")

    @property
    def has_own_view(self) -> bool:
        """Whether its own view answers it, without `answer`: the docs page, and the metrics."""
        return self.response in ("Html", "Metrics")

    @property
    def is_about_rates(self) -> bool:
        """Whether its path is under ``/rates/``. The others are about the process."""
        return self.path.startswith("/rates/")

    @property
    def is_health_check(self) -> bool:
        """Whether it is a health check, which needs no token."""
        return self.path.startswith("/-/health")
