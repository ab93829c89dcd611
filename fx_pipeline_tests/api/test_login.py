"""Signing in with a token in a browser."""

import re
from html import unescape
from urllib.parse import quote

import httpx
import pytest

from fx_pipeline.api.middleware import gate
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.access import (
    BROWSER,
    LATEST,
    MISSING,
    assert_refused,
    log_in,
)
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History


@pytest.mark.parametrize("path", ["/", "/fx", "/fx/rates?_sort=date", "/fx/rates_by_date?date=2026-03-06"])
async def test_a_browser_logs_in_once(api: Api, file: TokenFile, token: str, path: str) -> None:
    page = await api.get(path, Accept=BROWSER)
    assert (page.status_code, page.headers["www-authenticate"]) == (401, "Bearer")
    assert page.headers["cache-control"] == "no-store"
    assert "set-cookie" not in page.headers
    for private in ("1.165", "2026-03-09", "rates_by_range"):
        assert private not in page.text
    assert fields(page)["next"] == path

    wrong = await log_in(api, "fxp_wrong", path)
    assert (wrong.status_code, "This token is not valid" in wrong.text) == (401, True)
    assert fields(wrong)["next"] == path
    assert "fxp_wrong" not in wrong.text

    done = await log_in(api, f" {token} ", path)
    assert (done.status_code, done.headers["location"], done.text) == (303, path, "")
    cookie = done.headers["set-cookie"]
    assert re.fullmatch(r"ds_actor=[A-Za-z0-9_.-]+; HttpOnly; Max-Age=2592000; Path=/; SameSite=lax", cookie)
    assert token not in cookie

    page = await api.get(path, Accept=BROWSER)
    assert (page.status_code, page.headers["cache-control"]) == (200, "private, no-store")
    assert 'action="/-/logout" method="post"' in page.text
    # Files that the page loads get the cookie too.
    assert (await api.get(LATEST)).json()["rates"] == {"USD": 1.165}

    file.revoke("reports")
    assert (await api.get(path, Accept=BROWSER)).status_code == 401
    assert_refused(await api.get(LATEST), MISSING)
    # Another token with the same name.
    file.create("reports")
    assert (await api.get(path, Accept=BROWSER)).status_code == 401


def fields(page: httpx.Response) -> dict[str, str]:
    """Return the fields of the login form, with their values as a browser reads them."""
    assert '<form action="/-/login" method="post">' in page.text
    inputs = re.findall(r"<input ([^>]*)>", page.text)
    attributes = [dict(re.findall(r'(\w+)="([^"]*)"', one)) for one in inputs]
    return {one["name"]: unescape(one.get("value", "")) for one in attributes if "name" in one}


async def test_logs_out(api: Api, file: TokenFile, token: str) -> None:
    await log_in(api, token)
    assert (await api.get("/")).status_code == 200
    gone = await api.client.post("/-/logout")
    assert (gone.status_code, gone.headers["location"]) == (303, "/")
    assert "Max-Age=0" in gone.headers["set-cookie"]
    assert (await api.get("/")).status_code == 401


async def test_a_cookie_has_no_rights_while_no_token_is_required(
    api: Api, file: TokenFile, token: str
) -> None:
    await log_in(api, token)
    assert (await api.get("/fx/fetches.json")).status_code == 200
    file.forget_all()
    assert (await api.get("/fx/fetches.json")).status_code == 403
    assert (await api.get("/fx/rates.json")).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"id": "reports"}},
        {"a": {"id": "reports", "key": "0123456789abcdef"}},
        {"a": {"id": "reports", "key": None}},
        {"a": {"id": "root"}},
        {"a": "reports"},
        {"id": "reports"},
        [],
        "reports",
    ],
    ids=str,
)
async def test_other_signed_values_are_not_accepted_as_a_cookie(api: Api, token: str, value: object) -> None:
    signed = api.datasette.sign(value, "actor")
    assert_refused(await api.get(LATEST, Cookie=f"ds_actor={signed}"), MISSING)


