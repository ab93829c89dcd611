"""Make planned calls with a small thread pool, store them from one thread, yield one outcome per date.

A date that fails delays no other. An error that concerns all dates (a wrong key, a used-up quota) stops the
run; responses already received are stored. A date that another run is fetching is not requested twice.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from types import TracebackType

from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import EndpointRestricted, FixerError, ProviderDown
from fx_pipeline.fixer.pace import Stopped
from fx_pipeline.ingestion.plan import Call, quota_warning
from fx_pipeline.ingestion.queue import CallQueue
from fx_pipeline.ingestion.results import Outcome, Result, store_results
from fx_pipeline.ingestion.symbols import exclude_symbols, ingest_names, unknown_symbols
from fx_pipeline.store.ledger import AlreadyInFlight, Ledger, QuotaReached
from fx_pipeline.store.store import RateStore

QUEUED_PER_THREAD = 16
"""Calls in the pool per thread, so that no thread idles while responses are being stored."""

POLL_SECONDS = 0.25
"""Wait between checks whether another run has finished its call."""


def ingest(
    calls: Sequence[Call],
    client: FixerClient,
    store: RateStore,
    ledger: Ledger,
    *,
    concurrency: int = 4,
    warn: Callable[[str], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Make the calls in order, store the responses, and yield each date's outcome once it is committed.

    `warn` receives messages for the operator that belong to no outcome.

    Raise FixerError if a response concerns all remaining dates, and QuotaReached if no further call is
    allowed. Both come after the outcomes of the calls made; dates not requested have no outcome. Raise
    StoreError if a response cannot be stored.

    If the caller abandons the iterator (a cancelled run), calls in flight are awaited and their responses
    stored, because they have used quota. A second interrupt ends that.
    """
    with _Run(calls, client, store, ledger, concurrency, warn) as run:
        while run.has_work():
            yield from run.submit()
            yield from run.collect()
    if run.pace.reason is not None:
        raise run.pace.reason


