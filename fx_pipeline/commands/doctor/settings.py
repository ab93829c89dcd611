"""Checks of the settings and of SQLite, which need no valid settings."""

import difflib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import SecretStr

from fx_pipeline.commands.doctor.findings import Finding, fault, of_message, ok, warning
from fx_pipeline.rates import counted
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3, unsound

ALIKE = 0.85
"""How alike a name must be to that of a setting to be a mistake. FX_ALERT_URL and FX_ALERT_URLS are 0.96."""

_PREFIXES = ("FX_", "FIXER_", "DATASETTE_", "SENTRY_", "DAGSTER_")


def settings(found: Settings | None, invalid: list[str]) -> Iterator[Finding]:
    """Judge the settings: invalid values, names that look misspelt, and who can read `.env`."""
    file = Path(".env").absolute()
    for message in invalid:
        name, _, reason = message.partition(" cannot be ")
        remedy = "Correct it in .env or in the environment." if name.isupper() else "Save it as plain text."
        yield fault("settings", f"{name} cannot be {reason.rstrip('.')}", remedy)
    if found is None:
        return
    names = {name.upper() for name in Settings.model_fields}
    values = {name: value for name, value in dotenv_values(file).items() if value}
    in_file = {*values}
    in_environment = {name for name, value in os.environ.items() if value}
    wrong = [
        *_unreadable_lines(file),
        *_misspelt({*in_file, *in_environment}, names),
        *_overridden({name: values[name] for name in names & in_file & in_environment}, file),
        *_readable_by_others(found, in_file, file),
    ]
    yield from wrong
    if not wrong:
        set_in = [
            f"{counted(len(names & held), 'setting')} in {place}"
            for held, place in ((in_file, file), (in_environment, "the environment"))
            if names & held
        ]
        yield ok("settings", ", ".join(set_in) or f"all have their defaults; there is no setting in {file}")


def sqlite(found: Settings | None) -> Finding:
    """Judge the version of SQLite."""
    reason = unsound()
    if reason is None:
        return ok("sqlite", f"version {sqlite3.sqlite_version}")
    is_refused = found is not None and found.fx_require_sound_sqlite
    return of_message("sqlite", reason, "fault" if is_refused else "warning")


def _misspelt(given: set[str], names: set[str]) -> Iterator[Finding]:
    for name in sorted(given - names):
        if name.upper() in names:  # the case of a name does not matter
            continue
        close = difflib.get_close_matches(name.upper(), names, n=1, cutoff=ALIKE)
        if close and name.upper().startswith(_PREFIXES):
            yield warning(
                "settings", f"{name} is not a setting, so it has no effect", f"Set {close[0]} instead."
            )


def _unreadable_lines(file: Path) -> Iterator[Finding]:
    if not file.is_file():
        return
    with file.open(encoding="utf-8") as stream:
        lines = [binding.original.line for binding in parse_stream(stream) if binding.error]
    for line in lines:
        yield warning(
            "settings",
            f"line {line} of {file} has no effect: it is not a name, = and a value",
            "Correct it, or remove it.",
        )


def _overridden(both: Mapping[str, str], file: Path) -> Iterator[Finding]:
    for name, value in sorted(both.items()):
        if value != os.environ[name]:
            yield warning(
                "settings",
                f"{name} in {file} has no effect: the environment has another value",
                "Remove one of the two.",
            )


def _readable_by_others(found: Settings, in_file: set[str], file: Path) -> Iterator[Finding]:
    secrets = [
        name.upper()
        for name in found.model_fields_set
        if isinstance(getattr(found, name), SecretStr) or name == "fx_alert_urls"
    ]
    if in_file & {*secrets} and file.stat().st_mode & 0o077:
        yield warning(
            "settings", f"other users can read {file}, which has secrets", f"Run `chmod 600 {file}`."
        )
