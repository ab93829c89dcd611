"""The command `doctor`: one line for each check, with its remedy."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict

import click
from rich.markup import escape

from fx_pipeline.commands.doctor.findings import Finding
from fx_pipeline.commands.output import console, print_files
from fx_pipeline.settings import read_settings

_COLOURS = {"ok": "green", "warning": "bold yellow", "fault": "bold red"}

_STATE = 8
"""Characters of the state at the start of a line."""


@click.command()
@click.option("--call", is_flag=True, help="Test the key with one real call. It is counted and stored.")
@click.option("--alert", is_flag=True, help="Send a test message to each address in FX_ALERT_URLS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(call: bool, alert: bool, as_json: bool) -> None:
    """Check everything that usually goes wrong, in about ten seconds, and say what to do.

    Each line is ok, a warning or a fault. If there is a fault, the exit code is 1. It works whether or not
    anything runs, and with invalid settings. Without --call and --alert, it sends no request to the provider
    and no message. Nothing is written, except what --call stores.
    """
    logging.getLogger("dotenv.main").addFilter(_is_no_line)
    found = []
    for finding in _findings(call, alert):
        found.append(finding)
        if not as_json:
            console.print(_line(finding))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    if any(finding.state == "fault" for finding in found):
        raise SystemExit(1)


def _findings(call: bool, alert: bool) -> Iterator[Finding]:
    from fx_pipeline.commands.doctor import settings as of_settings
    from fx_pipeline.commands.doctor.facts import Facts, without_traces
    from fx_pipeline.commands.doctor.looking import load, looked_into, unchecked
    from fx_pipeline.commands.doctor.subjects import SUBJECTS

    settings, invalid = read_settings()
    if settings is not None:
        print_files(
            f"Database {settings.fx_database}, tokens {settings.tokens_database}, Dagster's home "
            f"{settings.dagster_home}."
        )
    yield from of_settings.settings(settings, invalid)
    yield of_settings.sqlite(settings)
    if settings is None:
        yield from unchecked(SUBJECTS)
        return
    load(settings)
    with without_traces(settings.fx_database, settings.tokens_database):
        yield from looked_into(SUBJECTS, Facts(settings, with_call=call, with_alert=alert))


def _is_no_line(record: logging.LogRecord) -> bool:
    """Drop what python-dotenv logs, at each reading, about a line that it cannot read: a finding names it."""
    return not record.getMessage().startswith("python-dotenv could not parse statement")


def _line(finding: Finding) -> str:
    colour = _COLOURS[finding.state]
    line = f"[{colour}]{finding.state:<{_STATE}}[/] {escape(finding.check)}: {escape(finding.text)}"
    return f"{line}\n{' ' * _STATE} {escape(finding.remedy)}" if finding.remedy else line
