"""The calls of one run that are still to be made."""

from collections import deque
from collections.abc import Iterable, Sequence

from fx_pipeline.ingestion.plan import Call, newest_first, split_series
from fx_pipeline.rates import MAX_TIMESERIES_DAYS
from fx_pipeline.store.ledger import AlreadyInFlight


class CallQueue:
    """Calls in the order in which they are made, newest first, with series as long as the provider allows."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._waiting = deque(calls)
        self._deferred: list[Call] = []
        self._blocked_by: dict[str, AlreadyInFlight] = {}
        self._reported: set[str] = set()
        self._accepted_days = 0
        self.max_days = MAX_TIMESERIES_DAYS
        """The longest series to request. 1: request each date by itself."""

    def __bool__(self) -> bool:
        return bool(self._waiting or self._deferred)

    @property
    def waiting(self) -> Sequence[Call]:
        """The calls that can be made now."""
        return self._waiting

    def next(self, *, idle: bool) -> Call | None:
        """Take the next call. None if there is none, or if it must wait until the run is `idle`.

        The first series of a length is requested by itself: one call shows whether the provider accepts it.
        """
        if not self._waiting:
            return None
        call = self._waiting[0]
        if call.series and call.days > self._accepted_days and not idle:
            return None
        return self._waiting.popleft()

    def put_first(self, calls: Iterable[Call]) -> None:
        """Put calls in front of all others."""
        self._waiting.extendleft(reversed(split_series(calls, self.max_days)))

    def accepted(self, days: int) -> None:
        """Note that the provider accepts series of this length."""
        self._accepted_days = max(self._accepted_days, days)

    def shorten(self, max_days: int) -> None:
        """Replace all series by shorter ones."""
        self.max_days = max_days
        self._waiting = deque(split_series(self._waiting, max_days))
        self._deferred = split_series(self._deferred, max_days)

    def defer(self, call: Call, other: AlreadyInFlight) -> None:
        """Put a call aside that another process is making."""
        self._deferred.append(call)
        self._blocked_by.setdefault(other.process, other)

    def resume_deferred(self) -> None:
        """Try the deferred calls again once no other call waits."""
        if not self._waiting:
            self._waiting, self._deferred = deque(newest_first(self._deferred)), []

    def new_blockers(self) -> list[AlreadyInFlight]:
        """Return the processes that calls wait for, each only once."""
        new = [other for process, other in self._blocked_by.items() if process not in self._reported]
        self._reported |= self._blocked_by.keys()
        self._blocked_by.clear()
        return new
