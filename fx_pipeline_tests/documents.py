"""Parts of the documentation that are generated from the code. `make docs` writes them.

A generated part lies between `<!-- NAME -->` and `<!-- end of NAME -->`. All of `.env.example` is generated.
"""

import ast
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import click

from fx_pipeline.alerting import runbook
from fx_pipeline.commands.cli import main
from fx_pipeline.fixer.sandbox.faults import KINDS, TRANSIENT
from fx_pipeline.settings import PROJECT, Settings

README = PROJECT / "README.md"
DOCS = PROJECT / "docs"
DOCUMENTS = (
    README,
    *(PROJECT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
)
"""The documents that people read."""

ENV_EXAMPLE = PROJECT / ".env.example"

_OPENING = """\
# The settings of fx-pipeline, for the file .env in the folder where it runs. Remove the # in front of the
# settings that you change. Environment variables override the file. The values shown are the defaults.
"""


def default(value: Any) -> str:
    """Return a setting's default as the environment would hold it; empty if it has none."""
    if value is None or value == ():
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


def settings_table() -> str:
    """Return a table with each setting's name, default and meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        shown = default(field.default)
        rows.append(f"| `{name.upper()}` | {f'`{shown}`' if shown else ''} | {field.description} |")
    return "\n".join(rows)


def env_example() -> str:
    """Return the settings, commented out, each under its meaning."""
    parts = [_OPENING]
    for name, field in Settings.model_fields.items():
        meaning = textwrap.fill(
            field.description or "", 106, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
        )
        parts.append(f"{meaning}\n# {name.upper()}={default(field.default)}\n")
    return "\n".join(parts)


def commands_table() -> str:
    """Return a table with each command's options and the first sentence of its help."""
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
    # Of a flag that is on by default, the option that changes something.
    [name, *_] = parameter.secondary_opts if parameter.default is True else parameter.opts
    return f"[{name}{value}]{'...' if parameter.multiple else ''}"


def _value(type_: click.ParamType[Any]) -> str:
    if isinstance(type_, click.Choice):
        return ",".join(map(str, type_.choices))
    return "N" if "integer" in type_.name else "X" if "float" in type_.name else type_.name.upper()


def faults_table() -> str:
    """Return a table with each fault of the sandbox and what a client sees of it."""
    rows = ["| fault | what the client gets | transient |", "|---|---|---|"]
    rows += [f"| `{kind}` | {seen} | {'yes' if kind in TRANSIENT else ''} |" for kind, seen in KINDS.items()]
    return "\n".join(rows)


def modules_table() -> str:
    """Return a table with each module of the package and the first sentence of its docstring."""
    rows = ["| module | content |", "|---|---|"]
    for path in sorted((PROJECT / "fx_pipeline").rglob("*.py"), key=lambda path: (path.parent, path)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        folder = path.relative_to(PROJECT).parent.as_posix()
        module = f"**`{folder}/`**" if path.name == "__init__.py" else f"`{path.name}`"
        rows.append(f"| {module} | {docstring.splitlines()[0]} |")
    return "\n".join(rows)


def alerts_table() -> str:
    """Return a table with each kind of alert: the runbook."""
    rows = [
        "| alert | sent | meaning | waiting until morning | investigate | fix |",
        "|---|---|---|---|---|---|",
    ]
    for name, kind in runbook.KINDS.items():
        sent = "when found" if kind.severity == "page" else "in the digest"
        cells = (kind.meaning, kind.cost, kind.investigate, kind.fix)
        texts = (cell.replace("|", "\\|") for cell in cells)
        rows.append(f'| <a id="{name}"></a>`{name}`: {kind.title} | {sent} | {" | ".join(texts)} |')
    return "\n".join(rows)


PARTS: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "commands": commands_table,
    "faults": faults_table,
    "modules": modules_table,
    "alerts": alerts_table,
}
"""The generated parts, by name."""


def with_parts(text: str) -> str:
    """Return `text` with each part that it contains generated again."""
    for name, make in PARTS.items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, found, rest = text.partition(opening)
        if found:
            text = f"{before}{opening}{make()}\n{closing}{rest.partition(closing)[2]}"
    return text


def write() -> None:
    """Write the generated parts of all documents, and `.env.example`."""
    for document in DOCUMENTS:
        document.write_text(with_parts(document.read_text(encoding="utf-8")), encoding="utf-8")
    ENV_EXAMPLE.write_text(env_example(), encoding="utf-8")


if __name__ == "__main__":
    write()
