"""The command `export`."""

from pathlib import Path

import click

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.database import require_database
from fx_pipeline.commands.output import console, print_files
from fx_pipeline.rates import counted
from fx_pipeline.settings import load_settings


@click.command()
@click.option(
    "--static",
    "folder",
    required=True,
    type=click.Path(file_okay=False, resolve_path=True, path_type=Path),
    help="The folder to write to: a new one, or that of an earlier export.",
)
def export(folder: Path) -> None:
    """Write the API's responses as files, for a CDN: days, latest, currencies, histories.

    A later export writes only what changed since. The files are readable without a token.
    """
    settings = load_settings()
    require_database(settings)
    print_files(f"Database {settings.fx_database}, export {folder}.")

    from fx_pipeline.export.folder import ExportError, Folder
    from fx_pipeline.export.static import export as run

    try:
        done = run(settings, Folder(folder), utc_now())
    except ExportError as error:
        raise click.ClickException(str(error)) from None
    removed = f", {done.removed:,} removed" if done.removed else ""
    console.print(f"{counted(done.days, 'day')}: {counted(done.written, 'file')} written{removed}.")
