"""The floors of the house: who may import whom. Read from the source, imports inside functions included."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fx_pipeline.settings import PROJECT

FLOORS = (
    ("rates", "clock", "fetch", "serving"),
    ("settings",),
    ("fixer", "store", "api"),
    ("ingestion", "quality", "alerts", "dagster_internals"),
    ("defs",),
    ("definitions",),
    ("processes", "dagster_ui", "commands"),
)
"""The parts of fx_pipeline from the ground up. A part knows its own floor and those below it."""

KNOW_NOBODY_BESIDE = {"rates", "serving", "settings", "fixer", "store", "api"}
"""Parts that know none of the others on their floor."""

ROOT = PROJECT / "fx_pipeline"
MODULES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}
PLUGINS = sorted((PROJECT / "datasette_config" / "plugins").glob("*.py"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Every module that the file imports, by full name; the package is absolute throughout."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            parent = node.module or ""
            names |= {f"{parent}.{alias.name}" for alias in node.names} & set(MODULES) or {parent}
    return frozenset(names)


def own(path: Path) -> Iterator[str]:
    """The modules of this project that the file imports."""
    return (name for name in imported(path) if name in MODULES)


def part(module: str) -> str:
    """The part of the package that a module belongs to: `store` for fx_pipeline.store.migrations."""
    return module.split(".")[1] if "." in module else ""


def floor(module: str) -> int:
    """The number of a module's floor, from the ground; the package itself and its entry are the roof."""
    for number, parts in enumerate(FLOORS):
        if part(module) in parts:
            return number
    return len(FLOORS)


def reached(*start: Path) -> dict[str, Path]:
    """Every module of this project that these files import, directly or not."""
    found: dict[str, Path] = {}
    waiting = list(start)
    while waiting:
        for name in own(waiting.pop()):
            if name not in found:
                found[name] = MODULES[name]
                waiting.append(MODULES[name])
    return found


def test_every_part_has_a_floor() -> None:
    parts = {part(name) for name in MODULES} - {"", "__main__"}
    assert parts == {name for parts_of_floor in FLOORS for name in parts_of_floor}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_nothing_from_above_or_beside(module: str) -> None:
    for other in own(MODULES[module]):
        if part(other) == part(module):
            continue
        assert floor(other) <= floor(module), f"{module} imports {other}, which stands above it"
        beside = floor(other) == floor(module) and part(module) in KNOW_NOBODY_BESIDE
        assert not beside, f"{module} imports {other}, which stands beside it"


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_datasettes_plugins_know_the_api_and_the_ground(plugin: Path) -> None:
    assert {part(name) for name in own(plugin)} <= {"api", "rates", "serving", "settings"}


def test_no_module_imports_itself_by_way_of_others() -> None:
    circles = sorted(name for name, path in MODULES.items() if name in reached(path))
    assert circles == []


def test_the_source_of_the_api_reaches_no_dagster() -> None:
    api = [path for name, path in MODULES.items() if part(name) == "api"]
    everything = {**reached(*api, *PLUGINS), **{str(path): path for path in (*api, *PLUGINS)}}
    named = {name for path in everything.values() for name in imported(path)}
    assert "datasette.app" in named
    assert not {name for name in named if name.split(".")[0].startswith(("dagster", "pandas"))}


def test_one_file_imports_the_private_parts_of_dagster() -> None:
    sources = [
        path
        for folder in ("fx_pipeline", "fx_pipeline_tests", "benchmarks")
        for path in (PROJECT / folder).rglob("*.py")
    ]
    private = {path for path in sources for name in imported(path) if name.startswith("dagster._")}
    assert private == {ROOT / "dagster_internals.py"}


def test_the_api_is_loaded_without_dagster() -> None:
    code = (
        "import sys, runpy, fx_pipeline.api.app\n"
        f"for plugin in {[str(path) for path in PLUGINS]!r}: runpy.run_path(plugin)\n"
        "print(*(name for name in ('dagster', 'pandas', 'datasette') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["datasette"]
