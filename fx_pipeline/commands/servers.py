"""The commands that serve: `up`, `serve` and `webserver`."""

import subprocess
import sys

import click

from fx_pipeline.commands.database import require_database
from fx_pipeline.settings import SettingsError, load_settings

_MAKE_DATABASE = "from fx_pipeline.commands.servers import make_database; make_database()"

_host = click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")


@click.command()
def up() -> None:
    """Run everything on this machine until Ctrl-C.

    Starts the sandbox if no key is set, Dagster (UI and daemon) and the API. Fetches the missing days of the
    last 10, or of the last 90 from the sandbox, where calls are free.
    """
    from fx_pipeline.processes.up import check_ports, report_killed, run_all

    settings = load_settings()
    report_killed(settings)
    check_ports(settings)

    from fx_pipeline.processes.dagster_home import only_servers
    from fx_pipeline.store.database import open_database

    open_database(settings.fx_database).close()

    with only_servers(settings.dagster_home):
        raise SystemExit(run_all(settings))


@click.command()
@_host
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_API_PORT.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Number of processes.")
@click.option(
    "--access-log", is_flag=True, help="Log each request, without keys or tokens. Slows the API down."
)
def serve(host: str, port: int | None, workers: int, access_log: bool) -> None:
    """Serve the API from the database that `ingest` or `up` has created."""
    settings = load_settings()
    require_database(settings)

    from fx_pipeline.api.reading.served import ServeError
    from fx_pipeline.api.server import serve as run
    from fx_pipeline.api.tokens.file import TokenError

    try:
        _make_database()
        run(host, port or settings.fx_api_port, workers, access_log=access_log)
    except (ServeError, TokenError) as error:
        raise SettingsError(str(error)) from None


@click.command()
@_host
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_DAGSTER_PORT.")
def webserver(host: str, port: int | None) -> None:
    """Serve the Dagster UI, protected against web pages of other sites.

    If FX_DAGSTER_PASSWORD is set, it asks for that password. Otherwise it listens only on this machine.
    """
    settings = load_settings()

    from fx_pipeline.dagster_ui.webserver import run

    run(settings, host, port or settings.fx_dagster_port)


def make_database() -> None:
    """Create or migrate the database, and set its mark that tokens are required if there are any.

    Raise SettingsError, StoreError or TokenError.
    """
    from fx_pipeline.commands.access import Access
    from fx_pipeline.store.database import open_database

    settings = load_settings()
    open_database(settings.fx_database).close()
    Access(settings).keep_mark()


def _make_database() -> None:
    """Call `make_database` in another process.

    sqlite-utils imports pandas if it is installed, and the server would keep those 40 MB.
    """
    made = subprocess.run([sys.executable, "-c", _MAKE_DATABASE], check=False, capture_output=True)
    if made.returncode:
        make_database()  # raises the error
