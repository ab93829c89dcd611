"""The documents match the product: every command, setting, link and path exists, and every example runs."""

import datetime as dt
import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import fixer_currency.client
import httpx
import pytest
from dotenv import dotenv_values
from mcp import Client

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.contract.routes import Routes
from fx_pipeline.api.endpoints.operation import Operation
from fx_pipeline.clock import yesterday
from fx_pipeline.commands.cli import main
from fx_pipeline.rates import date_range
from fx_pipeline.settings import PROJECT, Settings, load_settings
from fx_pipeline_tests.api.javascript import CLIENTS, node
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.documents import DOCS, DOCUMENTS, ENV_EXAMPLE, PARTS, env_example, with_parts
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.served import served
from fx_pipeline_tests.snippets import snippets, value_of

TEXTS = {path.relative_to(PROJECT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
TEXT = "\n".join(TEXTS.values())
API = TEXTS["docs/using-the-api.md"]
PATHS = re.findall(r"^\| `(/[^`]*)` \|", API, re.MULTILINE)
ADDRESS = "http://127.0.0.1:8001"
CALLS = re.findall(r"```sh\n(curl .*?)\n```\n```(?:json|csv)\n(.*?)\n```", TEXT, re.DOTALL)
ROUTED = [one for one in OPERATIONS if one.is_about_rates and one.response not in ("Html", "Csv")]
LINKS = sorted(
    {
        (name, link)
        for name, text in TEXTS.items()
        for link in re.findall(r"\]\((?!http)([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    }
)
NO_SETTINGS = {"FX_TESTS_SEED", "FX_TESTS_NEED_CHROMIUM"}
"""Variables of the tests."""


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_generated_parts_are_current(name: str) -> None:
    assert with_parts(TEXTS[name]) == TEXTS[name], "run `make docs`"


@pytest.mark.parametrize("part", PARTS)
def test_each_generated_part_is_in_one_document(part: str) -> None:
    assert TEXT.count(f"<!-- {part} -->") == 1


def test_env_example_has_every_setting() -> None:
    assert ENV_EXAMPLE.read_text(encoding="utf-8") == env_example(), "run `make docs`"


def test_the_values_in_env_example_are_the_defaults() -> None:
    lines = re.findall(r"^# ([A-Z_]+=.*)$", env_example(), re.MULTILINE)
    assert [line.partition("=")[0] for line in lines] == [name.upper() for name in Settings.model_fields]
    Path(".env").write_text("\n".join(lines), encoding="utf-8")
    assert len(dotenv_values(".env")) == len(Settings.model_fields)
    assert load_settings() == Settings(_env_file=None)


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


@pytest.mark.parametrize(("name", "link"), LINKS)
def test_links_lead_to_files_and_headings(name: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (PROJECT / name).parent / path if path else PROJECT / name
    assert target.is_file()
    assert not anchor or anchor in anchors(target.read_text(encoding="utf-8"))


def test_every_document_is_linked() -> None:
    linked = {((PROJECT / name).parent / link.partition("#")[0]).resolve() for name, link in LINKS}
    assert set(DOCS.rglob("*.*")) <= linked


@pytest.mark.parametrize("name", TEXTS)
def test_named_settings_exist(name: str) -> None:
    named = set(re.findall(r"\b(?:FX|FIXER)_[A-Z_]+\b", TEXTS[name])) - NO_SETTINGS
    assert named <= {field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"CHANGELOG.md"}))
def test_named_make_targets_exist(name: str) -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = re.findall(r"(?:`|^)make ([a-z-]+)", TEXTS[name], re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("name", TEXTS)
def test_named_commands_and_options_exist(name: str) -> None:
    # A command ends with its line, its code span, a comment, or the next program.
    for line in re.findall(r"(?<=fx-pipeline )[a-z][^`#|&\n]*", TEXTS[name]):
        words = line.split()
        command: click.Command = main
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        if command is main:
            continue
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", " ".join(words))) <= options | {"--help"}


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"CHANGELOG.md"}))
def test_named_files_and_folders_exist(name: str) -> None:
    folders = "fx_pipeline|fx_pipeline_tests|datasette_config|benchmarks|docs|\\.ci"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", TEXTS[name])
    assert [path for path in named if not (PROJECT / path).exists()] == []


@pytest.fixture(scope="module")
def recent_days() -> list[str]:
    """Return the last nine days (UTC). They stay the same if midnight passes during the tests."""
    newest = yesterday()
    return [str(date) for date in date_range(newest - dt.timedelta(8), newest)]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, recent_days: list[str]) -> Path:
    """Fetch recent days, as `make up` does, and those for which the page about the API names a command."""
    folder = tmp_path_factory.mktemp("docs")
    [command] = re.findall(r"`fx-pipeline (ingest [^`]*)`", API)
    recent = f"ingest --from {recent_days[0]} --to {recent_days[-1]}"
    with running_sandbox() as sandbox:
        for arguments in (recent, command):
            done = run_command(
                folder, *shlex.split(arguments), FIXER_BASE_URL=sandbox.url, FIXER_ACCESS_KEY="k"
            )
            assert done.returncode == 0, done.stdout + done.stderr
    return folder / "data" / "fx.db"


