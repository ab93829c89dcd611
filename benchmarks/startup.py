"""The first start: `fx-pipeline up` in an empty folder, until it serves a rate, and until its last line.

`python -m benchmarks.startup [--rounds N]`. The baseline of each round is a process that imports Dagster.
CPU is that of all processes.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.results import publish, table
from fx_pipeline_tests.ports import reserved_ports

PORTS = ("FX_API_PORT", "FX_DAGSTER_PORT", "FX_SANDBOX_PORT")
READY = "Ctrl-C stops everything."
PATIENCE = 300.0
BOUND = 6.0
"""Seconds until the first rate, on a machine with two idle processors."""
DAGSTER_SECONDS = 1.1
"""How long importing Dagster takes there."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took, in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Round:
    """One round: importing Dagster, then a start until its first rate, and until all is ready."""

    dagster: Cost
    rate: Cost
    ready: Cost


def main() -> None:
    """Measure, print, and write RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter of another checkout, to compare"
    )
    arguments = parser.parse_args()
    rounds = [measured(arguments.python) for _ in range(arguments.rounds)]
    rows = []
    for what, name in (
        ("the first rate", "rate"),
        ("the last line", "ready"),
    ):
        for figure in ("wall", "cpu"):
            seconds = statistics.median(getattr(getattr(one, name), figure) for one in rounds)
            ratio = statistics.median(
                getattr(getattr(one, name), figure) / getattr(one.dagster, figure) for one in rounds
            )
            bound = BOUND / DAGSTER_SECONDS if (name, figure) == ("rate", "wall") else None
            rows.append(
                [
                    what if figure == "wall" else "the same, CPU",
                    f"{seconds:.1f} s",
                    f"{ratio:.1f}",
                    f"≤ {bound:.1f}" if bound else "",
                    ("yes" if ratio <= bound else "**no**") if bound else "",
                ]
            )
    dagster = statistics.median(one.dagster.wall for one in rounds)
    text = table(["what", "after", "× importing Dagster", "target", "reached"], rows)
    publish(
        "Start",
        f"{text}\n\nImporting Dagster takes {dagster:.1f} s here. The target is {BOUND:.0f} s where it takes "
        f"{DAGSTER_SECONDS} s. Medians of {len(rounds)} rounds.",
    )


def measured(python: str) -> Round:
    """Measure one round."""
    dagster = _importing_dagster(python)
    with tempfile.TemporaryDirectory() as folder, reserved_ports(len(PORTS)) as ports:
        environment = {**os.environ, **{name: str(port) for name, port in zip(PORTS, ports, strict=True)}}
        for name in ("FIXER_ACCESS_KEY", "FX_DATABASE", "DAGSTER_HOME"):
            environment.pop(name, None)
        output = Path(folder) / "output"
        start = time.monotonic()
        with _started([python, "-m", "fx_pipeline", "up"], Path(folder), environment, output) as process:
            url = f"http://127.0.0.1:{ports[0]}/rates/latest"
            while not _has_rates(url):
                _check(process, start, output)
            rate = Cost(time.monotonic() - start, _cpu(process))
            while READY not in output.read_text(encoding="utf-8"):
                _check(process, start, output)
            ready = Cost(time.monotonic() - start, _cpu(process))
    print(f"{dagster} {rate} {ready}", file=sys.stderr, flush=True)
    return Round(dagster, rate, ready)


def _importing_dagster(python: str) -> Cost:
    start, before = time.monotonic(), os.times()
    subprocess.run([python, "-c", "import dagster"], check=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.monotonic() - start, cpu)


@contextmanager
def _started(
    command: list[str], folder: Path, environment: dict[str, str], output: Path
) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _has_rates(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # a server of this run
            return bool(json.load(response).get("rates"))
    except OSError:
        return False


def _check(process: subprocess.Popen[bytes], start: float, output: Path) -> None:
    """Wait a moment. Raise RuntimeError if the start failed."""
    if process.poll() is not None or time.monotonic() - start > PATIENCE:
        raise RuntimeError(f"no start:\n{output.read_text(encoding='utf-8')}")
    time.sleep(0.02)


def _cpu(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU time of all processes of a start, including those that have ended."""
    root = psutil.Process(process.pid)
    total = 0.0
    for one in [root, *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


if __name__ == "__main__":
    main()
