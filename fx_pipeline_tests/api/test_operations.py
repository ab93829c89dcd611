"""One definition: a new operation needs an entry in the list, and nothing else."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from fx_pipeline.api.contract.groups import CURRENCIES, LIST_ERRORS
from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.contract.parameters import FORM
from fx_pipeline.api.contract.routes import Routes
from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.operation import Context, Link, Operation, Parameter
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.middleware.stack import application
from fx_pipeline.api.replies import Reply, as_json, recent
from fx_pipeline.settings import Settings
from fx_pipeline_tests.api.conftest import NOW
from fx_pipeline_tests.api.history import History


@dataclass(frozen=True)
class Letters:
    """The input of the new operation."""

    starts_with: str


def parse(parameters: Parameters) -> Letters:
    """Read the new parameter."""
    return Letters(*parameters.values.get("starts_with", [""]))


def answer(context: Context, parsed: Letters) -> Reply:
    """Return the names of the currencies that start with some letters."""
    found = {
        code: name
        for code, name, *_ in context.queries.rows("currencies")
        if code.startswith(parsed.starts_with)
    }
    return Reply(as_json(found), recent())


STARTS_WITH = Parameter(
    "starts_with",
    "The first letters of the code.",
    {"type": "string"},
    lambda stored: sorted(stored.codes)[0][:1],
    required=True,
)
NEW = Operation(
    path="/rates/search",
    name="search",
    summary="Currencies by their first letters",
    description="Find a currency.",
    tag=CURRENCIES,
    response="Names",
    parse=parse,
    answer=answer,
    parameters=(STARTS_WITH, *FORM),
    errors=LIST_ERRORS,
    queries=("currencies",),
    link=Link("search", "/rates/search?starts_with=U"),
    is_tool=True,
)


@pytest.fixture
async def client(history: History) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client of the whole application with one more operation."""
    settings = Settings(fx_database=history.path)
    datasette = FxDatasette(settings, clock=lambda: NOW, operations=(*OPERATIONS, NEW))
    transport = httpx.ASGITransport(app=application(datasette))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client
    datasette.executor.shutdown()
    datasette.get_database("fx").close()


async def test_a_new_operation_is_routed(client: httpx.AsyncClient) -> None:
    response = await client.get("/rates/search?starts_with=U")
    assert response.json() == {"USD": "United States Dollar"}
    refused = await client.get("/rates/search?base=U")
    assert refused.json()["message"].endswith("It has: starts_with, format, callback.")


async def test_a_new_operation_is_in_the_openapi_document(client: httpx.AsyncClient) -> None:
    document = (await client.get("/rates/openapi.json")).json()
    described = document["paths"]["/rates/search"]["get"]
    assert described["operationId"] == "search"
    assert {"$ref": "#/components/parameters/starts_with"} in described["parameters"]
    assert document["components"]["parameters"]["starts_with"]["example"] == "B"


async def test_a_new_operation_is_a_tool(client: httpx.AsyncClient) -> None:
    async def call(method: str, **params: object) -> dict[str, object]:
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        response = await client.post("/-/mcp", content=json.dumps(request), headers=headers)
        result: dict[str, object] = response.json()["result"]
        return result

    tools = (await call("tools/list"))["tools"]
    assert isinstance(tools, list)
    [schema] = [tool["inputSchema"] for tool in tools if tool["name"] == "search"]
    assert (list(schema["properties"]), schema["required"]) == (["starts_with"], ["starts_with"])
    result = await call("tools/call", name="search", arguments={"starts_with": "G"})
    assert result["structuredContent"] == {"GBP": "British Pound Sterling"}


async def test_a_new_operation_is_on_the_docs_page(client: httpx.AsyncClient) -> None:
    page = (await client.get("/rates/docs/")).text
    [section] = re.findall(r'<section aria-labelledby="search">(.*?)</section>', page, re.DOTALL)
    assert "curl 'http://api/rates/search?starts_with=B'" in section
    assert "Bitcoin" in section


async def test_a_new_operation_is_linked_from_the_index(client: httpx.AsyncClient) -> None:
    links = (await client.get("/rates/")).json()["endpoints"]
    assert links["search"] == "/rates/search?starts_with=U"
    assert (await client.get(links["search"])).status_code == 200


async def test_a_new_parameter_is_part_of_the_cache_key(client: httpx.AsyncClient) -> None:
    first = await client.get("/rates/search?starts_with=U")
    other = await client.get("/rates/search?starts_with=G")
    again = await client.get("/rates/search?starts_with=U")
    assert [one.headers["server-timing"] for one in (first, other, again)] == [
        'cache;desc="miss"',
        'cache;desc="miss"',
        'cache;desc="hit"',
    ]
    assert other.json() == {"GBP": "British Pound Sterling"}
    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("path", "name", "parts"),
    [
        ("", "index", {}),
        ("latest", "latest_rates", {}),
        ("latest.csv", "latest_rates_csv", {}),
        ("2026-03-09", "rates_of_day", {"date": "2026-03-09"}),
        ("2026-03-09.csv", "rates_of_day_csv", {"date": "2026-03-09"}),
        (".csv", "rates_of_day_csv", {"date": ""}),
        ("2026-03-05..", "rates_of_range", {"start": "2026-03-05", "end": ""}),
        ("2026-03-05..2026-03-09", "rates_of_range", {"start": "2026-03-05", "end": "2026-03-09"}),
        ("2026-03-05...csv", "rates_of_range_csv", {"start": "2026-03-05", "end": ""}),
        ("openapi.json", "openapi", {}),
    ],
)
def test_a_path_has_the_operation_with_the_closest_template(
    path: str, name: str, parts: dict[str, str]
) -> None:
    operation, found = Routes(OPERATIONS).find(path)
    assert (operation.name, found) == (name, parts)
