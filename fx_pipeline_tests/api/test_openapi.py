"""The OpenAPI document: valid, complete, and correct for every request generated from it."""

import datetime as dt
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate

from fx_pipeline.api import errors
from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.errors import KINDS, ErrorKind
from fx_pipeline.api.middleware.paths import METRICS
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import MARCH, NAMES, Api, OpenApi
from fx_pipeline_tests.api.date_patterns import days_between
from fx_pipeline_tests.api.documents import ALL, CSV, WIDE_CSV
from fx_pipeline_tests.api.error_cases import ERRORS as WRONG
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.command_line import environment

NINTH = MARCH["2026-03-09"]
CASES = 1500
"""A run with fewer generated requests has not tested much."""


async def described(api: Api) -> dict[str, Any]:
    """Return the document that the API serves."""
    response = await api.get("/rates/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    document: dict[str, Any] = response.json()
    return document


async def test_is_valid(api: Api) -> None:
    document = await described(api)
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "/"}]


async def test_is_valid_for_an_empty_database(tmp_path: Path, open_api: OpenApi) -> None:
    History(tmp_path / "empty.db").close()
    document = await described(open_api(tmp_path / "empty.db"))
    validate(document)
    for name in ("Currency", "Date"):
        assert "examples" not in document["components"]["schemas"][name]


async def test_a_later_document_accepts_what_an_earlier_one_accepted(history: History, api: Api) -> None:
    """Only the examples name stored data: a client generated today can request what is fetched tomorrow."""
    before = await described(api)
    shapes = before["components"]["schemas"]
    assert shapes["Currency"].pop("examples") == sorted(NINTH)
    assert shapes["Date"].pop("examples") == ["1999-01-04", "2026-03-09"]
    assert re.fullmatch(shapes["Currency"]["pattern"], "CHF")
    assert set(shapes["Date"]) == set(shapes["Instant"]) == {"type", "format", "description"}

    history.fetch("2026-03-11T00:05:00.000000Z", {"2026-03-10": {"CHF": 0.93}})
    after = await described(api)
    shapes = after["components"]["schemas"]
    assert shapes["Currency"].pop("examples") == sorted([*NINTH, "CHF"])
    assert shapes["Date"].pop("examples") == ["1999-01-04", "2026-03-10"]
    assert after["components"]["schemas"] == before["components"]["schemas"]
    assert after["paths"] == before["paths"]


async def test_every_schema_has_a_type(api: Api) -> None:
    """Generators ignore `const` and `enum` without it."""

    def untyped(schema: Any) -> Iterator[Any]:
        for part in schema.values() if isinstance(schema, dict) else schema:
            if isinstance(part, dict | list):
                yield from untyped(part)
        if isinstance(schema, dict) and {"const", "enum", "pattern"} & schema.keys() and "type" not in schema:
            yield schema

    document = await described(api)
    for part in ("schemas", "parameters", "headers", "responses"):
        assert list(untyped(document["components"][part])) == []


async def test_groups_the_operations(api: Api) -> None:
    document = await described(api)
    described_tags = [tag["name"] for tag in document["tags"]]
    used = [tag for path in document["paths"].values() for tag in path["get"]["tags"]]
    assert len(used) == len(document["paths"])
    assert list(dict.fromkeys(used)) == described_tags
    assert len(described_tags) > 5


days = st.dates(dt.date(1999, 1, 1), dt.date(2035, 12, 31))


@given(span=st.tuples(days, days).map(sorted), day=st.dates(dt.date(1990, 1, 1), dt.date(2036, 12, 31)))
def test_generated_days_are_those_of_the_stored_span(span: list[dt.date], day: dt.date) -> None:
    first, last = span
    for asked in (day, first, last, first - dt.timedelta(days=1), last + dt.timedelta(days=1)):
        matches = re.fullmatch(days_between(first, last), asked.isoformat())
        assert bool(matches) == (first <= asked <= last)


async def test_describes_every_error(api: Api) -> None:
    assert set(KINDS) == {kind for kind in vars(errors).values() if isinstance(kind, ErrorKind)}
    text = (await api.get("/rates/openapi.json")).text
    # Only methods and forms outside the described operations have these errors.
    elsewhere = {errors.METHOD_NOT_ALLOWED, errors.PAYLOAD_TOO_LARGE}
    for kind in set(KINDS) - elsewhere:
        assert f"{kind.code} `{kind.type}`" in text
    assert {kind for operation in OPERATIONS if operation.errors for kind in operation.errors.kinds} <= set(
        KINDS
    )


