"""How tokens are sent, and the responses to requests without a valid one."""

from collections.abc import Mapping
from typing import Any

import httpx

from fx_pipeline.api.middleware import gate
from fx_pipeline_tests.api.conftest import Api

MISSING = {
    "success": False,
    "status": 401,
    "message": gate.MISSING,
    "error": {"code": 101, "type": "missing_access_key", "info": gate.MISSING},
}
INVALID = {
    "success": False,
    "status": 401,
    "message": gate.INVALID,
    "error": {"code": 101, "type": "invalid_access_key", "info": gate.INVALID},
}
LOST = {
    "success": False,
    "status": 401,
    "message": gate.CLOSED,
    "error": {"code": 101, "type": "missing_access_key", "info": gate.CLOSED},
}
LATEST = "/rates/latest?symbols=USD"
BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


CARRIERS = [
    ({"Authorization": "Bearer {}"}, ""),
    ({"Authorization": "bearer {}"}, ""),
    ({"Authorization": "BEARER   {}  "}, ""),
    ({"apikey": "{}"}, ""),
    ({"APIKey": " {} "}, ""),
    ({}, "access_key={}"),
    ({}, "symbols=USD&access_key={}&format=0"),
    ({}, "%61ccess_key={}"),
    ({}, "access_key=+{}+"),
]


def carried(
    carrier: tuple[Mapping[str, str], str], token: str, path: str = LATEST
) -> tuple[str, dict[str, str]]:
    """Return path and headers of a request with the token in a carrier."""
    headers, query = carrier
    path += ("&" if "?" in path else "?") + query.format(token) if query else ""
    return path, {name: value.format(token) for name, value in headers.items()}


def assert_refused(answer: httpx.Response, document: dict[str, Any]) -> None:
    """Check the whole response to a request without a valid token."""
    assert (answer.status_code, answer.json()) == (401, document)
    headers = ("www-authenticate", "cache-control", "access-control-allow-origin", "content-type")
    assert [answer.headers[name] for name in headers] == [
        "Bearer",
        "no-store",
        "*",
        "application/json; charset=utf-8",
    ]
    assert "etag" not in answer.headers
    assert "set-cookie" not in answer.headers


async def log_in(api: Api, token: str, next_: str = "/") -> httpx.Response:
    """Post the login form. The client then has the cookie."""
    return await api.client.post("/-/login", data={"token": token, "next": next_})
