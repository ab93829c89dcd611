"""The command `check`: whether the stored data is sound."""

import click

from fx_pipeline.commands.database import require_database
from fx_pipeline.commands.output import print_files
from fx_pipeline.settings import load_settings


@click.command()
@click.option("--full", is_flag=True, help="Also compare each index with its table.")
def check(full: bool) -> None:
    """Check that the database and the tokens are sound, while everything runs.

    This reads every page, and compares the rates with the stored responses. Each finding is one line with
    its remedy. If there is any, the exit code is 1.
    """
    from fx_pipeline.quality.integrity import inspect, token_findings

    settings = load_settings()
    require_database(settings)
    print_files(f"Database {settings.fx_database}, tokens {settings.tokens_database}.")
    inspection = inspect(settings.fx_database, full=full)
    found = [*inspection.findings, *token_findings(settings.tokens_database, settings.fx_database)]
    for line in found or [f"Sound: {inspection.checked}."]:
        click.echo(line)
    if found:
        raise SystemExit(1)
