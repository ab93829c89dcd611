"""The command `status`: what is stored, and whether something needs the operator."""

import json

import click
from rich.markup import escape

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.database import require_database
from fx_pipeline.commands.output import console, print_files
from fx_pipeline.settings import load_settings


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--check", is_flag=True, help="Print only what needs the operator, and exit with 1 if anything does."
)
def status(as_json: bool, check: bool) -> None:
    """Show what is stored, what is missing, how fresh it is, and what needs the operator.

    --check is for an instance that should be running: without `fx-pipeline up`, it reports that Dagster's
    daemon does not run.
    """
    from fx_pipeline.commands.dagster_state import dagster_state
    from fx_pipeline.commands.document import machine_of, status_of
    from fx_pipeline.commands.reports import status_lines

    settings = load_settings()
    require_database(settings)
    print_files(
        f"Database {settings.fx_database}, tokens {settings.tokens_database}, Dagster's home "
        f"{settings.dagster_home}."
    )
    dagster, now = dagster_state(settings.dagster_home), utc_now()
    document = status_of(settings, dagster, machine_of(settings, now), now)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif check:
        for line in document["problems"] or ["ok"]:
            console.print(escape(line))
    else:
        for line in status_lines(document):
            console.print(line)
    if check and document["problems"]:
        raise SystemExit(1)
