"""The results of a run's calls, and how they are stored."""

import datetime as dt
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.errors import EndpointRestricted, FixerError, InvalidSymbols, NoRates, TimeframeTooLong
from fx_pipeline.ingestion.plan import Call
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.ledger import Ledger, QuotaReached
from fx_pipeline.store.store import RateStore


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one date: the stored day, or the error that prevented it."""

    date: dt.date
    stored: StoredDay | None = None
    error: FixerError | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A finished call: its fetch or its error. An error response has both, a call not made has neither."""

    call: Call
    fetch_id: int
    fetch: Fetch | None = None
    error: FixerError | None = None

    @classmethod
    def of(cls, call: Call, fetch_id: int, future: Future[Fetch | None]) -> "Result":
        """Return the result of a finished future. Raise any error but the provider's and the quota's."""
        if future.cancelled():
            return cls(call, fetch_id)
        try:
            return cls(call, fetch_id, future.result())
        except QuotaReached:
            return cls(call, fetch_id)
        except FixerError as error:
            return cls(call, fetch_id, error.fetch, error)

    @property
    def succeeded(self) -> bool:
        """Whether the call brought rates."""
        return self.fetch is not None and self.error is None

    @property
    def was_made(self) -> bool:
        """Whether the call was made at all."""
        return self.fetch is not None or self.error is not None

    @property
    def series_refused(self) -> bool:
        """Whether the provider refused a series of this length, or any series."""
        return self.call.series and isinstance(self.error, EndpointRestricted | TimeframeTooLong)

    @property
    def must_repeat(self) -> bool:
        """Whether the dates have no outcome yet and must be requested again."""
        return self.series_refused or isinstance(self.error, InvalidSymbols) or not self.was_made


def store_results(
    results: Iterable[Result], store: RateStore, ledger: Ledger
) -> tuple[list[Outcome], list[Call]]:
    """Store the results. Return the outcomes, and calls for the days missing from a series.

    All responses are stored in one transaction. Calls without a response are closed in the ledger before.
    """
    results = list(results)
    fetches = []
    for result in results:
        if result.fetch is not None:
            fetches.append(replace(result.fetch, fetch_id=result.fetch_id))
        elif result.error is not None:
            ledger.close_unanswered(result.fetch_id, result.error.reason, result.error.calls)
        else:
            ledger.close_unanswered(result.fetch_id, "not asked", 0)
    stored = {day.date: day for day in store.record(fetches, run_id=ledger.run_id)}
    outcomes, gaps = [], []
    for result in results:
        if result.must_repeat:
            continue
        for date in result.call.dates:
            if date not in stored and result.call.series and result.error is None:
                gaps.append(Call((date,), result.call.daily))
            else:
                outcomes.append(_outcome(date, result, stored))
    return outcomes, gaps


def _outcome(date: dt.date, result: Result, stored: Mapping[dt.date, StoredDay]) -> Outcome:
    if date in stored:
        return Outcome(date, stored=stored[date])
    missing = NoRates("the response has no rates for this day", f"{date}")
    return Outcome(date, error=result.error or missing)
