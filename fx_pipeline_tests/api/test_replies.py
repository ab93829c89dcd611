"""HTTP semantics of the whole application (RFC 9110, RFC 9111)."""

import datetime as dt
import gzip
from pathlib import Path

import pytest
from starlette.types import Message

from fx_pipeline.alerted import AlertState, write_alerts
from fx_pipeline.drilled import DrillState, write_drill
from fx_pipeline_tests.api.conftest import NOW, Api, OpenApi
from fx_pipeline_tests.api.history import History

READABLE = [
    "/rates/",
    "/rates/latest",
    "/rates/2026-03-06/",
    "/rates/2026-03-06.csv",
    "/rates/2026-03-05..",
    "/rates/timeseries?start_date=2026-03-05&end_date=2026-03-09",
    "/rates/convert?from=EUR&to=USD&amount=1",
    "/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-09",
    "/rates/symbols",
    "/rates/currencies",
]
WRONG = ["/rates/2026-02-30", "/rates/2026-03-07", "/rates/nothing", "/-/plugins"]
DATASETTE = [
    "/",
    "/fx",
    "/fx.json",
    "/fx/rates",
    "/fx/rates.json",
    "/fx/rates_by_date",
    "/fx/rates_by_date.json",
]
HEALTH = ["/-/health", "/-/health/freshness"]


async def test_the_etag_depends_on_the_content(history: History, api: Api) -> None:
    tag = (await api.get("/rates/2026-03-06")).headers["etag"]
    assert tag.startswith('W/"')
    assert (await api.get("/rates/2026-03-06/?access_key=x")).headers["etag"] == tag
    assert (await api.get("/rates/2026-03-06?base=USD")).headers["etag"] != tag
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-08": {"USD": 1.17}})
    assert (await api.get("/rates/2026-03-06")).headers["etag"] == tag
    history.fetch("2026-03-10T11:30:00.000000Z", {"2026-03-06": {"USD": 1.17}})
    assert (await api.get("/rates/2026-03-06")).headers["etag"] != tag


@pytest.mark.parametrize("path", READABLE)
@pytest.mark.parametrize(
    "form", ["{weak}", "{strong}", '"other", {weak}', '"other",{strong} , W/"more"', "*", " * ", "W/{weak}"]
)
async def test_returns_304_for_a_known_etag(api: Api, path: str, form: str) -> None:
    whole = await api.get(path)
    weak = whole.headers["etag"]
    same = await api.get(path, If_None_Match=form.format(weak=weak, strong=weak.removeprefix("W/")))
    assert (same.status_code, same.content) == (304, b"")
    for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
        assert same.headers[name] == whole.headers[name]
    assert "content-type" not in same.headers


@pytest.mark.parametrize("field", ['"other"', "", "nonsense", 'W/"', '"' * 5000])
async def test_returns_200_for_other_etags(api: Api, field: str) -> None:
    response = await api.get("/rates/latest", If_None_Match=field)
    assert (response.status_code, response.json()["success"]) == (200, True)


async def test_an_error_never_becomes_a_304(api: Api) -> None:
    assert (await api.get("/rates/2026-03-07", If_None_Match="*")).status_code == 404
    assert (await api.get("/-/health", If_None_Match="*")).status_code == 200


@pytest.mark.parametrize("path", [*READABLE, *WRONG, *DATASETTE, *HEALTH])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_head_returns_the_headers_of_get(api: Api, path: str, encoding: str) -> None:
    headers = {"accept-encoding": encoding, "x-request-id": "order-17"}
    get = await api.client.get(path, headers=headers)
    head = await api.client.head(path, headers=headers)
    assert (head.status_code, head.content) == (get.status_code, b"")
    # Pages show the duration of their query.
    assert {**head.headers, "content-length": ""} == {**get.headers, "content-length": ""}


@pytest.mark.parametrize("path", [*READABLE, *WRONG])
async def test_sends_the_content_length(api: Api, path: str) -> None:
    get = await api.get(path)
    head = await api.client.head(path, headers={"accept-encoding": "identity"})
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


