"""From the provider into the store: asked by a few threads, stored by one, told date by date as they arrive.

A date that fails holds up no other. What no further question can better (a wrong key, a used-up quota) stops
the asking at once; what had arrived is stored. What another run is asking just now is not asked twice.
"""

import datetime as dt
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import (
    EndpointRestricted,
    FixerError,
    InvalidSymbols,
    NoRates,
    TimeframeTooLong,
)
from fx_pipeline.fixer.pace import Pace, Stopped
from fx_pipeline.rates import MAX_TIMESERIES_DAYS, Answer
from fx_pipeline.store.ledger import BeingAsked, Ledger, Quota, QuotaReached
from fx_pipeline.store.store import RateStore, StoredDay

AHEAD = 16
"""Questions put to the pool for each of its threads, so that none idles while answers are being stored."""

LOOK_AGAIN = 0.25
"""Seconds between looks at what another run is asking."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one date: the day as stored, or the error that says why it is not."""

    date: dt.date
    stored: StoredDay | None = None
    error: FixerError | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One call to make: the wanted `dates`, newest first, and whether they are the daily run's."""

    dates: tuple[dt.date, ...]
    daily: bool = False
    series: bool = False

    @property
    def start(self) -> dt.date:
        """The first day asked for."""
        return self.dates[-1]

    @property
    def end(self) -> dt.date:
        """The last day asked for."""
        return self.dates[0]

    @property
    def days(self) -> int:
        """The number of days from the first to the last."""
        return (self.end - self.start).days + 1


def questions(
    dates: Iterable[dt.date],
    *,
    timeseries: bool = False,
    daily: Collection[dt.date] = (),
    longest: int = MAX_TIMESERIES_DAYS,
) -> list[Question]:
    """Plan the fewest calls for these dates, newest first: one a date, or one for `longest` days of a series.

    `daily` are the dates for which the calls kept for the daily runs may be used.
    """
    asked: list[Question] = []
    for date in sorted(set(dates), reverse=True):
        last = asked[-1] if asked else None
        if (
            last is not None
            and timeseries
            and (last.end - date).days < longest
            and last.daily == (date in daily)
        ):
            asked[-1] = replace(last, dates=(*last.dates, date))
        else:
            asked.append(Question((date,), date in daily, timeseries))
    return asked


def how_far(asked: Sequence[Question], quota: Quota | None) -> str | None:
    """What to say before these questions are asked: that the quota will not do, and how far it will get; or
    that it is nearly used. None if there is nothing to say."""
    if quota is None:
        return None
    daily = sum(question.daily for question in asked)
    reach = min(daily, quota.left(daily=True)) + min(len(asked) - daily, quota.left())
    if reach < len(asked):
        where = (
            f"it will get from {asked[0].end} back to {asked[reach - 1].start}" if reach else "it ends here"
        )
        return f"This needs {len(asked)} calls and {reach} may be made: {where}. {quota}."
    return f"{quota}." if quota.nearly_used else None


