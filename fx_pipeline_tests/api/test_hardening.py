"""The responses to anonymous visitors on every path of Datasette, and to malformed input."""

import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.public_paths import PATHS


@pytest.mark.parametrize(("path", "status", "why"), PATHS, ids=[path for path, *_ in PATHS])
async def test_anonymous_visitors_see_only_public_pages(api: Api, path: str, status: int, why: str) -> None:
    response = await api.get(path)
    assert response.status_code == status, why
    assert "set-cookie" not in response.headers


def test_covers_every_route(api: Api) -> None:
    """Someone must decide on each route of a new Datasette or plugin."""
    paths = [re.split(r"\?", path)[0] for path, *_ in PATHS]
    routes = [pattern for pattern, _ in api.datasette._routes()]
    reached = {
        next((pattern.pattern for pattern in routes if pattern.match(path.rstrip("/") or "/")), None)
        for path in paths
    }
    assert {pattern.pattern for pattern in routes} - reached == set()


async def test_closed_pages_return_an_error_document(api: Api) -> None:
    info = "This page is about the server, not about rates, and is closed to the public."
    assert (await api.get("/-/plugins.json")).json() == {
        "success": False,
        "status": 403,
        "message": info,
        "error": {"code": 105, "type": "function_access_restricted", "info": info},
    }
    info = "You do not have permission to see this."
    assert (await api.get("/fx.json?sql=select+1")).json() == {
        "success": False,
        "status": 403,
        "message": info,
        "error": {"code": 105, "type": "function_access_restricted", "info": info},
    }


HOSTILE = [
    "'",
    '"',
    "\\",
    "' OR 1=1--",
    "'; DROP TABLE rates;--",
    "USD') UNION SELECT body FROM fetches--",
    "%",
    "\x00",
    "USD\x00",
    "\r\nSet-Cookie: a=b",
    "../../etc/passwd",
    "..",
    "<script>alert(1)</script>",
    "{{7*7}}",
    "٢٠٢٦-٠٣-٠٦",
    "２０２６-０３-０６",
    "uſd",
    "💶",
    "\ud7ff\uffff",
    "-1",
    "1e400",
    "NaN",
    "0001-01-01",
    "9999-12-31",
    "0000-00-00",
    "2026-03-06T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "A" * 7000,
    "1" * 7000,
    "," * 7000,
    "USD," * 1700,
    "-" * 7000,
]
PLACES = [
    "/rates/{}",
    "/rates/{}.csv",
    "/rates/{}..2026-03-06",
    "/rates/2026-03-05..{}",
    "/rates/latest?base={}",
    "/rates/latest?symbols={}",
    "/rates/latest?as_of={}",
    "/rates/2026-03-05..?symbols=USD,{}",
    "/rates/2026-03-05..?base={}",
    "/rates/timeseries?start_date={}&end_date=2026-03-06",
    "/rates/timeseries?start_date=2026-03-05&end_date={}",
    "/rates/fluctuation?start_date={}&end_date={}",
    "/rates/convert?from={}&to=USD&amount=1",
    "/rates/convert?from=EUR&to={}&amount=1",
    "/rates/convert?from=EUR&to=USD&amount={}",
    "/rates/convert?from=EUR&to=USD&amount=1&date={}",
    "/fx/rates_by_date.json?date={}&as_of={}",
    "/fx/rate_history.json?symbols={}&start_date={}",
    "/fx/rates_by_range.json?start_date={}&end_date={}",
    "/fx/stored_days.json?start_date={}&as_of={}",
    "/fx/rates.json?date={}",
    "/?base={}&date={}",
    "/fx/rates_by_date?date={}",
    "/fx/rates_by_date?base={}&as_of={}",
    "/currency/{}",
    "/currency/USD?base={}&range={}",
    "/currency/USD?symbols={}&indexed={}",
    "/currency/USD?start_date={}&end_date=2026-03-06",
    "/currency/USD?end_date={}",
    "/coverage?year={}",
    "/static/{}",
    "/fx/{}",
    "/fx/rates/{}",
    "/{}",
]


