"""README and .env.example say what is so: each command, setting, endpoint, and the answer that they show."""

import ast
import json
import re
import shlex
import subprocess
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import fixer_currency.client
import httpx
import pandas as pd
import pytest
from dotenv import dotenv_values
from mcp import Client

from fx_pipeline.api.endpoints.routes import ROUTES, Endpoint, find
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.api.test_clients import CLIENTS, node
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.documents import ENV_EXAMPLE, README, env_example, with_parts
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.served import served

TEXT = README.read_text(encoding="utf-8")
PATHS = re.findall(r"^\| `(/[^`]*)` \|", TEXT, re.MULTILINE)
ADDRESS = "http://127.0.0.1:8001"
CALLS = re.findall(r"```sh\n(curl .*?)\n```\n```(?:json|csv)\n(.*?)\n```", TEXT, re.DOTALL)
ENDPOINTS: list[Endpoint] = [endpoint for _, endpoint in ROUTES]


def snippets(language: str) -> list[str]:
    """What README shows in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_readme_says_of_commands_and_settings_what_the_code_says() -> None:
    assert with_parts(TEXT) == TEXT, "run `make docs`"


def test_env_example_has_every_setting() -> None:
    assert ENV_EXAMPLE.read_text(encoding="utf-8") == env_example(), "run `make docs`"


def test_the_values_in_env_example_are_the_defaults() -> None:
    lines = re.findall(r"^# ([A-Z_]+=.*)$", env_example(), re.MULTILINE)
    assert [line.partition("=")[0] for line in lines] == [name.upper() for name in Settings.model_fields]
    Path(".env").write_text("\n".join(lines), encoding="utf-8")
    assert len(dotenv_values(".env")) == len(Settings.model_fields)
    assert load_settings() == Settings(_env_file=None)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXT))))
def test_what_readme_links_to_is_there(link: str) -> None:
    assert (README.parent / link).is_file()


def test_the_picture_is_small() -> None:
    assert (README.parent / "docs" / "backfill.png").stat().st_size < 150_000


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What README's command fetches, and the two days after."""
    folder = tmp_path_factory.mktemp("readme")
    [command] = re.findall(r"`fx-pipeline (ingest --date [^`]*)`", TEXT)
    with running_sandbox() as sandbox:
        for arguments in (command, "ingest --from 2000-01-04 --to 2000-01-05"):
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


@pytest.mark.parametrize(("call", "answer"), CALLS, ids=[call[:70] for call, _ in CALLS])
def test_calls_in_readme_are_answered_as_it_says(server: Server, call: str, answer: str) -> None:
    call = call.replace("curl ", "curl --silent --show-error ").replace(ADDRESS, server.url)
    done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == answer.splitlines()


def test_python_in_readme(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixer_currency.client, "BASE_URL", fixer_currency.client.BASE_URL)
    day, table = (value_of(snippet.replace(ADDRESS, server.url)) for snippet in snippets("python"))
    assert day["rates"] == {"USD": 1.009, "GBP": 0.6246}
    assert table.to_dict("index") == {
        pd.Timestamp("2000-01-03"): {"GBP": 0.6246, "USD": 1.009},
        pd.Timestamp("2000-01-04"): {"GBP": 0.6296, "USD": 1.0305},
        pd.Timestamp("2000-01-05"): {"GBP": 0.6324, "USD": 1.0368},
    }


def value_of(snippet: str) -> Any:
    """The value of the last line of some Python, as a notebook shows it."""
    program = ast.parse(snippet)
    last = program.body.pop()
    assert isinstance(last, ast.Expr)
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)  # noqa: S102  # what README tells people to run
    return eval(compile(ast.Expression(last.value), "README.md", "eval"), names)  # noqa: S307


def test_javascript_in_readme(server: Server) -> None:
    [snippet] = snippets("js")
    done = subprocess.run(
        [node(), "-e", snippet.replace(ADDRESS, server.url)],
        env=environment(NODE_PATH=str(CLIENTS / "node_modules")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "result: 4112.632085" in done.stdout


def test_the_formula_in_readme(server: Server) -> None:
    """TEXTAFTER(text, ",", -1) is what stands after the last comma; CLEAN drops control characters."""
    [url] = re.findall(r'WEBSERVICE\("http://127\.0\.0\.1:8001([^"]+)"\), ",", -1\)', snippets("text")[0])
    status, body = server.get(url)
    cell = "".join(letter for letter in body.decode().rpartition(",")[2] if letter.isprintable())
    assert (status, cell) == (200, "1.009")


def test_the_clients_in_readme_are_those_that_are_tested() -> None:
    named = re.findall(r"^\| ([a-z-]+) ([0-9.]+) \((PyPI|npm)\) \|", TEXT, re.MULTILINE)
    locked = json.loads((CLIENTS / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    for name, number, registry in named:
        assert number == (version(name) if registry == "PyPI" else locked[f"node_modules/{name}"]["version"])
    assert len(named) == 5


async def test_the_assistant_in_readme_finds_the_tools_that_it_names(server: Server) -> None:
    [config] = [json.loads(snippet) for snippet in snippets("json") if "mcpServers" in snippet]
    async with Client(config["mcpServers"]["rates"]["url"].replace(ADDRESS, server.url)) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
    [sentence] = re.findall(r"then has the tools (.*?):", TEXT, re.DOTALL)
    assert tools == set(re.findall(r"`(\w+)`", sentence))


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/-/health/freshness"])
async def test_every_endpoint_in_readme_answers(api: httpx.AsyncClient, path: str) -> None:
    response = await api.get(path)
    assert response.status_code == 200, response.text
    assert response.json()


async def test_freshness_is_red_for_days_of_the_year_2000(api: httpx.AsyncClient) -> None:
    assert "/-/health/freshness" in PATHS
    assert (await api.get("/-/health/freshness")).status_code == 503


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.answer.__name__)
def test_every_endpoint_is_in_readme(endpoint: Endpoint) -> None:
    named = [
        find(path.partition("?")[0].removeprefix("/rates/").rstrip("/"))[0]
        for path in PATHS
        if path.startswith("/rates/")
    ]
    assert endpoint in named
