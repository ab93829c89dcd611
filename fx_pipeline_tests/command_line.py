"""The `fx-pipeline` command in a process of its own, with only the settings that the test gives."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fx_pipeline.settings import Settings
from fx_pipeline_tests.waiting import PATIENCE

PROGRAM = [sys.executable, "-m", "fx_pipeline"]


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of this process with these settings and no others."""
    own = {name.upper() for name in Settings.model_fields}
    return {**{name: value for name, value in os.environ.items() if name not in own}, **settings}


def start_command(
    folder: Path, *arguments: str, program: Sequence[str] = PROGRAM, **settings: str
) -> "subprocess.Popen[str]":
    """Start `fx-pipeline`, or another program, in `folder`."""
    return subprocess.Popen(
        [*program, *arguments],
        cwd=folder,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_command(
    folder: Path, *arguments: str, program: Sequence[str] = PROGRAM, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run `fx-pipeline`, or another program, in `folder` until it ends."""
    with start_command(folder, *arguments, program=program, **settings) as process:
        try:
            output, errors = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def messages(stderr: str) -> str:
    """Return what a command wrote to stderr after the line that names its files."""
    first, _, rest = stderr.partition("\n")
    return rest if first.startswith("Database /") else stderr


def problems(stderr: str) -> list[str]:
    """Return the lines of stderr that report neither files nor progress."""
    progress = re.compile(r"forecast |Fetching [0-9,]+ days|\d{4}-\d\d-\d\d back to \d{4}-\d\d-\d\d: ")
    return [line for line in messages(stderr).splitlines() if not progress.match(line)]
