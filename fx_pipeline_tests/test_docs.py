"""README and .env.example say what is so: each command, setting, endpoint, and the answer that they show."""

import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from dotenv import dotenv_values

from fx_pipeline.api.endpoints import ROUTES, Endpoint, find
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline_tests.commands import run_command
from fx_pipeline_tests.documents import ENV_EXAMPLE, README, env_example, with_parts
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.served import served

TEXT = README.read_text(encoding="utf-8")
PATHS = re.findall(r"^\| `(/[^`]*)` \|", TEXT, re.MULTILINE)
ENDPOINTS: list[Endpoint] = [endpoint for _, endpoint in ROUTES]


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


async def test_the_request_in_readme_is_answered_as_it_says(api: httpx.AsyncClient) -> None:
    [(path, answer)] = re.findall(r"curl 'http://127\.0\.0\.1:8001(/[^']*)'\n```\n```json\n(.*?)\n```", TEXT)
    response = await api.get(path)
    assert response.status_code == 200
    assert response.text == answer
    assert json.loads(answer)["date"] == "2000-01-03"


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
