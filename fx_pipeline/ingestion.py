"""From the provider into the store: asked by a few threads, stored by one, told date by date as they arrive.

A date that fails holds up no other. An answer that no further question can better (a wrong key, a used-up
quota) stops the asking at once; what had arrived is stored.
"""

import datetime as dt
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from operator import itemgetter

from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.fixer.errors import BadAnswer, FixerError
from fx_pipeline.rates import Answer
from fx_pipeline.store.store import RateStore, StoredDay

AHEAD = 16
"""Questions put to the pool for each of its threads, so that none idles while answers are being stored."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one date: the day as stored, or the error that says why it is not."""

    date: dt.date
    stored: StoredDay | None = None
    error: FixerError | None = None


def ingest(
    dates: Iterable[dt.date],
    client: FixerClient,
    store: RateStore,
    *,
    concurrency: int = 4,
    run_id: str | None = None,
) -> Iterator[Outcome]:
    """Fetch and store each date, newest first, and yield its outcome once it is committed.

    Raises FixerError when the provider's answer concerns every further date, after the outcomes of all that
    was asked; dates not asked for have none. Raises StoreError when an answer could not be stored.
    """
    waiting = deque(sorted(set(dates), reverse=True))
    asked: dict[Future[Answer | None], dt.date] = {}
    stopped: list[FixerError] = []

    def ask(date: dt.date) -> Answer | None:
        if stopped:
            return None
        try:
            return client.historical(date)
        except FixerError as error:
            if error.scope != "date":
                stopped.append(error)
            raise

    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="fixer")
    try:
        while asked or (waiting and not stopped):
            while waiting and not stopped and len(asked) < concurrency * AHEAD:
                date = waiting.popleft()
                asked[pool.submit(ask, date)] = date
            done, _ = wait(asked, return_when=FIRST_COMPLETED)
            answered = sorted(
                ((asked.pop(future), future) for future in done), key=itemgetter(0), reverse=True
            )
            yield from _store(answered, store, run_id)
    finally:
        pool.shutdown(cancel_futures=True)
    if stopped:
        raise stopped[0]


def _store(
    answered: Iterable[tuple[dt.date, Future[Answer | None]]], store: RateStore, run_id: str | None
) -> Iterator[Outcome]:
    """Store a batch of answers and errors together; a programming error in a thread is raised here."""
    answers: dict[dt.date, Answer] = {}
    errors: dict[dt.date, FixerError] = {}
    for date, future in answered:
        try:
            if (answer := future.result()) is not None:
                answers[date] = answer
        except FixerError as error:
            errors[date] = error
    received = [*answers.values(), *(error.answer for error in errors.values() if error.answer is not None)]
    stored = {day.date: day for day in store.record(received, run_id=run_id)}
    for date in answers:
        if date in stored:
            yield Outcome(date, stored=stored[date])
        else:
            yield Outcome(date, error=BadAnswer("every value of the day was rejected", f"{date}"))
    for date, failure in errors.items():
        yield Outcome(date, error=failure)
