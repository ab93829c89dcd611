"""The CPU time of a cached response, with the outer layers of this checkout and with those of another one.

`python -m benchmarks.compare OTHER_CHECKOUT [--rounds N]`. The other layers (twice) and ours are called in
one process, without sockets, and rounds alternate between them: two processes of the same program differ by
up to 10 % for their whole life. The two equal ones show how precise the result is. The share is that of the
CPU time that a server with one worker takes for the same response.
"""

import argparse
import asyncio
import importlib.util
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from starlette.types import ASGIApp, Message

from benchmarks import databases, servers
from benchmarks.api import DATE, Measured
from benchmarks.load import drive
from benchmarks.results import table
from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.middleware import stack
from fx_pipeline.settings import Settings

CALLS = 5_000
"""Calls in a round."""
MIDDLEWARE = Path("fx_pipeline/api/middleware")
LAYERS = {"cache": "ResponseCache", "counted": "Counted", "edge": "Edge", "normalise": "Normalise"}
"""The layers that a cached response passes, and those that must fit to them, by module."""
SCOPE = {
    "type": "http",
    "method": "GET",
    "path": DATE,
    "raw_path": DATE.encode(),
    "query_string": b"",
    "headers": [(b"host", b"127.0.0.1"), (b"accept", b"*/*")],
    "scheme": "http",
    "server": ("127.0.0.1", 8001),
    "client": ("127.0.0.1", 50000),
}


def applications(other: Path, database: Path) -> dict[str, ASGIApp]:
    """Return the applications. All are in front of the same Datasette."""
    datasette = FxDatasette(Settings(fx_database=database))
    found = {}
    for name in ("other", "other again"):
        layers = _loaded(f"{name} stack", other / MIDDLEWARE / "stack.py")
        for module, layer in LAYERS.items():
            file = other / MIDDLEWARE / f"{module}.py"
            if file.exists():  # not in every commit
                vars(layers)[layer] = vars(_loaded(f"{name} {module}", file))[layer]
        found[name] = layers.application(datasette)
    return {**found, "this": stack.application(datasette)}


def _loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} cannot be loaded.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def measure(apps: dict[str, ASGIApp], rounds: int) -> dict[str, list[float]]:
    """Return the CPU time of a call in each round, in µs."""

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        pass

    found: dict[str, list[float]] = {name: [] for name in apps}
    for number in range(rounds + 1):
        for place in range(len(apps)):
            name = list(apps)[(number + place) % len(apps)]
            started = time.process_time()
            for _ in range(CALLS):
                await apps[name](SCOPE, receive, send)
            found[name].append((time.process_time() - started) / CALLS * 1e6)
    return {name: cpu[1:] for name, cpu in found.items()}  # the first fills the cache


def whole(database: Path) -> float:
    """Return the CPU time of a whole server for the response, in µs: the least, as on an idle machine."""
    with servers.api(database, 32) as server:
        measured = Measured("", server, DATE)
        drive(server.url + DATE, 1)
        for _ in range(9):
            measured.measure(1)
    return min(measured.cpu) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    arguments = parser.parse_args()
    folder = Path(tempfile.gettempdir()) / "fx-pipeline-benchmarks"
    folder.mkdir(exist_ok=True)
    database = databases.build(folder / "1.db", 1)
    found = asyncio.run(measure(applications(arguments.other, database), arguments.rounds))
    server = whole(database)
    rows = []
    for name, cpu in found.items():
        more = statistics.median(mine - its for mine, its in zip(cpu, found["other"], strict=True))
        rows.append(
            [name, f"{statistics.median(cpu):.2f}", f"{more:+.2f}", f"{server:.1f}", f"{more / server:+.1%}"]
        )
    columns = ["cache", "CPU µs of a call", "more than other", "whole server", "share"]
    print(table(columns, rows), flush=True)
    os._exit(0)  # Datasette's threads do not end


if __name__ == "__main__":
    main()
