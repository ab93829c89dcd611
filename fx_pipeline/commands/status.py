"""The command `status`: what is stored, and whether something needs the operator."""

import datetime as dt
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from fx_pipeline.clock import today, utc_now, yesterday
from fx_pipeline.commands.database import read_quota, require_database
from fx_pipeline.commands.output import console, print_files
from fx_pipeline.drilled import read_drill
from fx_pipeline.following import read_position
from fx_pipeline.replicated import replication_summary
from fx_pipeline.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from fx_pipeline.store.store import RateStore


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
    from fx_pipeline.commands.reports import status_lines

    settings = load_settings()
    require_database(settings)
    print_files(
        f"Database {settings.fx_database}, tokens {settings.tokens_database}, Dagster's home "
        f"{settings.dagster_home}."
    )
    document = _document(settings)
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


def _document(settings: Settings) -> dict[str, Any]:
    from fx_pipeline.commands.access import Access
    from fx_pipeline.commands.dagster_state import dagster_state
    from fx_pipeline.commands.reports import status_document
    from fx_pipeline.store.store import RateStore

    reader = _reader(settings)
    dagster = dagster_state(settings.dagster_home)
    with RateStore(settings.fx_database, writing=reader is None) as store:
        kept = kept_days(store, dagster.failed_days, settings)
        coverage, ahead = store.coverage(), store.ahead()
        content_age = store.content_age()
        missing_symbols = store.missing_symbols(settings.fx_symbols)
    return status_document(
        settings,
        coverage,
        read_quota(settings),
        dagster,
        today(),
        Access(settings).state(),
        missing_symbols,
        ahead,
        content_age=content_age,
        disk_free_mb=_free_mb(settings.fx_database.parent, settings.dagster_home),
        alert_addresses=_alert_addresses(settings),
        replication=replication_summary(
            settings.fx_database, wanted=bool(settings.fx_replica_url) and reader is None
        ),
        reader=reader,
        restore_drill=None if reader else _restore_drill(settings),
        kept_days=kept,
    )


def kept_days(store: "RateStore", failed: Sequence[dt.date], settings: Settings) -> set[dt.date]:
    """Return the failed days that an earlier run has stored, without those that Fixer may still revise."""
    if not failed:
        return set()
    revised_from = yesterday() - dt.timedelta(days=settings.fx_revision_days)
    stored = store.stored_dates(min(failed), max(failed))
    return {date for date in failed if date in stored and date < revised_from}


def _free_mb(*folders: Path) -> dict[str, int]:
    """Return the free space of each disk, by the first folder on it."""
    free: dict[int, tuple[str, int]] = {}
    for folder in folders:
        if folder.is_dir():
            free.setdefault(folder.stat().st_dev, (str(folder), shutil.disk_usage(folder).free // 2**20))
    return dict(free.values())


def _reader(settings: Settings) -> dict[str, Any] | None:
    """Return which replica this reader follows and how current it is; None if this is no reader."""
    position = read_position(settings.fx_database)
    if position is None:
        return None
    return {"follows": position.replica, **position.document(utc_now(), settings.fx_max_lag_seconds)}


def _restore_drill(settings: Settings) -> dict[str, Any] | None:
    """Return the last restore drill and what needs the operator; None if there was none."""
    drill, now = read_drill(settings.fx_database), utc_now()
    if drill is None:
        return None
    return {
        **drill.document(now),
        "source": drill.source,
        "seconds": drill.seconds,
        "bytes": drill.bytes,
        "problem": drill.problem(now, settings.fx_max_drill_age_days),
    }


def _alert_addresses(settings: Settings) -> str | None:
    """Return "ok", or what is wrong with FX_ALERT_URLS; None if it is not set."""
    if not settings.fx_alert_urls:
        return None
    from fx_pipeline.alerts import check_addresses

    try:
        check_addresses(settings.fx_alert_urls)
    except SettingsError as error:
        return str(error)
    return "ok"
