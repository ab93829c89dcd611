"""The API and its pages behind a TLS proxy that passes on only what is below a path prefix."""

import html
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx
import pytest
import trustme

from fx_pipeline.api.datasette import CONFIG
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.api.test_crawl import kind_of
from fx_pipeline_tests.proxy import Proxy, proxy
from fx_pipeline_tests.waiting import PATIENCE

PREFIX = "/desk"
CONFUSING = "/fx"
"""A prefix that is also the path of the database."""


class Proxied(NamedTuple):
    """A proxy, the server behind it, its token, and a client that trusts the proxy."""

    proxy: Proxy
    server: Server
    token: str
    client: httpx.Client


@pytest.fixture(scope="module")
def proxied(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxied")
    authority = trustme.CA()
    certificate = folder / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    path = folder / "fx.db"
    path.write_bytes(written.read_bytes())
    token = TokenFile(folder / "tokens.db").create("reports")
    with (
        proxy(PREFIX, certificate) as running,
        serving(path, folder / "log", FX_API_URL=running.url) as server,
        httpx.Client(
            base_url=running.origin,
            verify=ssl.create_default_context(cafile=folder / "authority.pem"),
            timeout=PATIENCE,
            headers={"Accept": "text/html"},
        ) as client,
    ):
        running.target = server.port
        yield Proxied(running, server, token, client)


@pytest.fixture
def visitor(proxied: Proxied) -> httpx.Client:
    """Return a client that has signed in."""
    client = proxied.client
    client.cookies.clear()
    page = client.get(f"{PREFIX}/coverage/?year=2026")
    assert page.status_code == 401
    [action] = re.findall(r'<form action="([^"]*)" method="post">', page.text)
    [following] = re.findall(r'name="next" type="hidden" value="([^"]*)"', page.text)
    form = {"token": proxied.token, "next": html.unescape(following)}
    headers = {"Origin": proxied.proxy.origin}
    signed_in = client.post(action, data=form, headers=headers)
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, f"{PREFIX}/coverage/?year=2026")
    cookie = signed_in.headers["set-cookie"].lower()
    # Only for https, although the proxy passes requests on by http, and only for this server's paths.
    assert f"path={PREFIX};" in cookie
    assert "secure" in cookie
    return client


def addresses_in(response: httpx.Response) -> set[str]:
    """Return all addresses in a response: in its headers, and in the elements or the values of its body."""
    headers = response.headers
    found = set(re.findall(r"<([^>]*)>;", headers.get("link", "")))
    if "location" in headers:
        found.add(headers["location"])
    kind = headers.get("content-type", "").partition(";")[0]
    if kind == "text/html":
        elements = re.findall(
            r'<[a-z]+\b[^>]*?\s(?:href|src|action|data-day)="([^"]*)"', response.text, re.DOTALL
        )
        found |= {html.unescape(address) for address in elements}
    elif kind == "text/css":
        found |= set(re.findall(r"url\(['\"]?([^)'\"]*)", response.text))
    elif kind == "application/json" and "/openapi" not in str(response.url):
        found |= {text for text in texts_in(response.json()) if re.match(r"https?://|/", text)}
    return {urldefrag(urljoin(str(response.url), address)).url for address in found}


