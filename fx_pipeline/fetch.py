"""One response from the provider: what was requested, what came back, and what was parsed from it."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from fx_pipeline.rates import DayRates


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """A request to the provider and its response: a row of `fetches`, with its days or names once parsed.

    `body` is stored as received. `days` and `names` are empty if the response was an error.
    """

    endpoint: str
    base: str
    symbols: tuple[str, ...]
    start_date: dt.date | None = None
    end_date: dt.date | None = None
    asked_at: dt.datetime
    status: str
    """`ok`, or the reason of the error."""
    body: bytes
    calls: int = 1
    """HTTP requests made, retries included. Each may have cost quota."""
    provider: str = "fixer"
    """`fixer`, or `sandbox`, whose newest rates are made up."""
    fetch_id: int | None = None
    """The row that the ledger opened for the request. None: storing the fetch creates it."""
    quota_limit: int | None = None
    """Calls per month in the plan, if a header said so."""
    quota_remaining: int | None = None
    """Calls left this month after this one, if a header said so."""
    provider_at: dt.datetime | None = None
    """When the provider responded, by its own clock, if a header said so."""
    days: tuple[DayRates, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