class _Run:
    """One `ingest`: its queue, its thread pool and the calls in flight."""

    def __init__(
        self,
        calls: Sequence[Call],
        client: FixerClient,
        store: RateStore,
        ledger: Ledger,
        concurrency: int,
        warn: Callable[[str], None],
    ) -> None:
        self.client, self.store, self.ledger, self.warn = client, store, ledger, warn
        self.queue = CallQueue(calls)
        self.pool = ThreadPoolExecutor(concurrency, thread_name_prefix="fixer")
        self.max_in_flight = concurrency * QUEUED_PER_THREAD
        self.opened: deque[tuple[Call, int]] = deque()
        """Calls that are open in the ledger but not submitted yet, each with its row."""
        self.in_flight: dict[Future[Fetch | None], tuple[Call, int]] = {}
        self.held: list[Call] = []  # until the unknown symbols are known
        self.symbols_refused = False
        self.outage = ledger.is_outage()
        self.pace = client.pace(outage=self.outage)

    def __enter__(self) -> "_Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pace.stop()
        self.pool.shutdown(cancel_futures=True)
        if isinstance(self.pace.reason, ProviderDown):
            self.ledger.record_outage()
        if error is not None and not isinstance(error, Exception):
            self.store_in_flight()

    def has_work(self) -> bool:
        return bool(self.in_flight or (self.queue and not self.pace.over))

    def submit(self) -> Iterator[Outcome]:
        """Submit calls to the pool. Yield outcomes of dates that another run has stored meanwhile."""
        self.open_calls()
        # Only now: from here on, another run would have to open these dates before storing them.
        dates = {date for call, _ in self.opened for date in call.dates}
        stored = {day.date: day for day in self.ledger.stored_by_others(dates)}
        while self.opened:
            call, fetch_id = self.opened[0]
            if stored.keys() & set(call.dates):
                self.ledger.close_unanswered(fetch_id, "not asked", 0)
                left = tuple(date for date in call.dates if date not in stored)
                self.queue.put_first([replace(call, dates=left)] if left else [])
            else:
                future = self.pool.submit(copy_context().run, self.make, call, fetch_id)
                self.in_flight[future] = (call, fetch_id)
            self.opened.popleft()
        yield from (Outcome(date, stored=day) for date, day in stored.items())

    def open_calls(self) -> None:
        """Open the next calls in the ledger, as many as there is room for, in one transaction."""
        room = self.max_in_flight - len(self.in_flight)
        if not self.queue.waiting or room <= 0:
            return
        with self.ledger.batch():
            while len(self.opened) < room and not (self.pace.over or self.symbols_refused):
                call = self.queue.next(idle=not (self.in_flight or self.opened))
                if call is None:
                    break
                try:
                    self.opened.append((call, self.open(call)))
                except AlreadyInFlight as other:
                    self.queue.defer(call, other)

    def open(self, call: Call) -> int:
        return self.ledger.open(
            "timeseries" if call.series else "historical",
            call.start,
            call.end,
            base=self.client.base,
            symbols=self.client.requested_symbols,
        )

    def make(self, call: Call, fetch_id: int) -> Fetch | None:
        """Make a call, in a thread of the pool. Return None if it must no longer be made."""
        if self.symbols_refused:
            return None
        spend = partial(self.ledger.spend, fetch_id, daily=call.daily)
        refund = partial(self.ledger.refund, fetch_id)
        try:
            if call.series:
                return self.client.timeseries(
                    call.start, call.end, spend=spend, refund=refund, pace=self.pace
                )
            return self.client.historical(call.end, spend=spend, refund=refund, pace=self.pace)
        except Stopped:
            return None
        except FixerError as error:
            if error.scope == "symbols":
                self.symbols_refused = True
            elif error.scope not in ("date", "endpoint"):
                self.pace.stop(error)
            raise
        except QuotaReached as reached:
            self.pace.stop(reached)
            raise

    def collect(self) -> Iterator[Outcome]:
        """Wait for responses, store them, and yield their outcomes."""
        if self.in_flight:
            done, _ = wait(self.in_flight, return_when=FIRST_COMPLETED)
            results = [Result.of(*self.in_flight[future], future) for future in done]
            results.sort(key=lambda result: result.call.end, reverse=True)
            outcomes, gaps = store_results(results, self.store, self.ledger)
            for future in done:
                del self.in_flight[future]
            self.note_recovery(outcomes)
            self.requeue(results, gaps)
            yield from outcomes
        elif self.queue and not self.queue.waiting:
            self.wait_for_others()
        if self.symbols_refused and not self.in_flight and not self.pace.over:
            self.drop_unknown_symbols()
        self.queue.resume_deferred()

    def note_recovery(self, outcomes: Sequence[Outcome]) -> None:
        if self.outage and any(outcome.stored for outcome in outcomes):
            self.ledger.clear_outage()
            self.outage = False

    def requeue(self, results: Sequence[Result], gaps: Sequence[Call]) -> None:
        """Queue what must be requested in another way: refused series in shorter ones, gaps by date."""
        first = list(gaps)
        max_days = self.queue.max_days
        for result in results:
            if result.succeeded and result.call.series:
                self.queue.accepted(result.call.days)
            elif result.series_refused:
                restricted = isinstance(result.error, EndpointRestricted)
                max_days = min(max_days, 1 if restricted else max(1, result.call.days // 2))
                first.append(result.call)
            elif result.must_repeat:
                self.held.append(result.call)
        if gaps:
            self.warn(f"Days missing from a series are fetched one by one: {len(gaps)}.")
        shortened = max_days < self.queue.max_days
        self.queue.put_first(first)
        if shortened:
            self.queue.shorten(max_days)
            self.warn_of_shorter_series(results)

    def warn_of_shorter_series(self, results: Sequence[Result]) -> None:
        restricted = any(isinstance(result.error, EndpointRestricted) for result in results)
        why = "The plan lacks timeseries" if restricted else "Fixer refuses a series of this length (505)"
        days = self.queue.max_days
        one_by_one = "the days are fetched one by one. Set FIXER_TIMESERIES=0."
        self.warn(f"{why}: {one_by_one if days == 1 else f'requesting {days} days at a time.'}")
        if (warning := quota_warning(self.queue.waiting, self.ledger.quota())) is not None:
            self.warn(warning)

    def drop_unknown_symbols(self) -> None:
        """Find the symbols that the provider does not know, and queue the held calls without them.

        Raise FixerError if there is no such symbol, QuotaReached, StoreError.
        """
        daily = any(call.daily for call in self.held)
        names = ingest_names(self.client, self.store, self.ledger, daily=daily, pace=self.pace)
        unknown = unknown_symbols(self.client, names)
        self.store.refuse_symbols(unknown)
        exclude_symbols(self.client, unknown)
        self.queue.put_first(self.held)
        self.held.clear()
        self.symbols_refused = False

    def wait_for_others(self) -> None:
        """Wait a moment for other processes, and report each of them once."""
        for other in self.queue.new_blockers():
            self.warn(str(other))
        time.sleep(POLL_SECONDS)

    def store_in_flight(self) -> None:
        """Store responses that are received but not stored. No outcome is yielded for them."""
        still_open = self.ledger.open_fetches()  # some may have been stored just before the interrupt
        submitted = {
            fetch_id: Result.of(call, fetch_id, future) for future, (call, fetch_id) in self.in_flight.items()
        }
        never_made = {fetch_id: Result(call, fetch_id) for call, fetch_id in self.opened}
        results = [result for fetch_id, result in (never_made | submitted).items() if fetch_id in still_open]
        store_results(results, self.store, self.ledger)