def texts_in(value: Any) -> Iterator[str]:
    """Return all texts in a document."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, str):
        yield value
    elif not isinstance(value, int | float | None):
        for one in value:
            yield from texts_in(one)


def test_every_address_has_the_prefix_and_answers(proxied: Proxied, visitor: httpx.Client) -> None:
    origin, kinds, found, dead = proxied.proxy.origin, set(), set(), {}
    waiting = [f"{origin}{PREFIX}/"]
    while waiting:
        address = waiting.pop(0)
        parts = urlsplit(address)
        if f"{parts.scheme}://{parts.netloc}" != origin:
            # The provider, and the Dagster UI on this machine.
            assert parts.netloc in ("fixer.io", "127.0.0.1:3000"), address
            continue
        assert f"{parts.path}/".startswith(f"{PREFIX}/"), address
        if (kind := kind_of(address)) in kinds or parts.path == f"{PREFIX}/-/logout":
            continue
        kinds.add(kind)
        found.add(parts.path.removeprefix(PREFIX))
        response = visitor.get(address)
        if response.status_code not in (200, 302):
            dead[address] = response.status_code
        waiting += sorted(addresses_in(response))
    # The calendar links to days that can be fetched; a form, without its values, is not a request.
    bare = f"{origin}{PREFIX}/rates/"
    expected = [f"{bare}{name}" for name in ("convert", "timeseries", "fluctuation")]
    expected.append(f"{origin}{PREFIX}/-/health/freshness")  # the latest day is an old one
    assert {
        address: status
        for address, status in dead.items()
        if "/fx/rates_by_date?date=" not in address and address not in expected
    } == {}
    assert proxied.proxy.outside == []
    important = {"/", "/coverage/", "/fx", "/fx/rates", "/fx/fetches", "/rates/docs/", "/rates/openapi.json"}
    assert important | {"/static/pages.css", "/static/home.js", "/-/health"} <= found


@pytest.mark.parametrize("path", sorted((CONFIG / "templates").glob("*.html")), ids=lambda path: path.name)
def test_no_template_has_a_path_without_the_prefix(path: Path) -> None:
    assert re.findall(r"=\"/[^\"]*", path.read_text(encoding="utf-8")) == []


def test_pages_of_a_table_follow_each_other(proxied: Proxied, visitor: httpx.Client) -> None:
    table = f"{proxied.proxy.url}/fx/rates"
    in_document = visitor.get(f"{table}.json?_size=5").json()["next_url"]
    [in_header] = re.findall("<(.*)>", visitor.get(f"{table}.csv?_size=5").headers["link"])
    for following in (in_document, in_header):
        assert following.startswith(f"{table}.")
        assert visitor.get(following).status_code == 200


@pytest.mark.parametrize("prefix", [PREFIX, CONFUSING])
@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/fx/rates_by_date/nothing//", "/fx/rates_by_date/nothing"),
        ("/fx/rat%65z", "/fx/rat~65z"),
        (
            "/fx/rates?_filter_column=currency&_filter_op=exact&_filter_value=USD",
            "/fx/rates?currency__exact=USD",
        ),
        ("/?date=2026-03-06", "/fx/rates_by_date?date=2026-03-06"),
    ],
)
async def test_redirects_keep_the_prefix(
    history: History, open_api: OpenApi, prefix: str, path: str, location: str
) -> None:
    response = await open_api(history.path, fx_api_url=f"http://api{prefix}").get(f"{prefix}{path}")
    assert response.status_code == 302
    assert response.headers["location"] == f"{prefix}{location}"


def test_the_documents_name_the_prefix(proxied: Proxied, visitor: httpx.Client) -> None:
    url = proxied.proxy.url
    assert visitor.get(f"{PREFIX}/rates/openapi.json").json()["servers"] == [{"url": PREFIX}]
    docs = visitor.get(f"{PREFIX}/rates/docs/").text
    assert f"MCP at <code>{url}/-/mcp</code>" in docs
    assert f"curl '{url}/rates/latest" in html.unescape(docs)
    assert f'rel="canonical" href="{PREFIX}/currency/USD/"' in visitor.get(f"{PREFIX}/currency/USD/").text


def test_signs_out(proxied: Proxied, visitor: httpx.Client) -> None:
    response = visitor.post(f"{PREFIX}/-/logout", headers={"Origin": proxied.proxy.origin})
    assert (response.status_code, response.headers["location"]) == (303, f"{PREFIX}/")
    assert f"path={PREFIX};" in response.headers["set-cookie"].lower()
    assert visitor.get(f"{PREFIX}/").status_code == 401


def test_the_server_itself_answers_with_and_without_the_prefix(proxied: Proxied) -> None:
    for path in ("/-/health", f"{PREFIX}/-/health", "/rates/latest", f"{PREFIX}/rates/latest"):
        status, _ = proxied.server.get(path, {"Authorization": f"Bearer {proxied.token}"})
        assert status == 200, path


@pytest.mark.parametrize(
    ("path", "is_like"),
    [
        # A path that begins with the prefix loses it, exactly once.
        ("/fx", "/"),
        ("/fx/", "/"),
        ("/fx/rates", "/rates"),
        ("/fx/rates/latest", "/rates/latest"),
        ("/fx/fx", "/fx"),
        ("/fx/fx/rates.json?_size=1", "/fx/rates.json?_size=1"),
        ("/fx/fx.json", "/fx.json"),
        # Other paths are served as they are.
        ("/rates/latest", "/rates/latest"),
        ("/fx.json", "/fx.json"),
        ("/fxx", "/fxx"),
        ("/%66x/rates", "/%66x/rates"),
        # Closed pages stay closed.
        ("/fx/-/config", "/-/config"),
        ("/fx//-/config", "//-/config"),
        ("/fx/fx?sql=select+1", "/fx?sql=select+1"),
    ],
)
async def test_removes_the_prefix_once(history: History, open_api: OpenApi, path: str, is_like: str) -> None:
    plain = open_api(history.path)
    prefixed = open_api(history.path, fx_api_url=f"http://api{CONFUSING}")
    expected, response = await plain.get(is_like), await prefixed.get(path)
    assert response.status_code == expected.status_code
    assert response.headers.get("content-type") == expected.headers.get("content-type")
    if "json" in response.headers["content-type"]:
        assert response.json().keys() == expected.json().keys()


async def test_the_cache_has_one_entry_for_both_paths(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_api_url=f"http://api{CONFUSING}", fx_cache_mb=32)
    first = await api.get("/fx/rates/")
    second = await api.get("/rates/")
    assert first.headers["server-timing"] == 'cache;desc="miss"'
    assert second.headers["server-timing"] == 'cache;desc="hit"'
    assert first.content == second.content
    assert first.json()["endpoints"]["latest"] == "/fx/rates/latest"
    # Without the prefix, this is the database's page of the table.
    assert (await api.get("/fx/fx/rates")).headers["content-type"].startswith("text/html")


async def test_the_cookie_with_the_prefix_goes_before_one_of_the_whole_host(
    history: History, open_api: OpenApi, token: str
) -> None:
    api = open_api(history.path, fx_api_url=f"http://api{CONFUSING}")
    signed_in = await api.client.post(f"{CONFUSING}/-/login", data={"token": token})
    own = signed_in.headers["set-cookie"].partition(";")[0]
    api.client.cookies.clear()
    assert (await api.get("/fx/rates/latest", Cookie=f"{own}; ds_actor=of-another-server")).status_code == 200
    assert (await api.get("/fx/rates/latest", Cookie=f"ds_actor=of-another-server; {own}")).status_code == 401


async def test_a_proxy_that_removes_the_prefix_works_too(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_api_url="http://api/somewhere")
    page = (await api.get("/")).text
    assert 'href="/somewhere/coverage/"' in page
    assert not re.findall(r'(?:href|src|action)="/(?!somewhere/)', page)
