"""What README and .env.example say of settings and commands, made from the code: `make docs` writes it anew.

In README such a part stands between `<!-- NAME -->` and `<!-- end of NAME -->`; `.env.example` is all made.
"""

import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import click

from fx_pipeline.commands.cli import main
from fx_pipeline.settings import PROJECT, Settings

README = PROJECT / "README.md"
ENV_EXAMPLE = PROJECT / ".env.example"

_OPENING = """\
# The settings of fx-pipeline. Copy this file to .env and take away the # before what you set; a variable of
# the environment wins over the file. The values shown are the defaults.
"""


def default(value: Any) -> str:
    """A setting's default as it is written in the environment; empty where there is none."""
    if value is None or value == ():
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def settings_table() -> str:
    """One row for each setting: its name, default and meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        shown = default(field.default)
        rows.append(f"| `{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return "\n".join(rows)


def env_example() -> str:
    """Each setting, commented out, under its meaning."""
    parts = [_OPENING]
    for name, field in Settings.model_fields.items():
        meaning = textwrap.fill(
            field.description or "", 106, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        parts.append(f"{meaning}\n# {name.upper()}={default(field.default)}\n")
    return "\n".join(parts)


def commands_table() -> str:
    """One row for each command: its options, and the first sentence of its help."""
    rows = ["| command | does |", "|---|---|"]
    rows += _command_rows("fx-pipeline", main.commands)
    return "\n".join(rows)


def _command_rows(parent: str, commands: Mapping[str, click.Command]) -> list[str]:
    rows = []
    for name, command in sorted(commands.items()):
        if isinstance(command, click.Group):
            rows += _command_rows(f"{parent} {name}", command.commands)
        else:
            first, *_ = (command.help or "").split("\n\n")
            usage = " ".join([f"{parent} {name}", *map(_usage, command.params)])
            rows.append(f"| `{usage}` | {' '.join(first.split())} |")
    return rows


def _usage(parameter: click.Parameter) -> str:
    if not isinstance(parameter, click.Option):
        return (parameter.name or "").upper()
    value = "" if parameter.is_flag else f" {parameter.metavar or _value(parameter.type)}"
    return f"[{parameter.opts[0]}{value}]{'...' if parameter.multiple else ''}"


def _value(type_: click.ParamType[Any]) -> str:
    if isinstance(type_, click.Choice):
        return ",".join(map(str, type_.choices))
    return "N" if "integer" in type_.name else "X" if "float" in type_.name else type_.name.upper()


PARTS: Mapping[str, Callable[[], str]] = {"settings": settings_table, "commands": commands_table}
"""The parts of README that are made, by name."""


def with_parts(text: str) -> str:
    """`text` with each of its parts made anew. Raises ValueError where a part's place is missing."""
    for name, make in PARTS.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = text.partition(opening)
        _, found, after = rest.partition(closing)
        if not found:
            raise ValueError(f"README has no place for {name}.")
        text = f"{before}{opening}{make()}\n{closing}{after}"
    return text


def write() -> None:
    """Write README's parts and `.env.example`."""
    README.write_text(with_parts(README.read_text(encoding="utf-8")), encoding="utf-8")
    ENV_EXAMPLE.write_text(env_example(), encoding="utf-8")


if __name__ == "__main__":
    write()
