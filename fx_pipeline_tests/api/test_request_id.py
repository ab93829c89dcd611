"""The id of a request is in its response and in the lines of the log about it."""

import logging
import re
from pathlib import Path

import pytest

from fx_pipeline.logs import Redactor, TextFormatter
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import serving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PATHS = {
    "/": 200,
    "/rates/2026-03-06/": 200,
    "/rates/2026-03-06.csv": 200,
    "/rates/2026-03-05..": 200,
    "/fx/rates.json": 200,
    "/static/pages.css": 200,
    "/-/health": 200,
    "/rates/2026-03-07": 404,
    "/rates/latest?base=ZZZ": 400,
    "/nothing/": 404,
    "/-/plugins": 403,
    "/rates/latest?" + "a" * 9000: 414,
}


@pytest.mark.parametrize(("path", "status"), PATHS.items())
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "[0-9a-f]{32}"),
        ({"X-Request-Id": "order-17"}, "order-17"),
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
    ],
    ids=["none", "request id", "traceparent"],
)
async def test_each_response_has_the_id(
    api: Api, path: str, status: int, headers: dict[str, str], expected: str
) -> None:
    response = await api.client.get(path, headers=headers)
    assert response.status_code == status
    assert re.fullmatch(expected, response.headers["x-request-id"])
    assert "X-Request-Id" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST"])
async def test_other_methods_have_it_too(api: Api, method: str) -> None:
    response = await api.client.request(method, "/rates/latest", headers={"X-Request-Id": "order-17"})
    assert response.headers["x-request-id"] == "order-17"


async def test_a_refused_request_has_it(api: Api, token: str) -> None:
    response = await api.get("/rates/latest", X_Request_Id="order-17")
    assert (response.status_code, response.headers["x-request-id"]) == (401, "order-17")


async def test_scripts_of_other_sites_may_send_it(api: Api) -> None:
    response = await api.client.options("/rates/latest")
    assert {"X-Request-Id", "traceparent"} <= set(
        response.headers["access-control-allow-headers"].split(", ")
    )


async def test_a_cached_response_has_the_id_of_each_request(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_cache_mb=1)
    first = await api.get("/rates/latest", X_Request_Id="first")
    second = await api.get("/rates/latest", X_Request_Id="second")
    unnamed = await api.get("/rates/latest")
    unchanged = await api.get("/rates/latest", X_Request_Id="third", If_None_Match=first.headers["etag"])
    assert [one.headers.get("x-request-id") for one in (first, second, unnamed, unchanged)] == [
        "first",
        "second",
        # Making one would take 3 % of the time of a cached response.
        None,
        "third",
    ]
    assert [one.status_code for one in (first, second, unnamed, unchanged)] == [200, 200, 200, 304]
    assert first.content == second.content == unnamed.content
    for one in (second, unnamed, unchanged):
        assert one.headers["server-timing"] == 'cache;desc="hit"'


@pytest.mark.parametrize("megabytes", [0, 1])
async def test_a_failure_is_logged_with_its_id(
    history: History, open_api: OpenApi, megabytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(TextFormatter(Redactor()))
    api = open_api(history.path, fx_cache_mb=megabytes)
    assert (await api.get("/rates/symbols")).status_code == 200  # it has opened the file
    history.db.execute("DROP TABLE revisions")
    with caplog.at_level(logging.ERROR):
        response = await api.get("/rates/latest", X_Request_Id="order-17")
    assert (response.status_code, response.headers["x-request-id"]) == (500, "order-17")
    first, *_ = caplog.text.splitlines()
    assert first == "no response to /rates/latest [request_id=order-17 operation=latest_rates]"


def test_what_is_refused_before_it_is_read_has_it(history: History, tmp_path: Path) -> None:
    many = "".join(f"X-{number}: 1\r\n" for number in range(101))
    with serving(history.path, tmp_path / "log") as server:
        for head in (many, f"A: {'a' * 40_000}\r\n"):
            answer = server.raw(f"GET / HTTP/1.1\r\nX-Request-Id: order-17\r\n{head}\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert b"\r\nx-request-id: order-17\r\n" in answer.partition(b"\r\n\r\n")[0] + b"\r\n"
