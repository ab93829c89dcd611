"""The commands `backup` and `restore`."""

import datetime as dt
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.database import require_database
from fx_pipeline.commands.output import console, print_files
from fx_pipeline.settings import Settings, load_settings


def _instant(context: click.Context, parameter: click.Parameter, value: str | None) -> dt.datetime | None:
    """Return the instant that a text names. A date is its end in UTC, as in the API's `as_of`."""
    if value is None:
        return None
    text = value.strip().upper()
    try:
        if len(text) == 10:
            text += "T23:59:59.999999Z"
        instant = dt.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a date or a time such as 2026-11-27T09:30:00Z.") from None
    if instant.tzinfo is None:
        raise click.BadParameter(f"{value!r} has no time zone. For UTC, write {value}Z.")
    return instant.astimezone(dt.timezone.utc)


@click.command()
@click.argument("place", required=False)
def backup(place: str | None) -> None:
    """Write a consistent copy of the rates and the tokens into a new folder in PLACE.

    Everything may keep running. PLACE is a folder, by default `backups` next to the database. The backup is
    checked before it gets its name, which is the current instant.
    """
    from fx_pipeline.replication.backup import back_up

    settings = load_settings()
    require_database(settings)
    print_files(f"Database {settings.fx_database}.")
    folder = Path(place) if place else default_place(settings)
    made = back_up(settings.fx_database, settings.tokens_database, folder, utc_now())
    sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:,.1f} MB" for file in sorted(made.iterdir()))
    console.print(f"Backup {made}: {sizes}.")


@click.command()
@click.argument("source", required=False)
@click.option(
    "--at",
    metavar="INSTANT",
    callback=_instant,
    help="Restore the state at this instant, such as 2026-11-27T09:30:00Z. A date means its end in UTC.",
)
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The database file to write. Default: FX_DATABASE. The tokens go next to it.",
)
@click.option("--force", is_flag=True, help="Move existing files aside, under a name with `.before-`.")
def restore(source: str | None, at: dt.datetime | None, to: Path | None, force: bool) -> None:
    """Restore the rates and the tokens from SOURCE, checked before anything is replaced.

    SOURCE is a backup, or a folder whose newest backup is taken. Stop everything that uses the
    database first. An existing tokens.db that is newer is kept, so revoked tokens stay revoked.
    """
    from fx_pipeline.replication.restore import backup_at, from_backup
    from fx_pipeline.replication.restore import restore as run

    settings = load_settings()
    database = (to or settings.fx_database).absolute()
    now = utc_now()
    if at is not None and at > now:
        raise click.UsageError("--at is in the future.")
    chosen = backup_at(Path(source) if source else default_place(settings), at)
    print_files(f"Database {database}. Backup {chosen}.")
    with _stopped(settings, database):
        done = run(from_backup(chosen), database, now=now, force=force)
    newest = f"{done.newest:%Y-%m-%d %H:%M:%S} UTC" if done.newest else "never"
    console.print(f"Restored {database}: {done.days:,} days. The newest response was stored at {newest}.")
    for path in done.aside:
        console.print(f"The previous file is {path}.")
    if done.kept_tokens:
        console.print("The existing tokens.db was kept: it is at least as new as the restored one.")
    if done.closed:
        console.print(done.closed)


def _stopped(settings: Settings, database: Path) -> AbstractContextManager[None]:
    """Keep `up` and the code server from starting, which use the database of the settings."""
    from fx_pipeline.processes.leftovers import held

    if database != settings.fx_database or not settings.dagster_home.exists():
        return nullcontext()
    return held(settings.dagster_home)


def default_place(settings: Settings) -> Path:
    """Return the folder of backups next to the database."""
    return settings.fx_database.with_name("backups")
