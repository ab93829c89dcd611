"""Access while a token is required: by every carrier, and for every path."""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx_pipeline.api.middleware import gate
from fx_pipeline.api.middleware.paths import METRICS
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.clock import instant_text
from fx_pipeline_tests.api.access import (
    BROWSER,
    CARRIERS,
    INVALID,
    LATEST,
    LOST,
    MISSING,
    assert_refused,
    carried,
    log_in,
)
from fx_pipeline_tests.api.conftest import NOW, Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.public_paths import BAD, CLOSED, OPEN, PATHS
from fx_pipeline_tests.waiting import wait_for_async


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
async def test_accepts_a_token_from_every_carrier(
    api: Api, file: TokenFile, carrier: tuple[Mapping[str, str], str]
) -> None:
    before = await api.get(LATEST)
    token, revoked = file.create("reports"), file.create("old")
    file.revoke("old")
    path, headers = carried(carrier, token)
    answer = await api.client.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, before.content)
    assert answer.headers["cache-control"] == "private, no-store"
    for other in (revoked, "fxp_" + "x" * 43, "x", token[:-1]):
        path, headers = carried(carrier, other)
        assert_refused(await api.client.get(path, headers=headers), INVALID)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({}, ""),
        ({}, "access_key="),
        ({"apikey": ""}, "access_key=+"),
        ({"Authorization": "Bearer"}, ""),
        ({"Authorization": "Bearer "}, ""),
        # For a proxy in front of the API.
        ({"Authorization": "Basic {}"}, ""),
        ({"Authorization": "{}"}, ""),
        ({"Cookie": "access_key={}; apikey={}"}, ""),
        ({"X-Api-Key": "{}"}, "apikey={}&Access_Key={}&token={}"),
    ],
    ids=str,
)
async def test_ignores_tokens_in_other_places(
    api: Api, token: str, headers: dict[str, str], query: str
) -> None:
    sent = {name: value.replace("{}", token) for name, value in headers.items()}
    answer = await api.client.get(f"{LATEST}&{query.replace('{}', token)}", headers=sent)
    assert_refused(answer, MISSING)


GOOD, OTHER, REVOKED = "good", "other", "revoked"


@pytest.mark.parametrize(
    ("bearer", "header", "query", "cookie", "whose"),
    [
        (GOOD, REVOKED, [REVOKED], None, "good"),
        (REVOKED, GOOD, [REVOKED], None, "good"),
        (REVOKED, REVOKED, [REVOKED, GOOD], None, "good"),
        (REVOKED, REVOKED, [GOOD, REVOKED], None, "good"),
        (GOOD, OTHER, [OTHER], OTHER, "good"),
        (None, OTHER, [GOOD], GOOD, "other"),
        (None, None, [OTHER, GOOD], None, "other"),
        (REVOKED, None, [], GOOD, "good"),
        (OTHER, None, [], GOOD, "other"),
        (REVOKED, REVOKED, [REVOKED, REVOKED], REVOKED, None),
    ],
)
async def test_the_first_valid_token_identifies_the_client(
    api: Api,
    file: TokenFile,
    monkeypatch: pytest.MonkeyPatch,
    bearer: str | None,
    header: str | None,
    query: list[str],
    cookie: str | None,
    whose: str | None,
) -> None:
    """Clients of Fixer always send an access_key, even if their session adds a header."""
    monkeypatch.setattr(gate, "WRITE_SECONDS", 0)
    tokens = {name: file.create(name) for name in (GOOD, OTHER, REVOKED)}
    cookies = {name: (await log_in(api, token)).cookies["ds_actor"] for name, token in tokens.items()}
    api.client.cookies.clear()
    file.revoke(REVOKED)
    headers = {}
    if bearer:
        headers["Authorization"] = f"Bearer {tokens[bearer]}"
    if header:
        headers["apikey"] = tokens[header]
    if cookie:
        headers["Cookie"] = f"ds_actor={cookies[cookie]}"
    path = LATEST + "".join(f"&access_key={tokens[name]}" for name in query)
    answer = await api.client.get(path, headers=headers)
    assert answer.status_code == (200 if whose else 401)
    expected = {name: int(name == whose) for name in tokens}
    await wait_for_async(
        lambda: {record.name: record.requests for record in file.records()},
        lambda counted: counted == expected,
    )


