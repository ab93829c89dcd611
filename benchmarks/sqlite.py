"""The SQLite of fx-pipeline compared with Python's own: `python -m benchmarks.sqlite [--rounds N]`.

Each figure is the CPU time of one process. Each round measures both, one after the other. A module pysqlite3
that cannot be imported makes the second process use Python's own.
"""

import argparse
import datetime as dt
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import databases
from benchmarks.results import publish, table
from fx_pipeline.api.datasette import CONFIG
from fx_pipeline.api.reading.files import open_file
from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.api.reading.queries import DATABASE
from fx_pipeline.clock import end_of_day
from fx_pipeline.rates import DayRates
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of

YEARS = 27
DAYS = 1000
CODES = databases.CODES[::4]
STORED = 320
BATCH = 16
"""Days stored in one transaction."""


def measure(database: Path) -> dict[str, float | str]:
    """Return the seconds of CPU that each piece of work takes in this process, and the version of SQLite."""
    queries = read_metadata(CONFIG / "metadata.yaml")["databases"][DATABASE]["queries"]
    chosen = random.Random(1)  # noqa: S311
    connection, _ = open_file(database)
    figures: dict[str, float | str] = {"version": sqlite3.sqlite_version}
    with closing(connection), TemporaryDirectory() as folder:

        def read(name: str, **parameters: str) -> list[Any]:
            return connection.execute(queries[name]["sql"], {**parameters, "as_of": ""}).fetchall()

        def days() -> None:
            for _ in range(DAYS):
                back = chosen.randrange(YEARS * 365)
                read("rates_by_date", date=str(databases.LAST - dt.timedelta(days=back)))

        def histories() -> None:
            for code in CODES:
                read("rate_history", symbols=code, start_date="", end_date="")

        def year() -> None:
            read("rates_by_range", start_date="2025-01-01", end_date="2025-12-31")

        def write() -> None:
            store(Path(folder) / "fx.db")

        for name, work in (
            (f"{DAYS:,} days", days),
            (f"{len(CODES)} currencies, {YEARS} years each", histories),
            ("all rates of a year", year),
            (f"store {STORED} days, {BATCH} in a transaction", write),
        ):
            started = time.process_time()
            work()
            figures[name] = time.process_time() - started
    return figures


def store(path: Path) -> None:
    """Store days in batches, as an ingest does."""
    values = {code: round(1.1 + index / 7, 6) for index, code in enumerate(databases.CODES)}
    body = json.dumps(values).encode()
    dates = [databases.LAST - dt.timedelta(days=back) for back in range(STORED)][::-1]
    fetches = [
        fetch_of(DayRates(date=date, base="EUR", timestamp=end_of_day(date), rates=values), body=body)
        for date in dates
    ]
    with RateStore(path) as rates:
        for start in range(0, STORED, BATCH):
            rates.record(fetches[start : start + BATCH])


def in_process(database: Path, packages: str) -> dict[str, Any]:
    """Measure in a new process, which looks for packages there first."""
    command = [sys.executable, "-m", "benchmarks.sqlite", "--database", str(database)]
    environment = {**os.environ, "PYTHONPATH": packages}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measure and publish the table; with --database, measure in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fx-pipeline-benchmarks")
    parser.add_argument("--database", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.database:
        print(json.dumps(measure(arguments.database)))
        return
    arguments.folder.mkdir(exist_ok=True)
    database = databases.build(arguments.folder / f"{YEARS}.db", YEARS)
    with TemporaryDirectory() as without:
        (Path(without) / "pysqlite3.py").write_text("raise ImportError")
        rounds = [(in_process(database, ""), in_process(database, without)) for _ in range(arguments.rounds)]
    (ours, own), *_ = rounds
    rows = [
        [
            name,
            *(f"{median(pair[side][name] for pair in rounds) * 1000:,.0f}" for side in (0, 1)),
            f"{median(one[name] / other[name] for one, other in rounds):.2f}",
        ]
        for name in ours
        if name != "version"
    ]
    columns = ["what", f"SQLite {ours['version']}, CPU ms", f"Python's own {own['version']}, CPU ms", "ratio"]
    text = f"{len(rounds)} rounds, medians. Lower is better.\n\n{table(columns, rows)}"
    publish("SQLite: the version that fx-pipeline uses, and Python's own", text)


if __name__ == "__main__":
    main()