def ingest(
    asked: Sequence[Question],
    client: FixerClient,
    store: RateStore,
    ledger: Ledger,
    *,
    concurrency: int = 4,
    notice: Callable[[str], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Ask each question in its turn, store the answers, and yield each date's outcome once it is committed.

    `notice` is told what somebody should know and no outcome says.

    Raises FixerError when the provider's answer concerns every further date, and QuotaReached when no further
    call may be made, after the outcomes of all that was asked; dates not asked for have none. Raises
    StoreError when an answer could not be stored. Where it is left before its end (a cancelled run), it waits
    for the calls under way and stores their answers too: they are paid for. A second interrupt ends that.
    """
    run = _Run(client, store, ledger, concurrency, notice)
    run.waiting.extend(asked)
    try:
        while run.goes_on():
            yield from run.put()
            yield from run.collect()
    except Exception:
        run.end()
        raise
    except BaseException:
        run.end()
        run.keep()
        raise
    run.end()
    if run.pace.reason is not None:
        raise run.pace.reason


def ingest_names(
    client: FixerClient,
    store: RateStore,
    ledger: Ledger,
    *,
    daily: bool = False,
    pace: Pace | None = None,
) -> Mapping[str, str]:
    """Store the names of the currencies and return them by code. `daily` as in `Ledger.spend`.

    An answer that was an error is kept all the same. Raises FixerError, QuotaReached, StoreError.
    """
    fetch_id = ledger.open("symbols", base=client.base)
    try:
        answer = client.symbols(
            spend=partial(ledger.spend, fetch_id, daily=daily),
            refund=partial(ledger.refund, fetch_id),
            pace=pace,
        )
    except FixerError as error:
        if error.answer is None:
            ledger.give_up(fetch_id, error.reason, error.calls)
        else:
            store.record([replace(error.answer, fetch_id=fetch_id)], run_id=ledger.run_id)
        raise
    store.record([replace(answer, fetch_id=fetch_id)], run_id=ledger.run_id)
    return answer.names


def leave_out(client: FixerClient, unknown: Collection[str]) -> None:
    """Have the client ask for the symbols without those that the provider does not know.

    Raises InvalidSymbols where none would be left.
    """
    asked = client.asked_symbols
    client.leave_out(unknown)
    if asked and set(asked) != {client.base} == set(client.asked_symbols):
        codes = ", ".join(code for code in asked if code != client.base)
        raise InvalidSymbols(
            f"none of the currencies in FX_SYMBOLS is known: {codes}. If one of them is new, materialize the "
            "asset `symbols` in Dagster, which reads Fixer's list again"
        )


class _Run:
    """The questions of one `ingest`: waiting, being asked elsewhere, under way; and their pace."""

    def __init__(
        self,
        client: FixerClient,
        store: RateStore,
        ledger: Ledger,
        concurrency: int,
        notice: Callable[[str], None],
    ) -> None:
        self.client, self.store, self.ledger, self.notice = client, store, ledger, notice
        self.pool = ThreadPoolExecutor(concurrency, thread_name_prefix="fixer")
        self.most_under_way = concurrency * AHEAD
        self.waiting: deque[Question] = deque()
        self.elsewhere: deque[Question] = deque()
        self.waits_for: dict[str, BeingAsked] = {}
        self.waited_for: set[str] = set()
        self.under_way: dict[Future[Answer | None], tuple[Question, int]] = {}
        self.held: list[Question] = []
        # The days that a series may have (1: none, day by day), and the most that one was answered with.
        self.longest_series, self.proven_series = MAX_TIMESERIES_DAYS, 0
        self.symbols_refused = False
        self.outage = ledger.is_outage()
        self.pace = client.pace(outage=self.outage)

    def goes_on(self) -> bool:
        return bool(self.under_way or ((self.waiting or self.elsewhere) and not self.pace.over))

    def put(self) -> Iterator[Outcome]:
        """Put questions to the pool; yield the outcomes of dates that another run has stored meanwhile."""
        opened = self.open_next()
        # Looked for only now: what another run stores from here on, it would have to open first.
        dates = {date for question, _ in opened for date in question.dates}
        meanwhile = {day.date: day for day in self.ledger.stored_meanwhile(dates)} if dates else {}
        for question, fetch_id in opened:
            if meanwhile.keys() & set(question.dates):
                self.ledger.give_up(fetch_id, "not asked", 0)
                left = tuple(date for date in question.dates if date not in meanwhile)
                if left:
                    self.waiting.appendleft(replace(question, dates=left))
            else:
                self.under_way[self.pool.submit(self.ask, question, fetch_id)] = (question, fetch_id)
        yield from (Outcome(date, stored=day) for date, day in meanwhile.items())

    def open_next(self) -> list[tuple[Question, int]]:
        """Open the questions that are to be asked next, as many as there is room for, in one transaction."""
        opened: list[tuple[Question, int]] = []
        room = self.most_under_way - len(self.under_way)
        if not self.waiting or room <= 0:
            return opened
        with self.ledger.together():
            while self.waiting and not (self.pace.over or self.symbols_refused) and len(opened) < room:
                question = self.waiting.popleft()
                if question.series and (question.days > self.longest_series or self.longest_series == 1):
                    self.waiting.extendleft(reversed(_divided([question], self.longest_series)))
                    continue
                if question.series and question.days > self.proven_series and (self.under_way or opened):
                    # Whether so long a series is allowed, one call tells as well as many.
                    self.waiting.appendleft(question)
                    break
                try:
                    opened.append((question, _open(self.ledger, self.client, question)))
                except BeingAsked as other:
                    self.elsewhere.append(question)
                    self.waits_for.setdefault(other.process, other)
        return opened

    def ask(self, question: Question, fetch_id: int) -> Answer | None:
        """In a thread of the pool: the answer; None if the run was over or its symbols refused before."""
        if self.symbols_refused:
            return None
        spend = partial(self.ledger.spend, fetch_id, daily=question.daily)
        refund = partial(self.ledger.refund, fetch_id)
        try:
            if question.series:
                return self.client.timeseries(
                    question.start, question.end, spend=spend, refund=refund, pace=self.pace
                )
            return self.client.historical(question.end, spend=spend, refund=refund, pace=self.pace)
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

    def end(self) -> None:
        """Wait for the calls under way; what has not been asked is not asked any more."""
        self.pace.stop()
        self.pool.shutdown(cancel_futures=True)
        if self.pace.unanswered:
            # Also where only one day was fetched, which is fewer requests than stop a run: the step's retry
            # then makes one request, and not as many again.
            self.ledger.note_outage()

    def keep(self) -> None:
        """Store what was answered and not yet stored; nobody is told."""
        still_open = self.ledger.still_open()  # the interrupt may have come just when some had been stored
        left = [(*told, future) for future, told in self.under_way.items() if told[1] in still_open]
        for _, fetch_id, future in left:
            if future.cancelled():
                self.ledger.give_up(fetch_id, "not asked", 0)
        answered = [told for told in left if not told[2].cancelled()]
        _store(answered, self.store, self.ledger)

    def collect(self) -> Iterator[Outcome]:
        """Wait for answers, store them, and yield their outcomes."""
        if self.under_way:
            done, _ = wait(self.under_way, return_when=FIRST_COMPLETED)
            answered = [(*self.under_way[future], future) for future in done]
            answered.sort(key=lambda told: told[0].end, reverse=True)
            outcomes, again, gaps = _store(answered, self.store, self.ledger)
            if self.outage and any(outcome.stored for outcome in outcomes):
                self.ledger.end_outage()
                self.outage = False
            for future in done:
                del self.under_way[future]
            good = [question.days for question, _, future in answered if question.series and _is_good(future)]
            self.proven_series = max([self.proven_series, *good])
            self.ask_again(again, gaps)
            yield from outcomes
        elif self.elsewhere:
            self.wait()
        if self.symbols_refused and not self.under_way and not self.pace.over:
            self.leave_out_unknown()
        if not self.waiting:
            self.waiting, self.elsewhere = self.elsewhere, self.waiting

    def ask_again(
        self, again: Sequence[tuple[Question, FixerError | None]], gaps: Sequence[Question]
    ) -> None:
        """Put to the front what is asked in another way: refused series in shorter ones, gaps by date."""
        first = list(gaps)
        longest = self.longest_series
        for question, error in again:
            if isinstance(error, EndpointRestricted):
                self.longest_series = 1
            elif isinstance(error, TimeframeTooLong):
                self.longest_series = max(1, min(self.longest_series, question.days // 2))
            else:
                self.held.append(question)
                continue
            first.append(question)
        self.waiting.extendleft(sorted(first, key=lambda question: question.end))
        if gaps:
            self.notice(f"Days that are missing from a series are fetched one by one: {len(gaps)}.")
        if self.longest_series < longest:
            self.waiting = deque(_divided(self.waiting, self.longest_series))
            lacks = any(isinstance(error, EndpointRestricted) for _, error in again)
            why = "The plan lacks timeseries" if lacks else "Fixer refuses so long a series (505)"
            how = f"{self.longest_series} days are asked for at a time."
            by_date = "the days are fetched one by one. Set FIXER_TIMESERIES=0."
            self.notice(f"{why}: {by_date if self.longest_series == 1 else how}")
            if (short := how_far(self.waiting, self.ledger.quota())) is not None:
                self.notice(short)

    def leave_out_unknown(self) -> None:
        """Find the symbols that the provider does not know, and ask for the others again.

        Raises FixerError where that is not possible, QuotaReached, StoreError.
        """
        daily = any(question.daily for question in self.held)
        names = ingest_names(self.client, self.store, self.ledger, daily=daily, pace=self.pace)
        asked = self.client.asked_symbols
        unknown = [code for code in asked if code not in names and code != self.client.base]
        if not unknown:
            raise InvalidSymbols(
                f"one of {', '.join(asked)} is refused, although the list of currencies has all of them"
            )
        self.store.refuse_symbols(unknown)
        leave_out(self.client, unknown)
        self.waiting.extendleft(sorted(self.held, key=lambda question: question.end))
        self.held.clear()
        self.symbols_refused = False

    def wait(self) -> None:
        """Wait a moment for other processes, and say so once for each of them."""
        for process in self.waits_for.keys() - self.waited_for:
            self.notice(str(self.waits_for[process]))
        self.waited_for |= self.waits_for.keys()
        self.waits_for.clear()
        time.sleep(LOOK_AGAIN)


def _open(ledger: Ledger, client: FixerClient, question: Question) -> int:
    return ledger.open(
        "timeseries" if question.series else "historical",
        question.start,
        question.end,
        base=client.base,
        symbols=client.asked_symbols,
    )


def _divided(asked: Iterable[Question], longest: int) -> list[Question]:
    """Plan the series among these questions again, newest first: of `longest` days at most; 1: by date."""
    others = [question for question in asked if not question.series]
    series = [question for question in asked if question.series]
    dates = [date for question in series for date in question.dates]
    daily = {date for question in series if question.daily for date in question.dates}
    planned = questions(dates, timeseries=longest > 1, daily=daily, longest=longest)
    return sorted([*others, *planned], key=lambda question: question.end, reverse=True)


def _store(
    answered: Iterable[tuple[Question, int, Future[Answer | None]]], store: RateStore, ledger: Ledger
) -> tuple[list[Outcome], list[tuple[Question, FixerError | None]], list[Question]]:
    """Store a batch of answers and errors together. Return what became of each date; the questions to ask
    again: series that are refused, those with an unknown symbol, and those that were not asked; and questions
    for the days that are missing from a series.

    A programming error in a thread is raised here.
    """
    received: list[Answer] = []
    errors: dict[int, FixerError] = {}
    again: list[tuple[Question, FixerError | None]] = []
    told: list[tuple[Question, int]] = []
    for question, fetch_id, future in answered:
        answer, error = _result(future)
        restricted = isinstance(error, EndpointRestricted | TimeframeTooLong) and question.series
        if restricted or isinstance(error, InvalidSymbols) or (answer is None and error is None):
            again.append((question, error))
        else:
            told.append((question, fetch_id))
        if error is not None:
            errors[fetch_id] = error
        if answer is not None:
            received.append(replace(answer, fetch_id=fetch_id))
        elif error is not None:
            ledger.give_up(fetch_id, error.reason, error.calls)
        else:
            ledger.give_up(fetch_id, "not asked", 0)
    stored = {day.date: day for day in store.record(received, run_id=ledger.run_id)}
    outcomes, gaps = [], []
    for question, fetch_id in told:
        for date in question.dates:
            if date in stored:
                outcomes.append(Outcome(date, stored=stored[date]))
            elif question.series and fetch_id not in errors:
                gaps.append(Question((date,), question.daily))
            else:
                missing = NoRates("there are no rates of this day in the answer", f"{date}")
                outcomes.append(Outcome(date, error=errors.get(fetch_id, missing)))
    return outcomes, again, gaps


def _is_good(future: Future[Answer | None]) -> bool:
    answer, error = _result(future)
    return answer is not None and error is None


def _result(future: Future[Answer | None]) -> tuple[Answer | None, FixerError | None]:
    """The answer, if there was one, and the error, if it was one. Neither where nothing was asked."""
    try:
        return future.result(), None
    except QuotaReached:
        return None, None
    except FixerError as error:
        return error.answer, error
