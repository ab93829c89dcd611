"""The command `rebuild`, and what other commands need of the database."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import Progress

from fx_pipeline.commands.output import console, print_files
from fx_pipeline.fetch import Fetch
from fx_pipeline.rates import counted
from fx_pipeline.settings import Settings, SettingsError, load_settings
from fx_pipeline.sqlite import sqlite3

if TYPE_CHECKING:
    from fx_pipeline.store.ledger import Ledger, Quota


@click.command()
def rebuild() -> None:
    """Rebuild the rates from the stored responses, without calling Fixer.

    If the clock was ahead, fetches dated in the future are moved to just before now. An interrupt loses
    nothing, because the tables are replaced in one transaction.
    """
    from fx_pipeline.fixer.errors import FixerError
    from fx_pipeline.fixer.parsing import parse_stored
    from fx_pipeline.store.store import RateStore

    refused: list[Fetch] = []

    def parse(fetch: Fetch) -> Fetch:
        fetch = parse_stored(fetch)
        if fetch.status != "ok":
            refused.append(fetch)
        return fetch

    settings = load_settings()
    require_database(settings)
    print_files(f"Database {settings.fx_database}.")
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with RateStore(settings.fx_database) as store, bar as progress:
        ahead = store.ahead()
        task = progress.add_task("Reading responses", total=store.coverage().fetches)
        try:
            count = store.rebuild(parse, lambda done: progress.update(task, completed=done))
        except FixerError as error:
            raise click.ClickException(f"Nothing was changed. {error}") from None
    console.print(f"The rates were rebuilt from {counted(count - len(refused), 'response')}.")
    if ahead.count:
        console.print(f"Fetches dated in the future, now moved to just before now: {ahead.count:,}.")
    for fetch in refused:
        dates = f"{fetch.start_date} to {fetch.end_date}"
        console.print(f"Skipped: {dates}: {fetch.status}. Fetch these days again.", soft_wrap=True)


def read_quota(settings: Settings, *, writing: bool = True) -> "Quota | None":
    """Return the state of the monthly quota, or None if there is none. `writing` as in `Ledger`."""
    with open_ledger(settings, writing=writing) as ledger:
        return ledger.quota()


def open_ledger(settings: Settings, *, writing: bool = True) -> "Ledger":
    """Return the ledger of the calls, to be closed after use. `writing` as in `Ledger`."""
    from fx_pipeline.store.ledger import Ledger

    return Ledger(
        settings.fx_database,
        limit=settings.fixer_monthly_quota,
        daily_calls=settings.daily_calls,
        writing=writing,
    )


def require_database(settings: Settings) -> None:
    """Raise SettingsError if the database does not exist."""
    if not settings.fx_database.exists():
        raise SettingsError(
            f"There is no database at {settings.fx_database}. Run this in the folder where "
            "`fx-pipeline up` or `ingest` created it, or set FX_DATABASE to its path."
        )


def is_current(path: Path) -> bool:
    """Return whether a database can be read and has the schema of this version."""
    from sqlite_utils import Database

    from fx_pipeline.api.reading.files import open_file
    from fx_pipeline.store.migrations import migrations, unknown_steps

    try:
        connection, _ = open_file(path)
        with closing(connection):
            db = Database(connection, execute_plugins=False)
            return not migrations.pending(db) and not unknown_steps(db)
    except sqlite3.Error:
        return False
