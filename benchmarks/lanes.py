"""The effect of long requests on others: health checks and pages, while four clients request 27 years.

`python -m benchmarks.lanes [--rounds N] [--seconds S]`. One worker without a cache. Each round measures every
path without the four clients and then with them, so that other load on the machine falls on both.
"""

import argparse
import http.client
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import databases, servers
from benchmarks.api import DATE, HISTORY
from benchmarks.load import Load, visit
from benchmarks.results import publish, table, yes

CLIENTS = 4
PATHS = {"health": "/-/health", "the page /": "/", "the page of a currency": "/currency/USD/", "a date": DATE}

BOUNDS = {
    "health": "p99 ≤ 50 ms",
    "the page /": "ratio ≤ 2",
    "the page of a currency": "ratio ≤ 2",
    "a date": "",
}
"""The targets; those in ms are for an otherwise idle machine."""


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fx-pipeline-benchmarks")
    arguments = parser.parse_args()
    arguments.folder.mkdir(exist_ok=True)
    database = databases.build(arguments.folder / "27.db", 27)
    idle: dict[str, list[Load]] = {name: [] for name in PATHS}
    loaded: dict[str, list[Load]] = {name: [] for name in PATHS}
    with servers.api(database, 0) as server:
        for _ in range(arguments.rounds):
            for name, path in PATHS.items():
                idle[name].append(visit(server.url + path, arguments.seconds))
                with four_clients(server.url):
                    loaded[name].append(visit(server.url + path, arguments.seconds))
    rows = []
    for name in PATHS:
        quiet, busy = p99(idle[name]), p99(loaded[name])
        bound, reached = BOUNDS[name], ""
        if bound:
            reached = yes(busy <= 50 if name == "health" else busy <= 2 * quiet)
        rows.append(
            [
                name,
                *(f"{p50(loads[name]):.1f}" for loads in (idle, loaded)),
                *(f"{value:.1f}" for value in (quiet, busy)),
                f"{busy / quiet:.1f}",
                bound,
                reached,
            ]
        )
    columns = ["what", "p50 ms", "with the four", "p99 ms", "with the four", "ratio", "target", "reached"]
    publish("API: four clients that request 27 years at a time", table(columns, rows))


def p50(loads: list[Load]) -> float:
    """Return the median of the rounds."""
    return statistics.median(load.p50 for load in loads)


def p99(loads: list[Load]) -> float:
    """Return the median of the rounds' 99th percentiles."""
    return statistics.median(load.p99 for load in loads)


@contextmanager
def four_clients(url: str) -> Iterator[None]:
    """Run the four clients in a process of their own."""
    command = [sys.executable, "-m", "benchmarks.lanes", "--request", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            for _ in process.stdout or ():
                break  # all four have had a response
            yield
        finally:
            process.terminate()


def request_forever(url: str) -> None:
    """Be the four clients: one currency after another, plain, in another base, and as of an instant."""
    begun = threading.Barrier(CLIENTS + 1)
    address = urlsplit(url)

    def request(number: int) -> None:
        connection = http.client.HTTPConnection(address.hostname or "", address.port)
        variants = ("", "&base=GBP", "&as_of=2026-11-01")
        for place, code in enumerate(itertools.cycle(databases.CODES[number::CLIENTS])):
            path = HISTORY.replace("USD", code) + variants[place % len(variants)]
            connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                sys.exit(f"{path}: {response.status}")
            if place == 0:
                begun.wait()

    for number in range(CLIENTS):
        threading.Thread(target=request, args=(number,), daemon=True).start()
    begun.wait()
    print("requesting", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--request"]:
        request_forever(sys.argv[2])
    else:
        main()
