"""The commands `backup` and `restore`."""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.database import require_database
from fx_pipeline.commands.output import console, print_files
from fx_pipeline.replication.addresses import ReplicaAddress, replica_address
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

    Everything may keep running. PLACE is a folder, by default `backups` next to the database, or an address
    like that in FX_REPLICA_URL. A backup is named by its instant. It is checked before it gets its name.
    """
    from fx_pipeline.replication.backup import back_up, default_place, note_backup, upload

    settings = load_settings()
    require_database(settings)
    print_files(f"Database {settings.fx_database}.")
    target = _folder_or_address(place) if place else default_place(settings.fx_database)
    if isinstance(target, ReplicaAddress):
        address = upload(settings.fx_database, settings.tokens_database, target, utc_now())
        note_backup(settings.fx_database, address)
        console.print(f"Backup {address}.")
        return
    made = back_up(settings.fx_database, settings.tokens_database, target, utc_now())
    note_backup(settings.fx_database, made)
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
@click.option(
    "--accept-findings", is_flag=True, help="Restore it even if `fx-pipeline check` would complain."
)
@click.option(
    "--take-over", is_flag=True, help="Write here from now on. The host that wrote until now no longer can."
)
def restore(
    source: str | None,
    at: dt.datetime | None,
    to: Path | None,
    force: bool,
    accept_findings: bool,
    take_over: bool,
) -> None:
    """Restore the rates and the tokens from SOURCE, checked before anything is replaced.

    SOURCE is a backup, a folder whose newest backup is taken, or the address of a backup or a replica. By
    default it is FX_REPLICA_URL or, without one, `backups` next to the database. Stop everything that uses
    the database first. An existing tokens.db that is newer is kept, so revoked tokens stay revoked.
    """
    from fx_pipeline.replication.backup import default_place
    from fx_pipeline.replication.restore import restore as run
    from fx_pipeline.replication.sources import backup_at, from_backup, from_replica

    settings = load_settings()
    database = (to or settings.fx_database).absolute()
    now = utc_now()
    if at is not None and at > now:
        raise click.UsageError("--at is in the future.")
    place = (
        _folder_or_address(source)
        if source
        else replica_address(settings) or default_place(settings.fx_database)
    )
    if isinstance(place, ReplicaAddress):
        fetch = from_replica(place, settings.fx_database.name, at)
    else:
        place = backup_at(place, at)
        fetch = from_backup(place)
    print_files(f"Database {database}. It is restored from {place}.")
    with _stopped(settings, database), _writing(settings, database, wanted=take_over) as claim:
        done = run(fetch, database, now=now, force=force, accept=accept_findings, before=claim)
    newest = f"{done.newest:%Y-%m-%d %H:%M:%S} UTC" if done.newest else "never"
    console.print(f"Restored {database}: {done.days:,} days. The newest response was stored at {newest}.")
    for line in done.findings:
        console.print(line)
    for path in done.aside:
        console.print(f"The previous file is {path}.")
    if done.kept_tokens:
        console.print("The existing tokens.db was kept: it is at least as new as the restored one.")
    if done.closed:
        console.print(done.closed)


def _writing(
    settings: Settings, database: Path, *, wanted: bool
) -> AbstractContextManager[Callable[[], None]]:
    """Yield a function that makes this host the writer of the replica, if it is about its database."""
    from fx_pipeline.replication.fencing import taking_over

    replica = replica_address(settings)
    if replica is None or database != settings.fx_database:
        if wanted:
            raise click.UsageError("--take-over needs FX_REPLICA_URL, and no other file with --to.")
        return nullcontext(lambda: None)
    return taking_over(replica, database, wanted=wanted)


def _stopped(settings: Settings, database: Path) -> AbstractContextManager[None]:
    """Keep `up` and the code server from starting, which use the database of the settings."""
    from fx_pipeline.processes.leftovers import held

    if database != settings.fx_database or not settings.dagster_home.exists():
        return nullcontext()
    return held(settings.dagster_home)


def _folder_or_address(text: str) -> Path | ReplicaAddress:
    """Return the place that a text names. A folder of backups may be given as file:// too."""
    if "://" not in text:
        return Path(text)
    address = ReplicaAddress.parse(text)
    folder = address.folder
    if folder is None or (folder / "writers").exists() or any(folder.glob("*/ltx")):
        return address  # of a replica, or a part of one
    return folder
