"""Every link of every page leads somewhere, for visitors and for token holders."""

import html
import re
from urllib.parse import parse_qsl, urldefrag, urljoin, urlsplit

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History

ORIGIN = "http://api"
ELSEWHERE = {"https://fixer.io/"}
DAY = "/fx/rates_by_date?date="


def links_of(address: str, page: str) -> list[str]:
    """Return the full addresses of all links of a page."""
    found = re.findall(r'<(?:a|link|script|img)\b[^>]*?(?:href|src)="([^"]*)"', page)
    return [urljoin(address, html.unescape(link)) for link in found]


def kind_of(address: str) -> str:
    """Return what an address has in common with those that differ only by dates, codes, numbers and order."""
    path, _, query = address.partition("?")
    names = sorted({name for name, _ in parse_qsl(query) if not name.startswith("_sort")})
    return re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2}|\b[A-Z]{3}\b|[0-9]+", "#", path) + str(names)


async def crawl(api: Api, **headers: str) -> tuple[dict[str, int], set[str]]:
    """Follow a link of each kind, from the home page on. Return statuses, and links without their anchor."""
    kinds: set[str] = set()
    statuses: dict[str, int] = {}
    anchors: dict[str, set[str]] = {}
    linked: set[str] = set()
    waiting = [f"{ORIGIN}/"]
    while waiting:
        address = waiting.pop(0)
        path = address.removeprefix(ORIGIN)
        kind = kind_of(address)
        if kind in kinds:
            continue
        kinds.add(kind)
        response = await api.get(path, accept="text/html", **headers)
        statuses[address] = response.status_code
        if not response.headers["content-type"].startswith("text/html"):
            continue
        anchors[address] = set(re.findall(r'\bid="([^"]*)"', response.text))
        for link in links_of(address, response.text):
            if urlsplit(link).netloc == urlsplit(ORIGIN).netloc:
                linked.add(link)
                waiting.append(urldefrag(link).url)
            else:
                assert link in ELSEWHERE, f"{path} links to {link}"
    lost = {
        link
        for link in linked
        for page, anchor in [urldefrag(link)]
        if anchor and page in anchors and anchor not in anchors[page]
    }
    return statuses, lost


@pytest.mark.parametrize("is_holder", [False, True])
async def test_every_link_leads_somewhere(history: History, api: Api, is_holder: bool) -> None:
    headers = {}
    if is_holder:
        token = TokenFile(history.path.with_name("tokens.db")).create("reports")
        headers = {"Authorization": f"Bearer {token}"}
    statuses, lost = await crawl(api, **headers)
    dead = {link for link, status in statuses.items() if status != 200}
    # The calendar links to days that can be fetched.
    assert {link for link in dead if not link.startswith(f"{ORIGIN}{DAY}")} == set()
    assert lost == set()
    assert {f"{ORIGIN}/coverage/", f"{ORIGIN}/public/", f"{ORIGIN}/fx/rates"} <= statuses.keys()
    assert (f"{ORIGIN}/fx/fetches" in statuses) is is_holder
