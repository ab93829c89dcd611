"""The API's speed, compared with bare uvicorn and with a Flask application that does the same job.

`python -m benchmarks.api [--rounds N] [--seconds S]`. All servers have one worker and run side by side. Each
round measures them one after another, so other load on the machine affects all of them. Figures are medians.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import databases, servers
from benchmarks.load import Load, drive, visit
from benchmarks.results import publish, table, yes
from benchmarks.servers import Server
from fx_pipeline.processes.up import NICE

BARE_MS = 0.046
"""Milliseconds per request of bare uvicorn on the machine for which the bounds were set."""

DATE = "/rates/2026-01-02/"
YEAR = "/rates/timeseries?start_date=2025-01-01&end_date=2025-12-31&symbols=USD,GBP,JPY"
HISTORY = "/rates/timeseries?start_date=1999-11-01&end_date=2026-10-30&symbols=USD"


COLUMNS = (
    "what",
    "requests/s",
    "CPU ms",
    "× bare",
    "p50 ms",
    "p99 ms",
    "share of bare",
    "target",
    "reached",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One request to one server, and the results of the rounds."""

    name: str
    server: Server
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        """Run one round."""
        before = self.server.cpu_seconds()
        load = drive(self.server.url + self.path, seconds, self.headers)
        self.loads.append(load)
        self.cpu.append((self.server.cpu_seconds() - before) * 1e3 / load.requests)

    @property
    def per_second(self) -> float:
        """The median of requests per second."""
        return statistics.median(load.per_second for load in self.loads)

    @property
    def cpu_ms(self) -> float:
        """The median CPU time of the server per request, in ms."""
        return statistics.median(self.cpu)

    def row(self, bare: "Measured | None", reach: str, reached: str) -> list[str]:
        """Return the row for the table."""
        share = f"{self.per_second / bare.per_second:.2f}" if bare else ""
        return [
            self.name,
            f"{self.per_second:,.0f}",
            f"{self.cpu_ms:.3f}",
            f"{self.cpu_ms / bare.cpu_ms:.1f}" if bare else "",
            f"{statistics.median(load.p50 for load in self.loads):.2f}",
            f"{statistics.median(load.p99 for load in self.loads):.2f}",
            share,
            reach,
            reached,
        ]


def fetch(url: str) -> bytes:
    """Return the body at a URL of this run."""
    with urllib.request.urlopen(url) as response:  # noqa: S310  # a server of this run
        body: bytes = response.read()
        return body


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fx-pipeline-benchmarks")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    files = {years: databases.build(arguments.folder / f"{years}.db", years) for years in (1, 27, 100)}
    with ExitStack() as stack:
        requests(stack, files, arguments)
        growth(stack, files, arguments)
    with ExitStack() as stack:
        readers(stack, arguments)


def requests(stack: ExitStack, files: Mapping[int, Path], arguments: argparse.Namespace) -> None:
    """Compare warm and cold responses, from 27 years of 170 currencies, with bare uvicorn and the peer."""
    warm = stack.enter_context(servers.api(files[27], 32))
    cold = stack.enter_context(servers.api(files[27], 0))
    flask = stack.enter_context(servers.peer(files[27]))
    bares = {}
    for name, path in (("date", DATE), ("year", YEAR)):
        body = arguments.folder / f"{name}.json"
        body.write_bytes(fetch(warm.url + path))
        bares[name] = stack.enter_context(servers.bare(body))
    tag = urllib.request.urlopen(warm.url + DATE).headers["ETag"]  # noqa: S310
    base = Measured("bare uvicorn, the bytes of a date", bares["date"], "/")
    year = Measured("bare uvicorn, the bytes of the year", bares["year"], "/")
    peer = Measured("peer (Flask, SQLAlchemy, gunicorn), a date", flask, DATE)
    warm_date = Measured("a date of 170 currencies, warm", warm, DATE)
    not_modified = Measured("the same, 304", warm, DATE, {"If-None-Match": tag})
    cold_date = Measured("a date, cold", cold, DATE)
    cold_base = Measured("a date in USD, cold", cold, DATE + "?base=USD")
    cold_year = Measured("a year of 3 currencies, cold", cold, YEAR)
    warm_year = Measured("a year of 3 currencies, warm", warm, YEAR)
    history = Measured("27 years of 1 currency, cold", cold, HISTORY)
    measured = [
        base,
        year,
        peer,
        warm_date,
        not_modified,
        cold_date,
        cold_base,
        cold_year,
        warm_year,
        history,
    ]
    rounds(measured, arguments)
    rows = [
        base.row(None, "", ""),
        year.row(None, "", ""),
        peer.row(base, "", ""),
        warm_date.row(base, "share ≥ 0.70", yes(warm_date.per_second >= 0.70 * base.per_second)),
        not_modified.row(base, "share ≥ 0.75", yes(not_modified.per_second >= 0.75 * base.per_second)),
        cold_date.row(
            base,
            f"≤ 0.8 ms; ≥ 2.5 × peer ({cold_date.per_second / peer.per_second:.1f})",
            yes(cold_date.cpu_ms <= 0.8 and cold_date.per_second >= 2.5 * peer.per_second),
        ),
        cold_base.row(base, "≤ 1.1 ms", yes(cold_base.cpu_ms <= 1.1)),
        cold_year.row(year, "≤ 2.5 ms", yes(cold_year.cpu_ms <= 2.5)),
        warm_year.row(year, "share ≥ 0.5", yes(warm_year.per_second >= 0.5 * year.per_second)),
        history.row(base, "≤ 12 ms", yes(history.cpu_ms <= 12)),
    ]
    fill(warm, files[27])
    memory = warm.memory() / 2**20
    pace = (
        f"The bounds in ms are for a machine on which bare uvicorn takes {BARE_MS} ms per request; "
        f"here it takes {base.cpu_ms:.3f} ms."
    )
    text = f"A worker with a full cache of 32 MB uses {memory:.0f} MB (target: 110; {yes(memory <= 110)})."
    publish("API: requests", f"{table(COLUMNS, rows)}\n\n{pace}\n\n{text}")


