"""The scripts of the pages behind a proxy that passes on only what is below a path prefix."""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.clock import yesterday
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.filled import fill
from fx_pipeline_tests.pages.test_documentation import section
from fx_pipeline_tests.pages.test_tokens import sign_in
from fx_pipeline_tests.proxy import Proxy, proxy

PREFIX = "/desk/fx"
DAGSTER = "https://dagster.example.org/desk"


class Proxied(NamedTuple):
    """A proxy, the newest day of the service behind it, and its token."""

    proxy: Proxy
    newest: dt.date
    token: str


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("proxied")
    newest = yesterday()
    missing = newest - dt.timedelta(5)
    path = fill(folder / "fx.db", newest - dt.timedelta(60), newest, without=[missing])
    token = TokenFile(folder / "tokens.db").create("reports")
    with (
        proxy(PREFIX) as running,
        serving(path, folder / "log", FX_API_URL=running.url, FX_DAGSTER_URL=DAGSTER) as server,
    ):
        running.target = server.port
        yield Proxied(running, newest, token)


def test_a_visit(browser: Browser, proxied: Proxied) -> None:
    visitor = Visitor(browser, proxied.proxy.origin)
    page = visitor.page
    visitor.open(f"{PREFIX}/currency/USD/?range=1m")
    sign_in(visitor, proxied.token)
    page.wait_for_url(f"{proxied.proxy.url}/currency/USD/?range=1m")
    # The chart, which requests its rates.
    page.locator(".chart canvas").wait_for()
    # The converter, and a link.
    page.get_by_role("link", name="Exchange rates").click()
    page.wait_for_url(f"{proxied.proxy.url}/")
    page.locator("form.convert").get_by_label("Amount").fill("25")
    expect(page.locator("form.convert output")).not_to_be_empty()
    # The documentation, which sends requests.
    page.get_by_role("link", name="API", exact=True).first.click()
    latest = section(visitor, "latest_rates")
    latest.get_by_role("button", name="Send request").click()
    expect(latest.get_by_role("status")).to_contain_text(f"Status 200 from {PREFIX}/rates/latest")
    # The strips of Coverage, which lead to a day.
    visitor.open(f"{PREFIX}/coverage/")
    page.locator(f'.strips svg[data-year="{proxied.newest.year}"] rect.stored').last.click(force=True)
    page.wait_for_url(f"{proxied.proxy.url}/fx/rates_by_date?date=*")
    # A missing day leads to the Dagster UI.
    missing = proxied.newest - dt.timedelta(5)
    visitor.open(f"{PREFIX}/fx/rates_by_date?date={missing}")
    fetch = page.get_by_role("link", name="Fetch this day")
    assert fetch.get_attribute("href") == f"{DAGSTER}/fetch/?date={missing}"
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{proxied.proxy.url}/")
    expect(page.get_by_role("heading", name="Sign in with a token")).to_be_visible()
    assert visitor.problems == []
    assert proxied.proxy.outside == []
    visitor.close()