async def test_refuses_forged_and_expired_cookies(
    api: Api, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = (await log_in(api, token)).cookies["ds_actor"]
    api.client.cookies.clear()
    # Among cookies of other servers on the host, which may be many and malformed.
    for sent in (f"ds_actor={cookie}", f'a@b=c; =; ;;ds_actor={cookie};b="\xff; c={"x" * 9000}'):
        assert (
            await api.client.get(LATEST, headers=[(b"Cookie", sent.encode("latin-1"))])
        ).status_code == 200
    for other in (cookie[:-1], "x" + cookie, cookie.upper(), ""):
        assert_refused(await api.get(LATEST, Cookie=f"ds_actor={other}"), MISSING)
    monkeypatch.setattr(gate, "COOKIE_SECONDS", -1)
    old = (await log_in(api, token)).headers["set-cookie"].split(";")[0]
    assert_refused(await api.get(LATEST, Cookie=old), MISSING)


@pytest.mark.parametrize(
    ("destination", "location"),
    [
        ("/fx/rates?_sort=date&x=%20", "/fx/rates?_sort=date&x=%20"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("evil", "/"),
        ("/\t/evil.example", "/"),
        ("/a\r\nSet-Cookie: a=b", "/"),
        ("/\u00e9", "/"),
    ],
)
async def test_redirects_only_to_local_paths_after_login(
    api: Api, token: str, destination: str, location: str
) -> None:
    done = await log_in(api, token, destination)
    assert (done.status_code, done.headers["location"]) == (303, location)
    assert [cookie.split("=")[0] for cookie in done.headers.get_list("set-cookie")] == ["ds_actor"]


@pytest.mark.parametrize(
    "asked",
    ["/coverage/", "/coverage", "/currency/USD/?range=1m", "/currency/USD?range=1m", "/", "/?base=USD"],
)
async def test_redirects_to_the_requested_path_after_login(api: Api, token: str, asked: str) -> None:
    page = await api.get(asked, accept="text/html")
    assert (page.status_code, fields(page)["next"]) == (401, asked)
    # After a wrong token the form still redirects to the requested path.
    wrong = await api.client.post("/-/login", data={"token": "x", "next": asked})
    assert fields(wrong)["next"] == asked
    done = await api.client.post("/-/login", data={"token": token, "next": asked})
    assert (done.status_code, done.headers["location"]) == (303, asked)


async def test_the_login_page_escapes_its_input(api: Api, token: str) -> None:
    evil = '"><script>alert(1)</script>'
    for page in (
        await api.get(f"/-/login?next={quote(evil)}", Accept=BROWSER),
        await api.get(f"/fx/rates?x={evil}", Accept=BROWSER),
        await log_in(api, evil, "/" + evil),
    ):
        assert "<script>alert" not in page.text


async def test_marks_the_cookie_secure_over_https(api: Api, token: str) -> None:
    done = await api.client.post("https://api/-/login", data={"token": token})
    assert "; Secure" in done.headers["set-cookie"]


@pytest.mark.parametrize(
    ("site", "status"),
    [(None, 303), ("same-origin", 303), ("none", 303), ("cross-site", 403), ("same-site", 403)],
)
async def test_refuses_forms_of_other_sites(api: Api, token: str, site: str | None, status: int) -> None:
    headers = {"Sec-Fetch-Site": site} if site else {}
    for path in ("/-/login", "/-/logout"):
        answer = await api.client.post(path, data={"token": token}, headers=headers)
        assert answer.status_code == status
        assert ("set-cookie" in answer.headers) == (status == 303)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://api"}, 303),
        ({"Origin": "https://api"}, 303),
        ({"Origin": "https://rates.example.org"}, 303),
        ({"Origin": "https://other.example", "Sec-Fetch-Site": "same-origin"}, 303),
        ({"Origin": "https://other.example"}, 403),
        ({"Origin": "http://api:81"}, 403),
        ({"Origin": "http://rates.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://api", "Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_refuses_forms_with_a_foreign_origin(
    open_api: OpenApi, history: History, token: str, headers: dict[str, str], status: int
) -> None:
    api = open_api(history.path, fx_api_url="https://rates.example.org")
    for path in ("/-/login", "/-/logout"):
        answer = await api.client.post(path, data={"token": token}, headers=headers)
        assert answer.status_code == status
        assert ("set-cookie" in answer.headers) == (status == 303)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 401),
        (b"token=", 401),
        (b"token=%FF%00&next=%FF", 401),
        (b"\xff\xfe\x00", 401),
        (b'{"token": "x"}', 401),
        (b"csrftoken=\xc3\xa9", 401),
        (b"token=" + b"x" * 8186, 401),
        (b"token=" + b"x" * 8187, 413),
        (b"&".join([b"a=1"] * 100_000), 413),
    ],
    ids=range(9),
)
@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=x", "x"],
)
async def test_survives_malformed_forms(api: Api, token: str, body: bytes, status: int, kind: str) -> None:
    answer = await api.client.post(
        "/-/login",
        content=body,
        headers=[(b"Content-Type", kind.encode()), (b"Cookie", b"ds_csrftoken=x"), (b"X-CSRFToken", b"\xe9")],
    )
    assert answer.status_code == status
    assert "set-cookie" not in answer.headers


async def test_only_pages_are_replaced_by_the_login_page(api: Api, token: str) -> None:
    data = (
        "/rates/latest",
        "/rates/",
        "/fx.json",
        "/fx/rates.csv",
        "/fx/rates_by_date.json",
        "/rates/2026-03-06.csv",
    )
    for path in data:
        assert_refused(await api.get(path, Accept=BROWSER), MISSING)
    for accept in ("*/*", "application/json", "text/plain"):
        assert_refused(await api.get("/fx/rates", Accept=accept), MISSING)


async def test_serves_the_login_page(api: Api, file: TokenFile) -> None:
    page = await api.get("/-/login")
    assert (page.status_code, "No token is required" in page.text) == (200, True)
    file.create("reports")
    page = await api.get("/-/login?next=/fx")
    assert (page.status_code, fields(page)["next"], page.headers["cache-control"]) == (200, "/fx", "no-store")
