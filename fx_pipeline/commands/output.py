"""Where the commands print: results to standard output, everything else to standard error."""

import logging

from rich.console import Console

from fx_pipeline.logs import say
from fx_pipeline.sqlite import unsound

console = Console(highlight=False, soft_wrap=True)
errors = Console(highlight=False, soft_wrap=True, stderr=True)


def print_files(line: str) -> None:
    """Print the files that a command uses to standard error: programs may read its standard output."""
    say(line)


def warn_about_sqlite() -> None:
    """Print a line if this process's SQLite can corrupt the database."""
    if reason := unsound():
        say(reason, logging.WARNING)
