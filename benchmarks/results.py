"""The results of a run: printed, and written to RESULTS.md, each benchmark under its own heading."""

import datetime as dt
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from fx_pipeline.sqlite import sqlite3

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("datasette", "dagster", "sqlite-utils", "pandas", "uvicorn")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def yes(reached: bool) -> str:
    """Return the word for a table: whether a target was reached."""
    return "yes" if reached else "**no**"


def machine() -> str:
    """Return the date, the machine and the versions, on one line."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}, {os.cpu_count()} × {processor}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {versions}"
    )


def publish(heading: str, text: str) -> None:
    """Print a section, and write it to RESULTS.md in place of the section with the same heading."""
    section = f"## {heading}\n\n{machine()}\n\n{text.strip()}\n"
    print(section, flush=True)
    old = RESULTS.read_text() if RESULTS.exists() else "# Results\n\nWritten by `make bench`.\n"
    head, *sections = old.split("\n## ")
    others = [part for part in sections if part.partition("\n")[0] != heading]
    parts = sorted([*(f"## {part.strip()}\n" for part in others), section])
    RESULTS.write_text("\n".join([head.strip() + "\n", *parts]))
