"""The speed of the static export: `python -m benchmarks.export [--rounds N]`.

Exports 27 years of 170 currencies into an empty folder, and again after changes. The seconds are the export's
own: the start of a process and its imports come on top.
"""

import argparse
import datetime as dt
import random
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks import databases
from benchmarks.results import publish, table
from fx_pipeline.clock import end_of_day, utc_now
from fx_pipeline.export.folder import Folder
from fx_pipeline.export.static import export
from fx_pipeline.rates import DayRates
from fx_pipeline.settings import Settings
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fetches import fetch_of

YEARS = 27
OLD = dt.date(2010, 3, 4)
NEW = databases.LAST + dt.timedelta(days=1)

TARGETS = {"all files": 30.0, "one value of a day revised": 0.2, "all values of a day revised": 0.2}


def measure(database: Path, folder: Path) -> dict[str, tuple[float, float, int]]:
    """Return the seconds, the CPU seconds and the files written by each export."""
    site, found = folder / "site", {}

    def run(name: str) -> None:
        seconds, cpu, target = time.perf_counter(), time.process_time(), Folder(site)
        export(Settings(fx_database=database), target, utc_now())
        found[name] = time.perf_counter() - seconds, time.process_time() - cpu, target.written

    with RateStore(database) as store:

        def record(date: dt.date, rates: Mapping[str, float]) -> None:
            day = DayRates(date=date, base="EUR", timestamp=end_of_day(date), rates=rates)
            store.record([fetch_of(day)])

        def everything() -> dict[str, float]:
            return {code: 1 + random.random() for code in databases.CODES if code != "EUR"}  # noqa: S311

        run("all files")
        run("nothing new")
        record(OLD, {"USD": 2.5})
        run("one value of a day revised")
        record(OLD, everything())
        run("all values of a day revised")
        record(NEW, everything())
        run("a new day")
    return found


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fx-pipeline-benchmarks")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    built = databases.build(arguments.folder / f"{YEARS}.db", YEARS)
    rounds = []
    for _ in range(arguments.rounds):
        with TemporaryDirectory() as folder:
            rounds.append(measure(Path(shutil.copy(built, folder)), Path(folder)))
    rows = []
    for name in rounds[0]:
        seconds, cpu, files = (median(one[name][place] for one in rounds) for place in range(3))
        target = TARGETS.get(name)
        reached = "" if target is None else "yes" if seconds <= target else "**no**"
        bound = "" if target is None else f"≤ {target:g} s"
        rows.append([name, f"{seconds:.2f}", f"{cpu:.2f}", f"{files:,.0f}", bound, reached])
    columns = ["export", "seconds", "CPU seconds", "files written", "target", "reached"]
    text = f"{YEARS} years × {len(databases.CODES)} currencies. Medians of {len(rounds)} rounds."
    publish("Static export", f"{text}\n\n{table(columns, rows)}")


if __name__ == "__main__":
    main()
