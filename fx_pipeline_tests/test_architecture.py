"""The layers of the package: which part may import which. Imports inside functions count too."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fx_pipeline.settings import PROJECT

LAYERS = (
    (
        *(
            "alerted",
            "rates",
            "business_days",
            "content_age",
            "wanted",
            "clock",
            "crashes",
            "dagster_numbers",
            "drilled",
            "fetch",
        ),
        *("following", "postgres", "replica_url", "replicated", "setting_types", "small_files", "sqlite"),
        *("wal", "serving"),
    ),
    ("settings",),
    ("dagster_names", "installed", "logs", "tracing"),
    ("fixer", "store", "api"),
    ("ingestion", "quality", "export", "replication", "heartbeat", "dagster_internals"),
    ("defs",),
    ("definitions",),
    ("processes", "dagster_ui", "commands", "alerting"),
)
"""The parts of fx_pipeline, lowest layer first. A part may import from its own layer and from those below."""

ISOLATED = {"rates", "serving", "settings", "fixer", "store", "api"}
"""Parts that may not import the other parts of their own layer."""

SQLITE = {"sqlite3", "_sqlite3", "pysqlite3", "apsw"}
"""Packages that contain a SQLite. A process opens our files with one of them (see fx_pipeline/sqlite.py)."""

ROOT = PROJECT / "fx_pipeline"
MODULES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
PLUGINS = sorted((PROJECT / "datasette_config" / "plugins").glob("*.py"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the full name of each module that the file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            parent = node.module or ""
            names |= {f"{parent}.{alias.name}" for alias in node.names} & set(MODULES) or {parent}
    return frozenset(names)


def sources() -> list[Path]:
    """Return all Python files of the project."""
    folders = ("fx_pipeline", "fx_pipeline_tests", "benchmarks", "datasette_config", "deploy")
    return [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]


def own(path: Path) -> Iterator[str]:
    """Return the modules of this project that the file imports."""
    return (name for name in imported(path) if name in MODULES)


def part(module: str) -> str:
    """Return the part that a module belongs to: `store` for fx_pipeline.store.migrations."""
    return module.split(".")[1] if "." in module else ""


def layer(module: str) -> int:
    """Return the number of a module's layer. The package itself and `__main__` are the top layer."""
    for number, parts in enumerate(LAYERS):
        if part(module) in parts:
            return number
    return len(LAYERS)


def reached(*start: Path) -> dict[str, Path]:
    """Return each module of this project that the files import, directly or indirectly."""
    found: dict[str, Path] = {}
    waiting = list(start)
    while waiting:
        for name in own(waiting.pop()):
            if name not in found:
                found[name] = MODULES[name]
                waiting.append(MODULES[name])
    return found


def test_every_part_is_in_a_layer() -> None:
    parts = {part(name) for name in MODULES} - {"", "__main__"}
    assert parts == {name for layer in LAYERS for name in layer}


def test_the_architecture_page_lists_the_layers() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    [listed] = re.findall(r"From the bottom up: (.*?)\.\n", text, re.DOTALL)
    layers = [tuple(re.findall(r"`(\w+)`", layer)) for layer in listed.split(";")]
    assert layers == list(LAYERS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_from_allowed_layers(module: str) -> None:
    for other in own(MODULES[module]):
        if part(other) == part(module):
            continue
        assert layer(other) <= layer(module), f"{module} imports {other} from a higher layer"
        same = layer(other) == layer(module)
        assert not (same and part(module) in ISOLATED), f"{module} imports {other} from its own layer"


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_datasette_plugins_import_only_the_api_and_what_is_below(plugin: Path) -> None:
    assert {part(name) for name in own(plugin)} <= {"api", "dagster_names", "rates", "serving", "settings"}


def test_there_are_no_import_cycles() -> None:
    cycles = sorted(name for name, path in MODULES.items() if name in reached(path))
    assert cycles == []


def test_the_api_imports_neither_dagster_nor_pandas() -> None:
    api = [path for name, path in MODULES.items() if part(name) == "api"]
    everything = {**reached(*api, *PLUGINS), **{str(path): path for path in (*api, *PLUGINS)}}
    named = {name for path in everything.values() for name in imported(path)}
    assert "datasette.app" in named
    assert not {name for name in named if name.split(".")[0].startswith(("dagster", "pandas"))}


def test_one_package_imports_private_parts_of_dagster() -> None:
    private = {path for path in sources() for name in imported(path) if name.startswith("dagster._")}
    assert {path.parent for path in private} == {ROOT / "dagster_internals"}


def test_one_module_imports_sqlite() -> None:
    files = {path for path in sources() for name in imported(path) if name.split(".")[0] in SQLITE}
    assert files == {ROOT / "sqlite.py"}


def test_loading_the_api_loads_neither_dagster_nor_pandas() -> None:
    code = (
        "import sys, runpy, fx_pipeline.api.app\n"
        f"for plugin in {[str(path) for path in PLUGINS]!r}: runpy.run_path(plugin)\n"
        "print(*(name for name in ('dagster', 'pandas', 'datasette') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["datasette"]