# Public.
ALWAYS = {"/-/health", "/-/health/ready", "/-/health/freshness", "/-/login", "/-/mcp", "/favicon.ico"}


@pytest.mark.parametrize(("path", "status"), [(path, status) for path, status, _ in PATHS])
async def test_requires_a_token_for_all_but_public_paths(
    api: Api, file: TokenFile, path: str, status: int
) -> None:
    without = (await api.get(path)).status_code
    assert without == status
    token = file.create("reports")
    others = await api.get(path)
    public = {path.partition("?")[0], path.rpartition(".")[0]} & ALWAYS
    if public or path.startswith(("/-/static", "/static/")):
        assert others.status_code == status
    elif path.startswith("/-/") and path != METRICS:
        assert (others.status_code, others.json()["error"]["code"]) == (CLOSED, 105)
    else:
        assert_refused(others, MISSING)
    holder = await api.get(path, Authorization=f"Bearer {token}")
    if path.startswith((METRICS, "/fx/fetches", "/fx/last_fetches", "/fx/calls_of_month", "/fx/store_state")):
        status = OPEN
    elif "_through" in path:
        # Facets through another table are closed to everyone.
        status = BAD
    assert holder.status_code == status
    if holder.status_code == OPEN and not path.startswith(("/-/", "/static/")) and path != "/favicon.ico":
        assert holder.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "POST", "PUT", "DELETE"])
async def test_checks_the_token_for_every_method(api: Api, token: str, method: str) -> None:
    others = await api.client.request(method, LATEST)
    holder = await api.client.request(method, LATEST, headers={"apikey": token})
    statuses = {"OPTIONS": (204, 204), "HEAD": (401, 200)}.get(method, (405, 405))
    assert (others.status_code, holder.status_code) == statuses
    assert others.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "path",
    [
        "/rates/nothing",
        "/rates/2026-02-30",
        "/rates/2026-03-07",
        "/rates/latest?base=ZZZ",
        "/fx/nothing.json",
        "/nothing",
        "/fx/rates.json?_sort=nothing",
        "/rates/%00",
        "/%2e%2e/-/health",
        "/-/health%2f..%2f..%2frates/latest",
        "/-/static/../../rates/latest",
        "//rates/latest",
        "/rates/latest;/-/health",
        "/rates/latest?/-/health",
    ],
)
async def test_no_spelling_of_a_path_avoids_the_gate(api: Api, token: str, path: str) -> None:
    """Errors do not leak either, and no spelling of a public path leads to another one."""
    answer = await api.client.get(httpx.URL("http://api", raw_path=path.encode()))
    assert answer.status_code in (401, 403, 404)
    assert "1.165" not in answer.text
    if answer.status_code == 401:
        assert answer.json() == MISSING


async def test_a_holder_gets_a_304(api: Api, token: str) -> None:
    whole = await api.get(LATEST, apikey=token)
    again = await api.get(LATEST, apikey=token, If_None_Match=whole.headers["etag"])
    assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-store")
    assert (await api.get(LATEST, If_None_Match=whole.headers["etag"])).status_code == 401


async def test_refuses_a_revoked_token_until_all_tokens_are_forgotten(api: Api, file: TokenFile) -> None:
    token = file.create("reports")
    assert (await api.get(LATEST, apikey=token)).status_code == 200
    file.revoke("reports")
    assert_refused(await api.get(LATEST, apikey=token), INVALID)
    assert_refused(await api.get(LATEST), MISSING)
    file.forget_all()
    answer = await api.get(LATEST, apikey=token)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "public, max-age=60")


async def test_a_setting_requires_tokens_before_any_exists(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_require_token=True)
    assert_refused(await api.get(LATEST), MISSING)
    assert (await api.get("/-/health")).status_code == 200
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    assert (await api.get(LATEST, apikey=token)).status_code == 200


