"""The command `sandbox`: a local Fixer."""

import datetime as dt
from typing import Any

import click

from fx_pipeline.commands.servers import host_option
from fx_pipeline.settings import SettingsError, load_settings


class _WithFaults(click.Command):
    """A command whose help lists the kinds of fault."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from fx_pipeline.fixer.sandbox.faults import KINDS, TRANSIENT

        with formatter.section("Kinds of fault"):
            formatter.write_dl([*KINDS.items(), ("transient", f"one of {', '.join(TRANSIENT)}")])


@click.command(cls=_WithFaults)
@host_option()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: FX_SANDBOX_PORT.")
@click.option(
    "--plan",
    type=click.Choice(["free", "basic", "professional", "plus"]),
    default="plus",
    show_default=True,
    help="The Fixer plan, which limits the endpoints and bases.",
)
@click.option("--quota", type=click.IntRange(1), help="Calls before error 104. Default: unlimited.")
@click.option("--latency", type=click.FloatRange(0), default=0.0, help="Seconds before each response.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND=RATE",
    help="The share of faulty responses, from 0 to 1. Repeatable.",
)
@click.option("--seed", type=int, default=0, help="Decides which responses are faulty.")
@click.option(
    "--errors",
    type=click.Choice(["legacy", "strict"]),
    default="legacy",
    show_default=True,
    help="Errors with HTTP status 200, or with a 4xx status.",
)
@click.option("--key", help="The only valid key. Default: any.")
@click.option(
    "--failed-calls-count/--no-failed-calls-count",
    default=True,
    show_default=True,
    help="Whether calls without data use up the quota. (Fixer does not document it.)",
)
@click.option(
    "--out-of-range-code",
    type=click.Choice(["302", "106"]),
    default="302",
    show_default=True,
    help="The error for a date before 1999 or after today. (Sources differ.)",
)
@click.option(
    "--series-days",
    type=click.IntRange(1, 365),
    default=365,
    show_default=True,
    help="Maximum days of a timeseries, first and last included. More get error 505.",
)
@click.option(
    "--frozen-since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="Send the rates of this day for all later days. Default: never.",
)
@click.option(
    "--currencies",
    type=click.IntRange(0, 700),
    default=0,
    help="Fill each day up to this many currencies with made-up ones. Default: none.",
)
def sandbox(
    host: str,
    port: int | None,
    faults: tuple[str, ...],
    out_of_range_code: str,
    frozen_since: dt.datetime | None,
    **options: Any,
) -> None:
    """Run a local Fixer: its protocol, with the European Central Bank's daily history.

    It replaces Fixer if there is no key or no network. Values after the last day of the history are made up.
    """
    from fx_pipeline.fixer.sandbox.app import SandboxOptions
    from fx_pipeline.fixer.sandbox.app import serve as serve_sandbox
    from fx_pipeline.fixer.sandbox.faults import parse_faults
    from fx_pipeline.serving.listening import cannot_listen

    try:
        parsed = SandboxOptions(
            faults=parse_faults(faults),
            out_of_range_code=int(out_of_range_code),  # type: ignore[arg-type]  # click has checked it
            frozen_since=frozen_since and frozen_since.date(),
            **options,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    port = port or load_settings().fx_sandbox_port
    try:
        serve_sandbox(parsed, host, port)
    except OSError as error:
        raise SettingsError(cannot_listen("The sandbox", host, port, "FX_SANDBOX_PORT", error)) from None