@pytest.fixture
async def api(database: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with served(database) as client:
        yield client


@pytest.fixture(scope="module")
def server(database: Path) -> Iterator[Server]:
    with serving(database, database.with_name("log")) as server:
        yield server


@pytest.mark.parametrize(("call", "response"), CALLS, ids=[call[:70] for call, _ in CALLS])
def test_documented_calls_get_the_documented_response(server: Server, call: str, response: str) -> None:
    call = call.replace("curl ", "curl --silent --show-error ").replace(ADDRESS, server.url)
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=True)
    if "latest" in call:
        # Each day has other values.
        assert form(json.loads(done.stdout)) == form(json.loads(response))
    else:
        assert done.stdout.splitlines() == response.splitlines()


def form(value: Any) -> Any:
    """Return a document with the types of its values in place of them, also inside a text that is JSON."""
    if isinstance(value, dict):
        return {name: form(part) for name, part in value.items()}
    if isinstance(value, list):
        return [form(part) for part in value]
    if isinstance(value, str) and value.startswith("{"):
        return form(json.loads(value))
    return "number" if type(value) in (int, float) else type(value).__name__


def test_all_documented_calls_have_a_response() -> None:
    assert len(CALLS) == TEXT.count("```sh\ncurl ") == 7


def test_python_snippets(server: Server, recent_days: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixer_currency.client, "BASE_URL", fixer_currency.client.BASE_URL)
    in_readme, in_pandas = (
        [snippet for snippet in snippets("python", TEXTS[name]) if word in snippet]
        for name, word in (("README.md", "fixer_currency"), ("docs/clients-and-spreadsheets.md", "pandas"))
    )
    day, table = (value_of(snippet.replace(ADDRESS, server.url)) for [snippet] in (in_readme, in_pandas))
    assert (day["success"], list(day["rates"])) == (True, ["USD", "GBP"])
    assert [str(date.date()) for date in table.index] == recent_days
    assert (list(table.columns), set(table.dtypes.astype(str))) == (["USD", "GBP"], {"float64"})


def test_javascript_snippet(server: Server) -> None:
    [snippet] = snippets("js", TEXT)
    done = subprocess.run(
        [node(), "-e", snippet.replace(ADDRESS, server.url)],
        env=environment(NODE_PATH=str(CLIENTS / "node_modules")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"success: true,.* result: [0-9.]+", done.stdout, re.DOTALL), done.stdout


def test_formula_snippet(server: Server) -> None:
    """TEXTAFTER(text, ",", -1) is the text after the last comma; CLEAN removes control characters."""
    [formula] = [snippet for snippet in snippets("text", TEXT) if "WEBSERVICE" in snippet]
    [url] = re.findall(r'WEBSERVICE\("http://127\.0\.0\.1:8001([^"]+)"\), ",", -1\)', formula)
    status, body = server.get(url)
    cell = "".join(letter for letter in body.decode().rpartition(",")[2] if letter.isprintable())
    assert status == 200
    assert 0.5 < float(cell) < 2


def test_the_documented_clients_are_the_tested_ones() -> None:
    named = re.findall(r"^\| ([a-z-]+) ([0-9.]+) \((PyPI|npm)\) \|", TEXT, re.MULTILINE)
    locked = json.loads((CLIENTS / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, number, registry in named:
        assert number == (version(name) if registry == "PyPI" else locked[f"node_modules/{name}"]["version"])
    assert len(named) == 5


async def test_a_configured_assistant_finds_the_documented_tools_by_calls(server: Server) -> None:
    [config] = [json.loads(snippet) for snippet in snippets("json", TEXT) if "mcpServers" in snippet]
    async with Client(config["mcpServers"]["rates"]["url"].replace(ADDRESS, server.url)) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
    [sentence] = re.findall(r"then has the tools (.*?):", TEXT, re.DOTALL)
    assert tools == set(re.findall(r"`(\w+)`", sentence))


@pytest.mark.parametrize("path", PATHS)
async def test_documented_endpoints_answer_requests(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)
    assert response.status_code == 200, response.text
    assert response.json()


@pytest.mark.parametrize("operation", ROUTED, ids=lambda operation: operation.name)
def test_every_handler_is_documented(operation: Operation[Any]) -> None:
    routes = Routes(OPERATIONS)
    found = [
        routes.find(unquote(path.partition("?")[0]).removeprefix("/rates/").rstrip("/"))[0]
        for path in PATHS
        if path.startswith("/rates/")
    ]
    assert operation.answer in [one.answer for one in found]
