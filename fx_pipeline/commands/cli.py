"""The command `fx-pipeline`.

Each subcommand imports what it needs when it runs, so that all of them start fast. Exit codes: 0 everything
succeeded; 1 something failed, and the output says what; 2 the command or a setting is wrong; 3 another
host has taken over, so this command must not be started again; 4 the quota is too small for `ingest`.
"""

import logging

import click

from fx_pipeline.commands.alerts import alert_test
from fx_pipeline.commands.backup import backup, restore
from fx_pipeline.commands.check import check
from fx_pipeline.commands.database import rebuild
from fx_pipeline.commands.doctor.command import doctor
from fx_pipeline.commands.export import export
from fx_pipeline.commands.ingest import ingest
from fx_pipeline.commands.init import init
from fx_pipeline.commands.replicate import replicate
from fx_pipeline.commands.sandbox import sandbox
from fx_pipeline.commands.servers import code_server, daemon, replica, serve, up, watch, webserver
from fx_pipeline.commands.status import status
from fx_pipeline.commands.token import token
from fx_pipeline.installed import IncompleteError, check_files, version_and_commit
from fx_pipeline.logs import configure_logging, is_json, say
from fx_pipeline.settings import SettingsError, load_settings


class Commands(click.Group):
    """A group that reports a wrong setting (exit code 2), or an unusable or missing file (1), in one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return self._invoke(ctx)
        except click.ClickException as error:
            if not is_json():
                raise
            say(error.format_message(), logging.ERROR)
            raise click.exceptions.Exit(error.exit_code) from None

    def _invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise click.UsageError(str(error)) from None
        except IncompleteError as error:
            raise click.ClickException(str(error)) from None
        except ModuleNotFoundError as error:
            if (error.name or "fx_pipeline").startswith("fx_pipeline"):
                raise
            raise click.ClickException(
                f"{error.name} is not installed, so this installation cannot run this command. "
                "Install fx-pipeline with all of its dependencies."
            ) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from fx_pipeline.processes.ending import FINAL
            from fx_pipeline.replication.fencing import SupersededError
            from fx_pipeline.replication.litestream import LitestreamError
            from fx_pipeline.store.database import StoreError

            if not isinstance(error, (LitestreamError, StoreError)):
                raise
            if isinstance(error, SupersededError):
                say(str(error), logging.ERROR)
                raise click.exceptions.Exit(FINAL) from None
            raise click.ClickException(str(error)) from None


def _show_version(context: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(f"fx-pipeline {version_and_commit()}")
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version.",
)
def main() -> None:
    """Fetch daily exchange rates from Fixer once, store them with their revisions, and serve them."""
    check_files()
    try:
        configure_logging(load_settings())
    except SettingsError:
        configure_logging(None)  # a command that needs the settings reports it


for command in (
    init,
    up,
    ingest,
    serve,
    replica,
    code_server,
    webserver,
    daemon,
    watch,
    replicate,
    sandbox,
    export,
    rebuild,
    backup,
    restore,
    check,
    status,
    doctor,
    alert_test,
    token,
):
    main.add_command(command)
