"""The command as a person runs it: a process of its own, in a folder, with no settings but those given."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fx_pipeline.settings import Settings

PROGRAM = [sys.executable, "-m", "fx_pipeline"]


def environment(**settings: str) -> dict[str, str]:
    """The environment of this process, without its settings, and with those given."""
    own = {name.upper() for name in Settings.model_fields}
    return {**{name: value for name, value in os.environ.items() if name not in own}, **settings}


def run_command(
    folder: Path, *arguments: str, program: Sequence[str] = PROGRAM, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run `fx-pipeline`, or what stands in its place, in `folder` to its end."""
    return subprocess.run(
        [*program, *arguments],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def messages(stderr: str) -> str:
    """Return what a command wrote to standard error after the line that names the files it works on."""
    first, _, rest = stderr.partition("\n")
    return rest if first.startswith("Database /") else stderr


def problems(stderr: str) -> list[str]:
    """Return the lines of standard error that are neither about files nor about progress."""
    progress = re.compile(r"Fetching [0-9,]+ days|\d{4}-\d\d-\d\d back to \d{4}-\d\d-\d\d: ")
    return [line for line in messages(stderr).splitlines() if not progress.match(line)]