async def test_refuses_everyone_if_tokens_cannot_be_read(
    api: Api, file: TokenFile, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.write_bytes(b"x" * 4096)
    assert_refused(await api.get(LATEST), LOST)
    answer = await api.get(LATEST, apikey=token)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal_error")
    assert "tokens.db cannot be read" in caplog.text
    assert token not in caplog.text
    assert (await api.get("/-/health")).status_code == 200


@pytest.mark.parametrize("carrier", CARRIERS, ids=str)
async def test_ignores_tokens_while_none_is_required(
    api: Api, carrier: tuple[Mapping[str, str], str]
) -> None:
    before = await api.get(LATEST)
    path, headers = carried(carrier, "a key of Fixer's")
    answer = await api.client.get(path, headers=headers)
    assert (answer.status_code, answer.content) == (200, before.content)
    kept = "private, no-store" if "Authorization" in headers else "public, max-age=60"
    assert answer.headers["cache-control"] == kept


@pytest.mark.parametrize("needed", [False, True])
async def test_datasette_never_sees_a_token(api: Api, file: TokenFile, needed: bool) -> None:
    """Datasette would filter rows by it, and repeat it in links."""
    paths = ("/fx/rates.json?_size=3&currency=USD", "/fx/rates.csv", "/fx/rates_by_date.json?date=2026-03-06")
    before = {path: await api.get(path) for path in paths}
    token = file.create("reports") if needed else "fxp_marked"
    for path in paths:
        answer = await api.get(f"{path}{'&' if '?' in path else '?'}access_key={token}")
        assert timeless(answer) == timeless(before[path])
    for path in (
        "/fx/rates",
        "/fx/rates_by_date",
        "/",
        "/fx",
        "/fx/nothing",
        "/nothing",
        "/fx/rates?_sort=x",
    ):
        for carrier in CARRIERS:
            target, headers = carried(carrier, token, path)
            answer = await api.client.get(target, headers={**headers, "Accept": BROWSER})
            assert answer.status_code in (200, 400, 404)
            assert token not in answer.text
            assert token not in str(answer.headers)


def timeless(answer: httpx.Response) -> str:
    """Return the text without the duration of the query."""
    return re.sub(r'"query_ms": [0-9.]+', "", answer.text)


async def test_writes_request_counts_when_the_server_stops(api: Api, file: TokenFile, token: str) -> None:
    application = api.app
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        for _ in range(3):
            await client.get(LATEST, headers={"apikey": token})
            await client.get(LATEST, headers={"apikey": "wrong"})
            await client.get("/-/health", headers={"apikey": token})
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        assert message["type"].endswith(".complete")

    await application({"type": "lifespan"}, receive, send)
    assert [record.requests for record in file.records()] == [3]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.sampled_from([None, "a", "b", "c"]),
            st.sampled_from(CARRIERS),
            st.integers(0, 1),
        ),
        st.tuples(st.just("create"), st.sampled_from("ab")),
        st.tuples(st.just("revoke"), st.sampled_from("ab")),
        st.just(("off",)),
        st.just(("commit",)),
    ),
    min_size=20,
    max_size=60,
)


@settings(
    max_examples=25,
    deadline=None,
    # Each example starts without a token, with the rates of the previous one.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=STEPS)
async def test_caches_never_leak_responses_across_tokens(
    history: History, open_api: OpenApi, file: TokenFile, steps: list[tuple[Any, ...]]
) -> None:
    """Two workers with caches, while tokens and data change between the requests."""
    clients = [open_api(history.path, fx_cache_mb=1).client for _ in range(2)]
    file.forget_all()
    made = {"c": "fxp_of_somebody_else"}
    valid: set[str] = set()
    needed, rate = False, 1.0
    history.fetch(instant_text(NOW), {"2026-03-09": {"USD": rate}})
    for step, *what in steps:
        if step == "create" and what[0] not in valid:
            made[what[0]], needed = file.create(what[0]), True
            valid.add(what[0])
        elif step == "revoke" and what[0] in valid:
            file.revoke(what[0])
            valid.remove(what[0])
        elif step == "off":
            file.forget_all()
            valid, needed = set(), False
        elif step == "commit":
            rate += 0.5
            history.fetch(instant_text(NOW), {"2026-03-09": {"USD": rate}})
        elif step == "ask":
            who, carrier, worker = what
            path, headers = carried(carrier, made[who]) if made.get(who) else (LATEST, {})
            answer = await clients[worker].get(path, headers=headers)
            if needed and who not in valid:
                assert_refused(answer, INVALID if made.get(who) else MISSING)
            else:
                assert (answer.status_code, answer.json()["rates"]) == (200, {"USD": rate})
                private = needed or "Authorization" in headers
                assert answer.headers["cache-control"] == (
                    "private, no-store" if private else "public, max-age=60"
                )
                assert not (private and "server-timing" in answer.headers)
    for client in clients:
        await client.aclose()
