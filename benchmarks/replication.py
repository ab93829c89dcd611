"""The cost of replication and the lag of a reader: `python -m benchmarks.replication [--rounds N]`.

The replica is in an S3 server on this machine, rclone, whose own work is not counted.
"""

import argparse
import datetime as dt
import resource
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory

from benchmarks.ingest import CURRENCIES, sandbox
from benchmarks.results import publish, table, yes
from benchmarks.sites import PROGRAM, Machine, cpu_seconds
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fixer_days import day_of
from fx_pipeline_tests.object_store import ObjectStore, running_store
from fx_pipeline_tests.proofs.numbered_writer import CODES, FIXED
from fx_pipeline_tests.waiting import wait_for

FIRST, LAST = dt.date(2018, 1, 1), dt.date(2022, 12, 31)


def cost(store: ObjectStore, folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Return the CPU seconds of an `ingest`, and those of the `replicate` that runs next to it, by round."""
    found = []
    with sandbox() as provider:
        for number in range(rounds):
            machine = Machine(store, f"cost-{number}", folder / f"cost-{number}" / "fx.db")
            machine.database.parent.mkdir()
            environment = machine.environment | {
                "FIXER_BASE_URL": provider,
                "FIXER_ACCESS_KEY": "benchmark",
                "DAGSTER_HOME": str(folder / f"dagster-{number}"),
            }

            def ingest(first: dt.date, last: dt.date, environment: dict[str, str] = environment) -> float:
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [*PROGRAM, "ingest", "--from", str(first), "--to", str(last)]
                subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

            ingest(LAST, LAST)
            with machine.running("replicate") as replicate:
                machine.wait_until_replicated()
                before = cpu_seconds(replicate)
                used = ingest(FIRST, LAST - dt.timedelta(days=1))
                machine.wait_until_replicated()
                found.append((used, cpu_seconds(replicate) - before))
            print(f"ingest {found[-1][0]:.1f} s, replicate {found[-1][1]:.2f} s", file=sys.stderr)
    return found


def lags(store: ObjectStore, folder: Path, commits: int) -> list[float]:
    """Return the seconds from each commit to its visibility in an open connection on a reader."""
    writer, reader = (Machine(store, "lag", folder / name / "fx.db") for name in ("writer", "reader"))
    writer.database.parent.mkdir()
    found = []
    with RateStore(writer.database) as rates, writer.running("replicate"):

        def commit(number: int) -> float:
            values = dict.fromkeys(CODES, float(number))
            rates.record([day_of(day, values) for day in (FIXED, FIXED + dt.timedelta(days=number))])
            return time.perf_counter()

        commit(1)
        with reader.running("replica"):
            wait_for(reader.database.exists)
            with closing(sqlite3.connect(f"file:{reader.database}?mode=ro", uri=True)) as served:

                def newest() -> int:
                    query = "SELECT max(rate) FROM rates WHERE date = ?"
                    return int(served.execute(query, [str(FIXED)]).fetchone()[0])

                wait_for(newest)
                for number in range(2, commits + 2):
                    began = time.perf_counter()
                    at = commit(number)
                    wait_for(newest, float(number).__le__, pause=0.005)
                    found.append(time.perf_counter() - at)
                    # A pause that differs each time, so that the looks of all processes do not keep step.
                    time.sleep(max(0.0, 1.0 + number % 10 / 10 - (time.perf_counter() - began)))
    return found


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commits", type=int, default=60)
    options = parser.parse_args()
    with TemporaryDirectory() as folder, running_store(Path(folder) / "store") as store:
        seconds = sorted(lags(store, Path(folder), options.commits))
        costs = cost(store, Path(folder), options.rounds)
    middle, late = median(seconds), quantiles(seconds, n=100)[98]
    share = median(replicate / ingest for ingest, replicate in costs)
    ingested, replicated = (median(pair[place] for pair in costs) for place in (0, 1))
    rows = [
        ["commit to visible on a reader, median", f"{middle:.2f} s", "≤ 1 s", yes(middle <= 1)],
        ["the same, 99 of 100", f"{late:.2f} s", "≤ 2 s", yes(late <= 2)],
        [
            f"CPU of `replicate` ({replicated:.2f} s) during an `ingest` ({ingested:.1f} s)",
            f"{share:.1%}",
            "≤ 3 %",
            yes(share <= 0.03),
        ],
    ]
    text = (
        f"{len(seconds)} commits, one in about a second. Rounds with an `ingest` of "
        f"{(LAST - FIRST).days:,} dates × {CURRENCIES} currencies: {len(costs)}. Medians. The replica is in "
        "an S3 server on the same machine."
    )
    publish("Replication", f"{text}\n\n{table(['what', 'here', 'target', 'reached'], rows)}")


if __name__ == "__main__":
    main()