def encoded(text: str) -> str:
    """Percent-encode every byte of the text."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


def fits(path: str) -> bool:
    """Return whether the path is within the limit."""
    return len(path) <= 8192


@pytest.mark.parametrize("place", PLACES)
async def test_survives_malformed_values(api: Api, place: str) -> None:
    for text in HOSTILE:
        raw = (
            text if text.isascii() and text.isprintable() and not set(text) & set('"#%<>\\^`{|}? ') else None
        )
        for value in (encoded(text), raw):
            if value is None:
                continue
            path = place.replace("{}", value)
            response = await api.get(path)
            assert response.status_code < 500, path
            if not fits(path):
                assert response.status_code == 414
            assert "a=b" not in response.headers.get("set-cookie", "")


async def test_leaves_the_database_unchanged(api: Api) -> None:
    before = await api.get("/rates/1999-01-04..")
    for place, text in itertools.product(PLACES, ["'; DROP TABLE rates;--", "'); DELETE FROM days;--"]):
        await api.get(place.replace("{}", encoded(text)))
    assert (await api.get("/rates/1999-01-04..")).content == before.content


TOO_LONG = [
    "/rates/latest?symbols=" + ",".join(itertools.repeat("USD", 10_000)),
    "/rates/latest?" + "a" * 50_000,
    "/rates/latest?" + "&".join(f"a{number}=1" for number in range(5_000)),
    "/rates/" + "2" * 10_000,
    "/fx/rates.json?" + "date=1&" * 5_000,
    "/" + "a/" * 5_000,
]


@pytest.mark.parametrize("path", TOO_LONG, ids=[path[:30] for path in TOO_LONG])
async def test_refuses_requests_that_are_too_long(api: Api, path: str) -> None:
    response = await api.get(path)
    info = "The path and query have more than 8192 bytes."
    assert (response.status_code, response.json()["error"]) == (
        414,
        {"code": 414, "type": "uri_too_long", "info": info},
    )


HEADERS = [
    {"Cookie": "a@b=c; =; ;;"},
    {"Cookie": "a=\xff\xfe"},
    {"Cookie": 'ds_actor="' + "x" * 4000},
    {"Cookie": "ds_actor=e30.e30; ds_messages=W10; ds_csrftoken=x"},
    {"Authorization": "Bearer " + "x" * 4000},
    {"Authorization": "\xff"},
    {"If-None-Match": 'W/"' * 2000},
    {"Accept-Encoding": "gzip;q=0;q=1," * 500},
    {"Host": "evil.example'\"<>"},
    {"X-Forwarded-For": "' OR 1=1"},
    {"Range": "bytes=0-1"},
    {"Content-Length": "100"},
    {"Content-Type": "multipart/form-data"},
]


@pytest.mark.parametrize("headers", HEADERS, ids=[next(iter(headers)) for headers in HEADERS])
async def test_survives_malformed_headers(api: Api, headers: dict[str, str]) -> None:
    fields = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for path in ("/rates/latest", "/fx/rates_by_date.json", "/fx/rates", "/-/health"):
        response = await api.client.get(path, headers=fields)
        assert response.status_code == 200


names = st.sampled_from(
    ["base", "symbols", "as_of", "start_date", "end_date", "from", "to", "amount", "date", "access_key"]
)
likely = st.sampled_from(
    ["USD", "eur", "QQQ", "USD,GBP", "2026-03-06", "2026-03-07", "2026-03-06T00:00:00Z", "1", "1e3", ""]
)
values = likely | st.text(max_size=12)
functions = st.sampled_from(
    ["latest", "2026-03-06", "2026-03-05..", "..", "timeseries", "convert", "fluctuation", "symbols", ""]
)


@settings(
    max_examples=300,
    deadline=None,
    # All examples share one read-only API.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(function=functions | st.text(max_size=12), query=st.lists(st.tuples(names, values), max_size=5))
async def test_any_request_gets_a_documented_response(
    api: Api, function: str, query: Iterable[tuple[str, str]]
) -> None:
    path = f"/rates/{encoded(function)}?" + "&".join(f"{name}={encoded(value)}" for name, value in query)
    response = await api.get(path)
    assert response.status_code in (200, 400, 404)
    if response.status_code != 200:
        document = response.json()
        assert document["success"] is False
        assert document["status"] == response.status_code
        assert document["message"] == document["error"]["info"]