def operation_of(schema: schemathesis.BaseSchema, path: str) -> Any:
    """Return the GET operation of a path, or None."""
    path = unquote(path.partition("?")[0]).removesuffix("/")
    templates = [
        template
        for template in schema
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template.removesuffix("/"))), path)
    ]
    # The template with the most letters of its own is the closest.
    closest = max(templates, key=lambda template: len(re.sub(r"\{\w+\}", "", template)), default=None)
    return schema[closest]["GET"] if closest else None


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/rates/latest?base=USD", "/rates/latest"),
        ("/rates/2026%2D03%2D09/", "/rates/{date}/"),
        ("/rates/2026-03-05..?base=USD", "/rates/{start}../"),
        ("/rates/2026-03-06..2026-03-08.csv", "/rates/{start}..{end}.csv"),
        ("/rates/2026-03-06..2026-03-08", "/rates/{start}..{end}/"),
        ("/rates", "/rates/"),
    ],
)
async def test_finds_the_operation_of_a_path(api: Api, path: str, template: str) -> None:
    schema = schemathesis.openapi.from_dict(await described(api))
    assert operation_of(schema, path).path == template


async def test_documents_match_their_schemas(api: Api) -> None:
    schema = schemathesis.openapi.from_dict(await described(api))
    for path in [*(path for path, _ in ALL), *(path for path, _ in (*CSV, *WIDE_CSV)), "/rates/"]:
        response = await api.get(path)
        assert response.status_code == 200
        operation_of(schema, path).validate_response(response)
        same = await api.get(path, If_None_Match=response.headers["etag"])
        assert same.status_code == 304
        operation_of(schema, path).validate_response(same)


async def test_errors_match_their_schemas(api: Api) -> None:
    schema = schemathesis.openapi.from_dict(await described(api))
    judged = 0
    for path, status, *_ in WRONG:
        if operation := operation_of(schema, path):
            response = await api.get(path)
            assert response.status_code == status
            operation.validate_response(response)
            judged += 1
    assert judged > 150


async def test_examples_succeed(api: Api) -> None:
    document = await described(api)
    parameters = document["components"]["parameters"]
    schema = schemathesis.openapi.from_dict(document)
    for operation in OPERATIONS:
        asked = [parameters[one.key] for one in operation.parameters if one.name not in ("as_of", "callback")]
        path = operation.path
        for parameter in asked:
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        query = {
            parameter["name"]: ",".join(value) if isinstance(value := parameter["example"], list) else value
            for parameter in asked
            if parameter["in"] == "query"
        }
        response = await api.client.get(path, params=query)
        assert response.status_code == (403 if path == METRICS else 200)  # only for token holders
        schema[operation.path]["GET"].validate_response(response)


async def test_responses_match_their_schemas_while_tokens_are_required(history: History, api: Api) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reader")
    opened = {"Authorization": f"Bearer {token}"}
    schema = schemathesis.openapi.from_dict(
        (await api.client.get("/rates/openapi.json", headers=opened)).json()
    )
    for path, _ in ALL:
        for headers, status in ((opened, 200), ({}, 401), ({"apikey": "wrong"}, 401)):
            response = await api.client.get(path, headers=headers)
            assert response.status_code == status
            operation_of(schema, path).validate_response(response)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve days up to yesterday, with gaps and revised values."""
    folder = tmp_path_factory.mktemp("served")
    now = dt.datetime.now(dt.timezone.utc)
    # Two years with few gaps, so that most generated days have rates.
    days = [(now - dt.timedelta(days=back)).date().isoformat() for back in range(1, 700) if back % 10 != 7]
    history = History(folder / "fx.db")
    for hours, some, factor in ((20_000, days[600:], 1.01), (30, days, 1.0), (20, days[:9], 1.02)):
        instant = (now - dt.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        rates = {code: rate * factor if code != "EUR" else 1 for code, rate in NINTH.items()}
        history.fetch(instant, dict.fromkeys(some, rates))
    history.name(**NAMES)
    history.close()
    with serving(history.path, folder / "log") as server:
        yield server


@pytest.mark.slow
def test_generated_requests_get_the_described_responses(server: Server, tmp_path: Path) -> None:
    """Run all phases and checks of schemathesis. None may fail, be skipped, or get a 500."""
    program = Path(sys.executable).with_name("schemathesis")
    arguments = [
        "--checks=all",
        "--max-examples=20",
        "--seed=1",
        # It needs a token even where the API is public, so it would return only 403.
        "--exclude-path=/-/metrics",
        "--continue-on-failure",
        "--no-color",
        # How many generated texts are no date depends on the version of the generator.
        "--suppress-health-check=filter_too_much",
    ]
    done = subprocess.run(
        [program, "run", f"{server.url}/rates/openapi.json", *arguments],
        cwd=tmp_path,
        env=environment(SCHEMATHESIS_HOOKS="fx_pipeline_tests.api.schemathesis_hooks"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "WARNINGS" not in done.stdout, done.stdout
    generated, passed = re.findall(r"(\d+) generated, (\d+) passed", done.stdout)[0]
    assert int(generated) == int(passed) >= CASES
    assert "Traceback" not in server.log.read_text()
