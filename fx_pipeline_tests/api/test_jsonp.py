"""JSONP: a document as a script, for pages of other sites and without a token."""

import json

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History

CALLS = [
    "/rates/latest",
    "/rates/2026-03-06?base=USD&symbols=GBP",
    "/rates/2026-03-05..2026-03-09?symbols=USD",
    "/rates/convert?from=GBP&to=USD&amount=25",
    "/rates/symbols",
    "/rates/currencies",
    "/rates/",
]
NAMES = ["show", "jQuery36008_1700000000", "$", "_cb", "app.rates.show", "$jscomp.a1", "x" * 100]
NO_NAMES = [
    "1show",
    "show()",
    "show;alert",
    "a..b",
    ".a",
    "a.",
    "a[0]",
    "a-b",
    "a b",
    "<script>",
    "alert(1)//",
    "//",
    "\u00e9",
    "show\nx",
    "x\u2028y",
    "x" * 101,
]


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize("name", NAMES)
async def test_returns_a_script_that_calls_the_function(api: Api, path: str, name: str) -> None:
    plain = await api.get(path)
    script = await api.client.get(path, params=dict(item.split("=") for item in _query(path, name)))
    assert script.status_code == 200
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["x-content-type-options"] == "nosniff"
    assert script.headers["cache-control"] == plain.headers["cache-control"]
    assert script.text == f"/**/{name}({plain.text});"
    again = await api.client.get(script.request.url, headers={"if-none-match": script.headers["etag"]})
    assert again.status_code == 304


def _query(path: str, name: str) -> list[str]:
    given = path.partition("?")[2]
    return [*(given.split("&") if given else []), f"callback={name}"]


@pytest.mark.parametrize("name", NO_NAMES)
async def test_refuses_invalid_function_names(api: Api, name: str) -> None:
    response = await api.client.get("/rates/latest", params={"callback": name})
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert response.json()["error"]["type"] == "invalid_parameter"
    assert "is not a function name" in response.json()["message"]


async def test_an_empty_callback_returns_a_document(api: Api) -> None:
    assert (await api.get("/rates/latest?callback=")).content == (await api.get("/rates/latest")).content


@pytest.mark.parametrize("query", ["base=ZZZ", "base=GBp", "symbols=QQQ", "amount=-1", "as_of=2023-02-29"])
async def test_returns_errors_as_scripts(api: Api, query: str) -> None:
    plain = await api.get(f"/rates/latest?{query}")
    script = await api.get(f"/rates/latest?{query}&callback=show")
    assert (plain.status_code, script.status_code) == (400, 200)
    assert script.text == f"/**/show({plain.text});"
    assert script.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/rates/latest?currencies=USD&", "/rates/latest.csv?", "/rates/unknown?"])
async def test_unknown_parameters_get_a_plain_error(api: Api, path: str) -> None:
    response = await api.get(f"{path}callback=show")
    assert response.status_code in (400, 404)
    assert response.headers["content-type"] == "application/json; charset=utf-8"


async def test_format_1_indents_documents_and_errors(api: Api) -> None:
    plain = await api.get("/rates/2026-03-06?symbols=BTC,EUR,IDR")
    indented = await api.get("/rates/2026-03-06?symbols=BTC,EUR,IDR&format=1")
    assert indented.json() == plain.json()
    assert '\n  "rates": {\n    "BTC": 0.0000125,\n    "EUR": 1,\n    "IDR": 19660\n  }\n}\n' in indented.text
    assert (await api.get("/rates/2026-03-06?base=ZZZ&format=1")).text.startswith('{\n  "success": false,\n')
    both = await api.get("/rates/2026-03-06?symbols=BTC,EUR,IDR&format=1&callback=show")
    assert both.text == f"/**/show({indented.text});"


async def test_refuses_a_script_with_a_token(history: History, api: Api) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reader")
    for headers, path in (
        ({"Authorization": f"Bearer {token}"}, "/rates/latest?callback=show"),
        ({"apikey": token}, "/rates/latest?callback=show"),
        ({}, f"/rates/latest?callback=show&access_key={token}"),
    ):
        response = await api.client.get(path, headers=headers)
        assert response.status_code == 403
        assert response.json()["error"]["type"] == "function_access_restricted"
    assert (await api.get("/rates/latest?callback=show")).status_code == 401


async def test_refuses_a_script_for_a_page_of_this_server(api: Api) -> None:
    """This server's pages run scripts of this origin, so no address may choose a function to call."""
    for site, status in (("same-origin", 403), ("cross-site", 200), ("same-site", 200), ("none", 200)):
        response = await api.get("/rates/latest?callback=show", sec_fetch_site=site)
        assert response.status_code == status


async def test_the_script_contains_only_data(history: History, api: Api) -> None:
    history.name(USD='Dollar </script> \u2028 "')
    response = await api.get("/rates/symbols?callback=show&format=1")
    assert "\u2028" not in response.text
    document = response.text.removeprefix("/**/show(").removesuffix(");")
    assert json.loads(document)["symbols"]["USD"] == 'Dollar </script> \u2028 "'
