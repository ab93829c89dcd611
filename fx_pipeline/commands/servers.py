"""The commands that run until a signal: `up`, and one for each role of an instance on several machines."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fx_pipeline.commands.database import is_current, require_database
from fx_pipeline.commands.output import warn_about_sqlite
from fx_pipeline.following import is_reader, reader_refusal
from fx_pipeline.logs import say
from fx_pipeline.processes.ending import SERVER_LIMIT, end_on_signals
from fx_pipeline.settings import Settings, SettingsError, load_settings

_Command = TypeVar("_Command", bound=Callable[..., Any])


def host_option(help_text: str = "The address to listen on.") -> Callable[[_Command], _Command]:
    """Return the option --host, which refuses an empty address: a socket would listen on every one."""
    return click.option("--host", default="127.0.0.1", show_default=True, callback=_not_empty, help=help_text)


def _not_empty(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("it is empty. Name an address, such as 127.0.0.1.")
    return value


_workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of processes that serve the API.",
)


@click.command()
@host_option("The address that the API listens on, and the Dagster UI if FX_DAGSTER_PASSWORD is set.")
@_workers
def up(host: str, workers: int) -> None:
    """Run everything on this machine until Ctrl-C.

    Starts the sandbox if no key is set, Dagster (UI and daemon), the API, `watch`, and `replicate` if
    FX_REPLICA_URL is set. Fetches the missing days of the last 10, or of the last 90 from the sandbox, where
    calls are free.
    """
    from fx_pipeline.processes.leftovers import held
    from fx_pipeline.processes.up import Addresses, check_ports, report_killed, run_all
    from fx_pipeline.replication.litestream import program
    from fx_pipeline.store.database import open_database

    settings = load_settings()
    if reason := reader_refusal(settings.fx_database):
        raise SettingsError(reason)
    if settings.fx_replica_url:
        program()
        require_writer(settings)
    hosts = Addresses.of(host, settings)
    report_killed(settings)
    check_ports(settings, hosts)
    if settings.fx_alert_urls:
        check_alert_addresses()
    with held(settings.dagster_home):
        open_database(settings.fx_database).close()
        raise SystemExit(run_all(settings, hosts, workers))


@click.command()
@host_option()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_API_PORT.")
@_workers
@click.option(
    "--access-log", is_flag=True, help="Log each request, without keys or tokens. Slows the API down."
)
def serve(host: str, port: int | None, workers: int, access_log: bool) -> None:
    """Serve the API from the database that `ingest` or `up` has created."""
    end_on_signals(limit=SERVER_LIMIT)
    settings = load_settings()
    require_database(settings)

    from fx_pipeline.api.reading.served import ServeError
    from fx_pipeline.api.server import serve as run
    from fx_pipeline.api.tokens.file import TokenError

    try:
        _prepare_database(settings)
        run(host, port or settings.fx_api_port, workers, access_log=access_log)
    except (ServeError, TokenError) as error:
        raise SettingsError(str(error)) from None


_workspace = click.option(
    "--workspace",
    "-w",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Dagster's workspace file with a code server that runs already. Default: the one at "
    "FX_CODE_SERVER, or one of its own.",
)


@click.command()
@host_option()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_DAGSTER_PORT.")
@_workspace
def webserver(host: str, port: int | None, workspace: Path | None) -> None:
    """Serve the Dagster UI, protected against web pages of other sites.

    If FX_DAGSTER_PASSWORD is set, it asks for that password. Otherwise it listens only on this machine.
    """
    end_on_signals(limit=SERVER_LIMIT)
    settings = load_settings()

    from fx_pipeline.dagster_ui.webserver import run

    run(settings, host, port or settings.fx_dagster_port, workspace)


@click.command()
@host_option()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_CODE_SERVER_PORT.")
def code_server(host: str, port: int | None) -> None:
    """Serve the definitions to `webserver` and `daemon` and execute the runs, next to the database.

    Creates or migrates the database. Only one may run for a database. It has no login: let only the machines
    of the webserver and the daemon reach it.
    """
    end_on_signals()
    settings = load_settings()

    from fx_pipeline.processes.roles import serve_code

    require_writer(settings)
    make_database()
    serve_code(settings, host, port or settings.fx_code_server_port)


@click.command()
@_workspace
def daemon(workspace: Path | None) -> None:
    """Run Dagster's daemon: schedules, the queue of runs, backfills. Only one may run."""
    end_on_signals()
    settings = load_settings()

    from fx_pipeline.processes.roles import run_daemon_role

    run_daemon_role(settings, workspace)


@click.command()
def watch() -> None:
    """Look at the instance every 30 seconds, and send alerts and the digest to FX_ALERT_URLS.

    Runs next to the database, apart from Dagster's daemon: it also reports that the daemon is dead. Only one
    may run for a database. `up` runs it by itself.
    """
    end_on_signals()
    settings = load_settings()
    if settings.fx_alert_urls:
        check_alert_addresses()

    from fx_pipeline.alerting.watch import run

    run(settings, say)


@click.command()
def replica() -> None:
    """Follow the replica in FX_REPLICA_URL: keep this machine's database as the writer's is.

    `fx-pipeline serve` serves it. Only one may run for a database, and nothing else may write to it.
    """
    end_on_signals()
    settings = load_settings()

    from fx_pipeline.replication.follower import run
    from fx_pipeline.replication.litestream import LitestreamError

    try:
        run(settings, say)
    except LitestreamError as error:
        raise click.ClickException(str(error)) from None


def require_writer(settings: Settings) -> None:
    """Raise SupersededError if another host writes to the replica. Warn if that cannot be found out."""
    from fx_pipeline.following import is_reader
    from fx_pipeline.replication import fencing
    from fx_pipeline.replication.addresses import replica_address
    from fx_pipeline.replication.litestream import LitestreamError

    replica = replica_address(settings)
    if replica is None or is_reader(settings.fx_database):  # which is refused when the database is opened
        return
    try:
        fencing.require_writer(replica, settings.fx_database)
    except LitestreamError as error:
        say(f"It is unknown whether another host has taken over. {error}", logging.WARNING)


def make_database() -> None:
    """Create or migrate the database, and set its mark that tokens are required if there are any.

    Raise SettingsError, StoreError or TokenError.
    """
    from fx_pipeline.commands.access import Access
    from fx_pipeline.store.database import open_database

    settings = load_settings()
    open_database(settings.fx_database).close()
    Access(settings).keep_mark()
    warn_about_sqlite()


def _prepare_database(settings: Settings) -> None:
    """Call `make_database`. If that fails, warn if the stored rates can be served, else raise the error."""
    from fx_pipeline.store.database import StoreError

    if is_reader(settings.fx_database):
        return  # `replica` keeps it current
    try:
        make_database()
    except StoreError as error:
        if not is_current(settings.fx_database):
            raise
        say(f"{error} Stored rates are served.", logging.WARNING)


def check_alert_addresses() -> None:
    """Raise SettingsError if an address in FX_ALERT_URLS cannot be used."""
    from fx_pipeline.alerting.sending import check_addresses

    check_addresses(load_settings().fx_alert_urls)
