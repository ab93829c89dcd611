"""Dagster's storage after three years of nights with pruning, compared with the same after a month.

`python -m benchmarks.history [--nights N]`. The runs of one real night are copied from night to night. Each
night is pruned as with FX_HISTORY_DAYS=30, so both have the runs of 30 nights. It needs Chromium, which
records what the pages of the Dagster UI send. Times are of CPU, the least of some rounds.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.results import publish, table
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.proofs.dagster_pages import Queries, reading, recorded
from fx_pipeline_tests.proofs.nights import Nights
from fx_pipeline_tests.proofs.work import Work, meter
from fx_pipeline_tests.sandbox_server import running_sandbox

MONTH = 30
ROUNDS = 3
SIZES = {"files": "files", "kB": "kB", "event_logs": "rows of events", "job_ticks": "rows of ticks"}


class Figures(NamedTuple):
    """What was measured after some nights."""

    sizes: Mapping[str, int]
    work: Mapping[str, Work]
    seconds: Mapping[str, float]


def measured(nights: Nights, pages: Mapping[str, Queries]) -> Figures:
    """Measure an instance. The work is that of the first look after a night."""
    sizes = nights.size()
    with reading(nights.instance, pages) as functions:
        with meter() as counted:
            for function in functions.values():
                function()  # the first fills what Dagster remembers of partitions
            nights.add()
            work = {name: counted.of(function) for name, function in functions.items()}
        seconds = {name: _least(function) for name, function in functions.items()}
    seconds["a process that prepares the home, as `up` does"] = _least(_prepare)
    seconds["loading the code location"] = _least(lambda: _load(nights))
    return Figures(sizes, work, seconds)


def _prepare() -> None:
    subprocess.run([sys.executable, "-m", "fx_pipeline.processes.dagster_home"], check=True)


def _load(nights: Nights) -> None:
    with loaded_workspace(nights.instance):
        pass


def _least(function: Callable[[], object]) -> float:
    """Return the CPU time of a call, with that of the processes that it waits for."""
    found = []
    for _ in range(ROUNDS):
        before = _cpu_seconds()
        function()
        found.append(_cpu_seconds() - before)
    return min(found)


def _cpu_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def sizes(early: Figures, late: Figures) -> Iterable[list[str]]:
    """Return the rows of the table about the storage."""
    for key, name in SIZES.items():
        yield [name, *_compared(early.sizes[key], late.sizes[key])]


def uses(early: Figures, late: Figures) -> Iterable[list[str]]:
    """Return the rows of the table about what reads the storage."""
    for name, seconds in early.seconds.items():
        done = early.work.get(name), late.work.get(name)
        counts = (
            [
                f"{done[0].statements} → {done[1].statements}",
                *_compared(done[0].instructions, done[1].instructions),
            ]
            if done[0] and done[1]
            else [""] * 4
        )
        yield [name, *counts, *_compared(round(1000 * seconds), round(1000 * late.seconds[name]))]


def _compared(early: int, late: int) -> list[str]:
    return [f"{early:,}", f"{late:,}", f"{late / early:.2f}" if early else ""]


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=3 * 365)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        home = Path(folder) / "dagster"
        os.environ |= {"FIXER_ACCESS_KEY": "a-key", "FX_DATABASE": "fx.db", "DAGSTER_HOME": str(home)}
        with running_sandbox() as sandbox, open_instance(home) as instance:
            nights = Nights(instance, sandbox, MONTH)
            pages = None
            figures = []
            for number in (MONTH, arguments.nights):
                while nights.number < number:
                    nights.add()
                pages = pages or recorded(instance)
                figures.append(measured(nights, pages))
    points = [f"{MONTH} nights", f"{arguments.nights:,} nights", "ratio"]
    of_uses = [*(f"instructions, {point}" for point in points), *(f"CPU ms, {point}" for point in points)]
    publish(
        "History of Dagster",
        f"{table(['storage', *points], list(sizes(*figures)))}\n\n"
        f"{table(['use', 'statements', *of_uses], list(uses(*figures)))}\n\n"
        f"Each night has {nights.runs_of_a_night} runs. One event of each day stays. Instructions are those "
        f"of SQLite's virtual machine. CPU times are the least of {ROUNDS}. A page is all queries that it "
        "sends.",
    )


if __name__ == "__main__":
    main()
