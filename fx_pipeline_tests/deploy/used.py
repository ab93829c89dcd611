"""What the files in deploy/ use of the product: its commands, options and environment variables."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from fx_pipeline.commands.cli import main
from fx_pipeline.settings import PROJECT, Settings

DEPLOY = PROJECT / "deploy"

SHELLCHECK = Path(sys.executable).with_name("shellcheck")

OTHERS = {
    "AWS_ACCESS_KEY_ID",  # Litestream, like the next two
    "AWS_REGION",
    "AWS_SECRET_ACCESS_KEY",
    "DAGSTER_DAEMON_HEARTBEAT_TOLERANCE",  # `dagster-daemon liveness-check`
    "DAGSTER_PG_PASSWORD",  # Dagster's Helm chart
    "HOME",
    "OTEL_EXPORTER_OTLP_HEADERS",  # OpenTelemetry
    "PYTHONUNBUFFERED",
}
"""Variables that fx-pipeline itself does not read."""


def check_command(arguments: Sequence[str]) -> None:
    """Raise ClickException if `fx-pipeline ARGUMENTS` names a command or an option that does not exist."""
    name, *options = arguments
    # With the settings of `main`: click remembers the option for help of the first context of a command.
    parent = click.Context(main, **main.context_settings)
    command = main.get_command(parent, name)
    assert command is not None, f"no command {name}"
    command.make_context(name, list(options), parent)


def check_variables(names: Iterable[str]) -> None:
    """Fail for a variable that is neither a setting nor one of the others."""
    known = {name.upper() for name in Settings.model_fields} | OTHERS
    assert set(names) <= known


def named(folder: Path) -> list[str]:
    """Return the names of all files in a folder, also in its subfolders."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
