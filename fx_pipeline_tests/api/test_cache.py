"""The response cache: the same responses, faster, and never a stale one."""

import asyncio
import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx_pipeline.api.middleware.cache import ResponseCache
from fx_pipeline.api.middleware.normalise import Normalise
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.waiting import PATIENCE


class CachedApi:
    """The application behind a cache, called over HTTP in this process."""

    def __init__(self, api: Api) -> None:
        self.api = api
        assert isinstance(api.app, Normalise)
        assert isinstance(api.app.app, ResponseCache)
        self.cache = api.app.app
        self.client = api.client

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[str | None, httpx.Response]:
        """Return the response, and whether it was a `hit` or a `miss`; None if the cache was bypassed."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.request(method, path, headers=fields)
        marker = response.headers.pop("server-timing", None)
        response.headers.pop("x-request-id", None)  # test_request_id
        return (marker.split('"')[1] if marker else None), response

    async def how(self, path: str, method: str = "GET", **headers: str) -> str | None:
        return (await self.ask(path, method, **headers))[0]


@pytest.fixture
def cached(history: History, open_api: OpenApi) -> CachedApi:
    return CachedApi(open_api(history.path, fx_cache_mb=1))


async def test_caches_a_response(cached: CachedApi) -> None:
    first, again = await cached.ask("/rates/2026-03-09/"), await cached.ask("/rates/2026-03-09/")
    assert (first[0], again[0]) == ("miss", "hit")
    assert (first[1].headers, first[1].content) == (again[1].headers, again[1].content)


@pytest.mark.parametrize(
    "path",
    [
        "/rates/2026-03-09",
        "/rates/2026-03-09/?access_key=KEY",
        "/rates/2026%2D03%2D09/?apikey=KEY&_=1&utm_source=x",
    ],
)
async def test_hits_for_an_equivalent_request(cached: CachedApi, path: str) -> None:
    await cached.how("/rates/2026-03-09/")
    assert await cached.how(path) == "hit"


@pytest.mark.parametrize(
    "path",
    [
        "/rates/2026-03-08/",
        "/rates/2026-03-09.csv",
        "/rates/2026-03-09/?base=USD",
        "/rates/2026-03-09/?symbols=USD",
        "/rates/2026-03-09/?as_of=2026-03-10",
        "/rates/2026-03-09/?from=USD",
        "/rates/2026-03-09/?to=USD",
        "/rates/2026-03-09/?amount=10",
        "/rates/2026-03-09/?format=1",
    ],
)
async def test_misses_for_a_different_request(cached: CachedApi, path: str) -> None:
    await cached.how("/rates/2026-03-09/")
    assert await cached.how(path) == "miss"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/rates/2026-03-09//", 404), ("/rates/2026-03-09%2F", 404), ("/rates%2F2026-03-09", 302)],
)
async def test_treats_similar_paths_as_different(cached: CachedApi, path: str, status: int) -> None:
    await cached.how("/rates/2026-03-09/")
    how, response = await cached.ask(path)
    assert (how, response.status_code) == (None, status)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/rates/2026-03-09/", {"authorization": "Bearer x"}),
        ("/rates/2026-03-09/", {"cookie": "ds_actor=x"}),
        ("/rates/2026-03-09/", {"apikey": "x"}),
        ("/rates/2026-03-07/", {}),  # nothing stored
        ("/rates/2026-03-09/?base=ZZZ", {}),
        ("/rates/2026-03-09/?currencies=USD", {}),  # unknown
        ("/rates/2026-03-09/?_=1;base=USD", {}),
        ("/rates/2026-03-09/?callback=show", {}),  # depends on headers
        ("/rates/unknown", {}),
        ("/fx/rates.json", {}),
        ("/-/health", {}),
    ],
)
async def test_bypasses_errors_credentials_and_other_pages(
    cached: CachedApi, path: str, headers: dict[str, str]
) -> None:
    assert [await cached.how(path, **headers) for _ in range(2)] == [None, None]
    await cached.how("/rates/2026-03-09/")
    assert await cached.how("/rates/2026-03-09/", "POST") is None


GZIP_TAKEN = {
    "gzip": True,
    "GZIP": True,
    "gzip;q=0.5": True,
    "gzip;q=1.0,deflate;q=0.6,identity;q=0.3": True,
    "br;q=0, gzip": True,
    "gzip, deflate;q=0.9": True,
    "gzip;q=0": False,
    "gzip;Q=0.00": False,
    "gzip ; q=0, br": False,
    "br": False,
    "identity": False,
}


@pytest.mark.parametrize("accepted", GZIP_TAKEN)
async def test_caches_compressed_and_plain_responses_separately(cached: CachedApi, accepted: str) -> None:
    _, first = await cached.ask("/rates/openapi.json", accept_encoding=accepted)
    assert (first.headers.get("content-encoding") == "gzip") is GZIP_TAKEN[accepted]
    for other, taken in GZIP_TAKEN.items():
        cached.cache.clear()
        await cached.ask("/rates/openapi.json", accept_encoding=accepted)
        how, response = await cached.ask("/rates/openapi.json", accept_encoding=other)
        assert (response.headers.get("content-encoding") == "gzip") is taken
        assert response.content == first.content
        assert how == ("hit" if taken is GZIP_TAKEN[accepted] else "miss")


async def test_is_bypassed_while_tokens_are_required(
    cached: CachedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cached.how("/rates/2026-03-09/")
    monkeypatch.setattr(cached.api.datasette, "is_open", lambda: False)
    assert await cached.how("/rates/2026-03-09/") is None
    monkeypatch.undo()
    assert await cached.how("/rates/2026-03-09/") == "hit"


async def test_the_next_request_sees_a_commit(cached: CachedApi, history: History) -> None:
    for number in range(1, 30):
        history.fetch(f"2026-03-10T11:00:{number:02}.000000Z", {"2026-03-09": {"USD": 1 + number / 100}})
        how, response = await cached.ask("/rates/2026-03-09/?symbols=USD")
        assert (how, response.json()["rates"]) == ("miss", {"USD": 1 + number / 100})
        assert await cached.how("/rates/2026-03-09/?symbols=USD") == "hit"


async def test_an_old_etag_gets_the_full_response_after_a_change(cached: CachedApi, history: History) -> None:
    _, before = await cached.ask("/rates/2026-03-09/")
    how, response = await cached.ask("/rates/2026-03-09/", if_none_match=before.headers["etag"])
    assert (how, response.status_code, response.content) == ("hit", 304, b"")
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-09": {"USD": 1.5}})
    how, response = await cached.ask("/rates/2026-03-09/", if_none_match=before.headers["etag"])
    assert (how, response.status_code) == ("miss", 200)
    assert response.headers["etag"] != before.headers["etag"]


@pytest.mark.parametrize(
    ("path", "now", "seconds", "how"),
    [
        ("/rates/latest", "2026-03-10T12:00:00", 59, "hit"),
        ("/rates/latest", "2026-03-10T12:00:00", 61, "miss"),
        ("/rates/latest", "2026-03-10T23:58:30", 29, "hit"),
        ("/rates/latest", "2026-03-10T23:58:30", 31, "miss"),  # 60 s of freshness would end after midnight
        ("/rates/1999-01-04/", "2026-03-10T12:00:00", 43_000, "hit"),
        ("/rates/1999-01-04/", "2026-03-10T12:00:00", 43_201, "miss"),  # another day
    ],
)
async def test_entries_expire(cached: CachedApi, path: str, now: str, seconds: int, how: str) -> None:
    cached.api.now = dt.datetime.fromisoformat(now).replace(tzinfo=dt.timezone.utc)
    await cached.how(path)
    cached.api.now += dt.timedelta(seconds=seconds)
    assert await cached.how(path) == how


async def test_drops_the_least_recently_used_entries(cached: CachedApi) -> None:
    cached.cache.size = 20_000
    for index in range(60):
        await cached.how("/rates/2026-03-09/")
        await cached.how(f"/rates/2026-03-0{5 + index % 5}/?symbols=USD&amount={index}")
        assert cached.cache.used <= 20_000
    assert await cached.how("/rates/2026-03-09/") == "hit"


paths = st.sampled_from(
    ["/rates", "/rates/", "/rates/latest", "/rates/latest.csv", "/rates/symbols", "/rates/currencies"]
    + [f"/rates/2026-03-0{day}{end}" for day in (6, 7, 8, 9) for end in ("", "/", ".csv")]
    + ["/rates/2026-03-05..2026-03-09/", "/rates/2026-03-05../", "/rates/timeseries", "/rates/convert"]
)
queries = st.lists(
    st.one_of(
        st.tuples(st.just("base"), st.sampled_from(["USD", "usd", "EUR", "ZZZ", ""])),
        st.tuples(st.just("symbols"), st.sampled_from(["USD,GBP", "GBP,USD", "XAU", "ZWL", ","])),
        st.tuples(st.just("as_of"), st.sampled_from(["2026-03-07", "2026-03-08T12:00:00Z", "x"])),
        st.tuples(st.sampled_from(["start_date", "end_date", "date"]), st.sampled_from(["2026-03-06", "x"])),
        st.tuples(st.sampled_from(["from", "to"]), st.sampled_from(["USD", "EUR"])),
        st.tuples(st.just("amount"), st.sampled_from(["1", "2.5", "-1"])),
        st.tuples(st.sampled_from(["access_key", "format"]), st.just("x")),
    ),
    max_size=4,
)
asked_headers = st.fixed_dictionaries(
    {},
    optional={
        "accept_encoding": st.sampled_from(["gzip", "gzip;q=0", "br", "gzip, deflate"]),
        "if_none_match": st.sampled_from(["*", '"x"', 'W/"x", "y"']),
        "origin": st.just("https://example.com"),
    },
)


@settings(deadline=None, max_examples=250, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=paths, query=queries, headers=asked_headers, method=st.sampled_from(["GET", "HEAD"]))
async def test_cached_and_uncached_responses_are_identical(
    cached: CachedApi,
    api: Api,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    method: str,
) -> None:
    url = str(httpx.URL(path, params=query)) if query else path
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    plain = await api.client.request(method, url, headers=fields)
    del plain.headers["x-request-id"]
    for _ in range(2):
        _, kept = await cached.ask(url, method, **headers)
        assert (kept.status_code, kept.headers, kept.content) == (
            plain.status_code,
            plain.headers,
            plain.content,
        )


@pytest.fixture
def served(history: History, tmp_path: Path) -> Iterator[str]:
    """Serve `history` with two workers. Yields the address."""
    with serving(history.path, tmp_path / "log", workers=2) as server:
        yield server.url


@pytest.mark.slow
async def test_two_workers_never_return_stale_data(served: str, history: History) -> None:
    writes, clients = 1_000, 6

    async def ask(client: httpx.AsyncClient) -> dict[str, Any]:
        response = await client.get(f"{served}/rates/2026-03-09/?symbols=USD")
        document: dict[str, Any] = json.loads(response.content)
        return document

    # One connection each, so that both workers get some.
    pool = [httpx.AsyncClient(timeout=PATIENCE) for _ in range(clients)]
    for number in range(writes):
        rate = 1 + number / 1000
        stored_at = dt.datetime(2026, 3, 10, tzinfo=dt.timezone.utc) + dt.timedelta(seconds=number)
        history.fetch(stored_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), {"2026-03-09": {"USD": rate}})
        answers = await asyncio.gather(*(ask(client) for client in pool))
        assert {answer["rates"]["USD"] for answer in answers} == {rate}
    for client in pool:
        await client.aclose()