@pytest.mark.parametrize("path", [*READABLE, *WRONG, *DATASETTE, *HEALTH])
async def test_answers_preflight_requests(api: Api, path: str) -> None:
    response = await api.client.options(
        path, headers={"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
    )
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert "authorization" in response.headers["access-control-allow-headers"].lower()


@pytest.mark.parametrize("path", [*READABLE, *WRONG, *DATASETTE, *HEALTH])
async def test_allows_any_origin_to_read(api: Api, path: str) -> None:
    response = await api.get(path, Origin="https://a.example")
    assert response.headers["access-control-allow-origin"] == "*"
    assert "ETag" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("path", [*READABLE, *WRONG, *DATASETTE, *HEALTH])
async def test_refuses_writing_methods(api: Api, path: str) -> None:
    info = "This API is read-only. Allowed methods: GET, HEAD, OPTIONS."
    for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"):
        response = await api.client.request(
            method, path, content=b"a=1", headers={"Cookie": "ds_csrftoken=x"}
        )
        assert response.status_code == 405
        assert response.headers["allow"] == "GET, HEAD, OPTIONS"
        assert response.json() == {
            "success": False,
            "status": 405,
            "message": info,
            "error": {"code": 103, "type": "invalid_api_function", "info": info},
        }


SETTLED, RECENT = "public, max-age=86400", "public, max-age=60"

# On March 10 the daily run refetches the 9th and the two days before it, so the 7th and later may change.
CACHE_CONTROL = [
    ("/rates/1999-01-04", SETTLED),
    ("/rates/2026-03-06", SETTLED),
    ("/rates/2026-03-06.csv", SETTLED),
    ("/rates/2026-03-08", RECENT),
    ("/rates/2026-03-09", RECENT),
    ("/rates/latest", RECENT),
    ("/rates/1999-01-04..1999-01-05", SETTLED),
    ("/rates/2026-03-05..2026-03-06.csv?symbols=USD", SETTLED),
    ("/rates/1999-01-04..1999-01-05?symbols=USD,JPY", SETTLED),
    # The days in between are not stored, and may be fetched.
    ("/rates/1999-01-04..2026-03-06", RECENT),
    ("/rates/1999-01-04..2026-03-06.csv?symbols=USD", RECENT),
    ("/rates/1999-01-04..2026-03-06?as_of=2026-03-09", SETTLED),
    ("/rates/1999-01-04..2026-03-07", RECENT),
    ("/rates/1999-01-04..2026-03-10", RECENT),
    ("/rates/1999-01-04..", RECENT),
    ("/rates/timeseries?start_date=1999-01-04&end_date=1999-01-05", SETTLED),
    ("/rates/timeseries?start_date=1999-01-04&end_date=2000-01-03", RECENT),
    ("/rates/timeseries?start_date=1999-01-04&end_date=2026-03-09", RECENT),
    ("/rates/convert?from=EUR&to=USD&amount=1", RECENT),
    ("/rates/convert?from=EUR&to=USD&amount=1&date=2026-03-06", SETTLED),
    ("/rates/convert?from=EUR&to=USD&amount=1&date=2026-03-09", RECENT),
    ("/rates/fluctuation?start_date=2026-03-06&end_date=1999-01-04", SETTLED),
    ("/rates/fluctuation?start_date=2026-03-09&end_date=1999-01-04", RECENT),
    ("/rates/symbols", RECENT),
    ("/rates/", RECENT),
    # What was known then is settled once no fetch from before can still be running.
    ("/rates/latest?as_of=2026-03-09", SETTLED),
    ("/rates/2026-03-09?as_of=2026-03-10T10:59:59Z", SETTLED),
    ("/rates/2026-03-09?as_of=2026-03-10T11:00:01Z", RECENT),
    ("/rates/2026-03-06?as_of=2026-03-10", RECENT),
    ("/rates/2026-03-06..?as_of=2026-03-09", SETTLED),
    ("/rates/convert?from=EUR&to=USD&amount=1&as_of=2026-03-09", SETTLED),
    ("/-/health", "no-store"),
    ("/-/health/freshness", "no-store"),
    ("/rates/2026-03-07", "no-store"),
]


@pytest.mark.parametrize(("path", "cache_control"), CACHE_CONTROL)
async def test_sets_the_cache_lifetime(api: Api, path: str, cache_control: str) -> None:
    assert (await api.get(path)).headers["cache-control"] == cache_control


@pytest.mark.parametrize(("days", "settled"), [(0, "2026-03-08"), (1, "2026-03-06"), (4, "1999-01-04")])
async def test_the_cache_lifetime_depends_on_the_revision_window(
    history: History, open_api: OpenApi, days: int, settled: str
) -> None:
    api = open_api(history.path, fx_revision_days=days)
    stored = ["2026-03-09", "2026-03-08", "2026-03-06", "2026-03-05", "1999-01-04"]
    kept = {date: (await api.get(f"/rates/{date}")).headers["cache-control"] for date in stored}
    assert kept == {date: SETTLED if date <= settled else RECENT for date in stored}


@pytest.mark.parametrize(
    ("second", "age"), [("12:00:00", 60), ("23:59:00", 60), ("23:59:30", 30), ("23:59:59", 1)]
)
async def test_the_newest_day_expires_at_midnight(api: Api, second: str, age: int) -> None:
    api.now = dt.datetime.fromisoformat(f"2026-03-10T{second}+00:00")
    for path in ("/rates/latest", "/rates/latest.csv", "/rates/convert?from=EUR&to=USD&amount=1"):
        assert (await api.get(path)).headers["cache-control"] == f"public, max-age={age}"


@pytest.mark.parametrize("header", [{"Cookie": "ds_actor=b"}, {"Authorization": "Bearer x"}])
async def test_responses_to_identified_clients_are_private(api: Api, header: dict[str, str]) -> None:
    response = await api.client.get("/rates/2026-03-06", headers=header)
    assert response.headers["cache-control"] == "private, no-store"


async def test_drops_cookies_of_other_servers_on_the_host(api: Api) -> None:
    response = await api.client.get("/rates/2026-03-06", headers={"Cookie": "a=b; xds_actor=c"})
    assert response.headers["cache-control"] == "public, max-age=86400"


@pytest.mark.parametrize(
    ("accepted", "compressed"),
    [
        ("gzip", True),
        ("br, gzip;q=0.5", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.0, br", False),
        ("br, GZIP;Q=0", False),
    ],
)
async def test_compresses_for_clients_that_accept_it(api: Api, accepted: str, compressed: bool) -> None:
    path = "/rates/2026-03-05.."
    plain = await api.get(path)
    async with api.client.stream("GET", path, headers={"Accept-Encoding": accepted}) as response:
        raw = b"".join([part async for part in response.aiter_raw()])
    assert response.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert (gzip.decompress(raw) if compressed else raw) == plain.content
    assert response.headers.get_list("content-length") == [str(len(raw))]
    assert response.headers["etag"] == plain.headers["etag"]


@pytest.mark.parametrize("path", [*READABLE, *WRONG, *DATASETTE])
@pytest.mark.parametrize("accepted", ["gzip", "identity"])
async def test_sets_vary(api: Api, path: str, accepted: str) -> None:
    response = await api.client.get(path, headers={"Accept-Encoding": accepted})
    names = [name.strip() for name in response.headers["vary"].split(",")]
    assert names.count("Accept-Encoding") == 1
    # Only this response does not depend on the visitor.
    assert ({"Cookie", "Authorization"} <= set(names)) is (path != "/-/plugins")


@pytest.mark.parametrize(
    "path", ["/rates/latest", "/rates/2026-03-05..", "/fx/rates", "/fx.json", "/-/health"]
)
async def test_ignores_a_trailing_slash(api: Api, path: str) -> None:
    plain, slashed = await api.get(path), await api.get(f"{path}/")
    assert (plain.status_code, slashed.status_code) == (200, 200)
    assert plain.headers.get("etag") == slashed.headers.get("etag")


async def test_logs_unexpected_errors_without_showing_them(
    api: Api, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await api.get("/rates/latest")).status_code == 200
    history.db.execute("DROP TABLE revisions")
    info = "Something went wrong on the server. The error has been logged."
    response = await api.get("/rates/latest?access_key=hidden")
    assert (response.status_code, response.headers["cache-control"]) == (500, "no-store")
    assert response.json()["error"] == {"code": 500, "type": "internal_error", "info": info}
    response = await api.get("/fx/rates_by_date.json?date=2026-03-06")
    # Datasette reports an error of SQLite as one of the request.
    assert (response.status_code, response.headers["cache-control"]) == (400, "no-store")
    assert response.json()["error"]["type"] == "bad_request"
    assert "Traceback" not in response.text
    assert "no such table: revisions" in caplog.text
    assert "hidden" not in caplog.text


async def test_health_returns_counts(api: Api) -> None:
    for path in ("/-/health", "/-/health/"):
        response = await api.get(path)
        assert (response.status_code, response.json()) == (
            200,
            {
                "status": "ok",
                "base": "EUR",
                "first_date": "1999-01-04",
                "latest_date": "2026-03-09",
                "days": 7,
                "rates": 38,
                "symbols": 7,
            },
        )


async def test_health_shows_the_last_restore_drill(api: Api, history: History) -> None:
    at = (NOW - dt.timedelta(hours=30)).isoformat(timespec="seconds")
    write_drill(history.path, DrillState(at=at, result="good", good_at=at, since=at))
    response = await api.get("/-/health")
    assert response.json()["restore_drill"] == {
        "result": "good",
        "at": at,
        "last_good": at,
        "age_hours": 30.0,
    }


async def test_health_counts_new_data(api: Api, history: History) -> None:
    assert [(await api.get("/-/health")).json()["days"] for _ in range(2)] == [7, 7]
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-07": {"USD": 1.5}})
    assert [(await api.get("/-/health")).json()["days"] for _ in range(2)] == [8, 8]


async def test_health_is_503_if_the_database_cannot_be_read(
    history: History, open_api: OpenApi, caplog: pytest.LogCaptureFixture
) -> None:
    api = open_api(history.path)
    history.close()
    for file in history.path.parent.glob("fx.db*"):
        file.unlink()
    for path in ("/-/health", "/-/health/freshness"):
        response = await api.get(path)
        assert (response.status_code, response.json()) == (
            503,
            {"status": "error", "message": "The database cannot be read."},
        )
    assert f"There is no database at {history.path}." in caplog.text


@pytest.mark.parametrize(
    ("today", "limit", "status", "word", "age"),
    [
        ("2026-03-10", 3, 200, "fresh", 1),
        ("2026-03-12", 3, 200, "fresh", 3),
        ("2026-03-13", 3, 503, "stale", 4),
        ("2026-03-11", 1, 503, "stale", 2),
    ],
)
async def test_freshness_depends_on_the_newest_day(
    history: History, open_api: OpenApi, today: str, limit: int, status: int, word: str, age: int
) -> None:
    api = open_api(history.path, fx_max_age_days=limit)
    api.now = dt.datetime.fromisoformat(f"{today}T08:00:00+00:00")
    response = await api.get("/-/health/freshness")
    assert (response.status_code, response.json()) == (
        status,
        {
            "status": word,
            "latest_date": "2026-03-09",
            "age_days": age,
            "max_age_days": limit,
            "content_age": {
                "unchanged_since": "2026-03-09",
                "business_days": 0,
                "state": "changing",
            },
        },
    )


@pytest.mark.parametrize(
    ("minutes", "sending", "status", "word"),
    [(4, True, 200, "fresh"), (6, False, 200, "fresh"), (6, True, 503, "unwatched")],
)
async def test_freshness_fails_if_alerts_are_no_longer_watched_for(
    history: History, open_api: OpenApi, minutes: int, sending: bool, status: int, word: str
) -> None:
    api = open_api(history.path)
    api.now = dt.datetime.fromisoformat("2026-03-10T08:00:00+00:00")
    looked_at = api.now - dt.timedelta(minutes=minutes)
    write_alerts(history.path, AlertState(looked_at=looked_at, sending=sending))
    response = await api.get("/-/health/freshness")
    assert (response.status_code, response.json()["status"]) == (status, word)
    assert response.json().get("alerts") == (
        None
        if status == 200
        else "No alert is sent: the watcher last looked at 2026-03-10T07:54:00+00:00. Start `fx-pipeline up` "
        "or `fx-pipeline watch`."
    )


async def test_rates_that_stand_still_are_not_fresh(tmp_path: Path, open_api: OpenApi) -> None:
    """The last days are a Friday to a Tuesday."""
    history = History(tmp_path / "frozen.db")
    api = open_api(history.path, fx_max_age_days=9)
    api.now = dt.datetime(2026, 2, 25, 8, tzinfo=dt.timezone.utc)
    for day in range(2, 25):
        moved = min(day, 20)
        rates = dict.fromkeys(("USD", "GBP", "JPY", "CHF", "AUD"), 1 + moved / 1000)
        at = f"2026-02-{day + 1:02}T00:05:00.000000Z"
        history.fetch(at, {f"2026-02-{day:02}": rates | {"EUR": 1}})
        if day in (20, 22, 23, 24):
            replied = await api.get("/-/health/freshness")
            content = replied.json()["content_age"]
            assert content["unchanged_since"] == "2026-02-20"
            assert (replied.status_code, replied.json()["status"], content) == {
                20: (200, "fresh", {**content, "business_days": 0, "state": "changing"}),
                22: (200, "fresh", {**content, "business_days": 0, "state": "changing"}),
                23: (200, "fresh", {**content, "business_days": 1, "state": "suspicious"}),
                24: (503, "frozen", {**content, "business_days": 2, "state": "frozen"}),
            }[day]
    history.close()


async def test_health_of_an_empty_database(tmp_path: Path, open_api: OpenApi) -> None:
    History(tmp_path / "empty.db").close()
    api = open_api(tmp_path / "empty.db")
    health, freshness = await api.get("/-/health"), await api.get("/-/health/freshness")
    assert (health.status_code, health.json()) == (
        200,
        {
            "status": "ok",
            "base": None,
            "first_date": None,
            "latest_date": None,
            "days": 0,
            "rates": 0,
            "symbols": 0,
        },
    )
    assert (freshness.status_code, freshness.json()) == (
        503,
        {
            "status": "stale",
            "latest_date": None,
            "age_days": None,
            "max_age_days": 3,
            "content_age": None,
        },
    )


async def test_refuses_websockets(api: Api) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await api.app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]