def growth(stack: ExitStack, files: Mapping[int, Path], arguments: argparse.Namespace) -> None:
    """Make the same requests at 1 and 100 years of data: cost must not grow with the data."""
    small, large = (stack.enter_context(servers.api(files[years], 0)) for years in (1, 100))
    paths = {
        "a date, cold": DATE,
        "a date in USD, cold": DATE + "?base=USD",
        "latest, cold": "/rates/latest",
        "90 days of 3 currencies, cold": "/rates/2026-01-01..2026-03-31/?symbols=USD,GBP,JPY",
        "a date as of an earlier evening, cold": DATE + "?as_of=2026-11-01",
        "no such day (404)": "/rates/2026-11-20/",
    }
    pairs = [(Measured(name, small, path), Measured(name, large, path)) for name, path in paths.items()]
    rounds([one for pair in pairs for one in pair], arguments)
    rows = [
        [
            one.name,
            f"{one.cpu_ms:.3f}",
            f"{other.cpu_ms:.3f}",
            f"{other.cpu_ms / one.cpu_ms:.2f}",
            yes(other.cpu_ms <= 1.1 * one.cpu_ms),
        ]
        for one, other in pairs
    ]
    columns = ["what", "CPU ms, 1 year", "CPU ms, 100 years", "ratio (target: 1.1)", "reached"]
    publish("API: growth", table(columns, rows))


def readers(stack: ExitStack, arguments: argparse.Namespace) -> None:
    """Measure readers with and without a backfill that writes: saturating ones, and one that pauses."""
    path = databases.build(arguments.folder / f"readers-{id(arguments)}.db", 1)
    server = stack.enter_context(servers.api(path, 32))
    seconds = 60 if arguments.rounds >= 5 else 5
    rows = []
    for name, load in (("both processors busy", drive), ("one visitor, pausing 2 ms", visit)):
        quiet = load(server.url + DATE, seconds)
        # At the low priority that `up` gives a backfill.
        command = [*NICE, sys.executable, "-m", "benchmarks.writer", str(path), str(seconds + 2)]
        with subprocess.Popen(command) as writer:
            busy = load(server.url + DATE, seconds)
            writer.wait()
        for when, measured in ((name, quiet), ("the same, while a backfill writes", busy)):
            ratio = measured.p99 / quiet.p99
            reached = yes(ratio <= 3 and not measured.errors) if measured is busy else ""
            figures = [
                f"{measured.per_second:,.0f}",
                str(measured.errors),
                f"{measured.p50:.2f}",
                f"{measured.p99:.2f}",
            ]
            rows.append([when, *figures, f"{ratio:.1f}" if measured is busy else "", reached])
    path.unlink()
    columns = [
        "",
        "requests/s",
        "errors",
        "p50 ms",
        "p99 ms",
        "ratio to the quiet p99 (target: 3)",
        "reached",
    ]
    publish("API: readers", table(columns, rows))


def rounds(measured: list[Measured], arguments: argparse.Namespace) -> None:
    """Measure each of them once per round."""
    for one in measured:
        drive(one.server.url + one.path, 1, one.headers)
    for _ in range(arguments.rounds):
        for one in measured:
            one.measure(arguments.seconds)


def fill(server: Server, path: Path) -> None:
    """Request more than the cache holds."""
    for day in range(1, 29):
        for month in range(1, 13):
            for year in range(2000, 2026, 2):
                fetch(f"{server.url}/rates/{year}-{month:02}-{day:02}/?base=USD")


if __name__ == "__main__":
    main()
