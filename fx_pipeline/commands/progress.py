"""The progress of an ingest, on standard error: a bar on a terminal, plain lines elsewhere."""

import datetime as dt
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID

from fx_pipeline.clock import utc_now
from fx_pipeline.rates import counted
from fx_pipeline.store.store import RateStore

if TYPE_CHECKING:
    from fx_pipeline.commands.runs import RunReport

MIN_DAYS_FOR_PROGRESS = 20
"""Fewer days are fetched within seconds, without a report of progress."""

INTERVAL = 0.5
"""Seconds between two counts of the stored days."""


@contextmanager
def shown_progress(
    console: Console, database: Path, dates: Collection[dt.date], *, lines: bool
) -> Iterator[Callable[["RunReport"], None]]:
    """Show how many of these dates are stored while the block runs. Yield a callback for reports of runs.

    Without a terminal, show progress only if `lines`.
    """
    if len(dates) < MIN_DAYS_FOR_PROGRESS or not (console.is_terminal or lines):
        yield lambda _: None
    elif console.is_terminal:
        with _bar(console, database, len(dates)):
            yield lambda _: None
    else:
        yield _printed_lines(console, dates)


@contextmanager
def _bar(console: Console, database: Path, total: int) -> Iterator[None]:
    since = utc_now()
    done = Event()

    def follow(bar: Progress, task: TaskID) -> None:
        with RateStore(database) as store:
            while not done.wait(INTERVAL):
                bar.update(task, completed=store.days_fetched_since(since))

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        follower = Thread(target=follow, args=(bar, bar.add_task("Fetching days", total=total)))
        follower.start()
        try:
            yield
        finally:
            done.set()
            follower.join()


def _printed_lines(console: Console, dates: Collection[dt.date]) -> Callable[["RunReport"], None]:
    """Print the days to fetch. Return a callback that prints a line for each run that has ended."""
    total, stored = len(dates), 0
    console.print(f"Fetching {counted(total, 'day')}, newest first: {max(dates)} back to {min(dates)}.")

    def run_ended(report: "RunReport") -> None:
        nonlocal stored
        stored += len(report.stored)
        newest, oldest = report.dates[0], report.dates[-1]
        console.print(
            f"{newest} back to {oldest}: {len(report.stored)} stored; {stored:,} of {counted(total, 'day')}."
        )

    return run_ended
