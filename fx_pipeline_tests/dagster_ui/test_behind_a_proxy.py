"""The Dagster UI behind a proxy that passes on only what is below a path prefix."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import Browser

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.dagster_ui.server import UI, serving_ui
from fx_pipeline_tests.dagster_ui.test_operator import operated
from fx_pipeline_tests.proxy import Proxy, proxy
from fx_pipeline_tests.waiting import PATIENCE

PASSWORD = "swordfish"
PREFIX = "/desk/dagster"
FAVICON = "/favicon.svg"
"""Dagster's pages request their icon without the prefix."""


class Proxied(NamedTuple):
    """A proxy, and the UI behind it."""

    proxy: Proxy
    ui: UI

    def send(self, method: str, path: str, data: dict[str, str] | None = None) -> requests.Response:
        """Send a request below the prefix as a browser does, and return the response without following it."""
        return requests.request(
            method,
            f"{self.proxy.url}{path}",
            data=data,
            headers={"Origin": self.proxy.origin, "Accept": "text/html"},
            auth=("operator", PASSWORD),
            timeout=PATIENCE,
            allow_redirects=False,
        )


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder: Path = tmp_path_factory.mktemp("proxied")
    with (
        proxy(PREFIX) as running,
        serving_ui(folder, FX_DAGSTER_URL=running.url, FX_DAGSTER_PASSWORD=PASSWORD) as ui,
    ):
        running.target = int(ui.port)
        yield Proxied(running, ui)


def test_a_browser_reads_the_pages_and_live_events(browser: Browser, proxied: Proxied) -> None:
    with open_instance(proxied.ui.home) as instance:
        [run] = instance.get_runs()
    with operated(browser, PASSWORD) as operator:
        page = operator.page
        page.goto(f"{proxied.proxy.url}/")
        page.get_by_role("link", name="Runs").first.click()
        page.get_by_role("link", name=run.run_id[:8]).first.click()
        page.wait_for_url(f"{proxied.proxy.url}/runs/{run.run_id}*")
        page.get_by_text("RUN_CANCELED", exact=True).first.wait_for()
        assert operator.live
        assert {url for url in operator.refused if not url.endswith(FAVICON)} == set()
    assert set(proxied.proxy.outside) <= {FAVICON}


def test_a_browser_fetches_a_day(browser: Browser, proxied: Proxied) -> None:
    with operated(browser, PASSWORD) as operator:
        page = operator.page
        page.goto(f"{proxied.proxy.url}/fetch/?date=2020-03-15")
        with page.expect_response(f"{proxied.proxy.url}/fetch/status?run=*") as status:
            page.get_by_role("button", name="Fetch", exact=True).click()
        assert status.value.json() == {"text": "The run is waiting for Dagster to start it.", "ended": False}
        assert page.url.startswith(f"{proxied.proxy.url}/fetch/?run=")
        page.get_by_role("link", name="See the run in Dagster").click()
        page.wait_for_url(f"{proxied.proxy.url}/runs/*")
        assert {url for url in operator.refused if not url.endswith(FAVICON)} == set()
    assert set(proxied.proxy.outside) <= {FAVICON}


@pytest.mark.parametrize(
    "path", ["", "/", "/runs", "/fetch", "/fetch/pages.css", "/server_info", "/favicon.svg"]
)
def test_answers_below_the_prefix(proxied: Proxied, path: str) -> None:
    assert proxied.send("GET", path).status_code == 200


def test_a_form_keeps_the_prefix(proxied: Proxied) -> None:
    response = proxied.send("POST", "/fetch/", {"date": "2020-03-16"})
    assert response.status_code == 303
    assert response.headers["location"].startswith(f"{PREFIX}/fetch/?run=")


def test_the_server_itself_answers_without_the_prefix(proxied: Proxied) -> None:
    for path in ("/server_info", f"{PREFIX}/server_info", "/fetch/"):
        response = requests.get(
            f"{proxied.ui.url}{path}", auth=("operator", PASSWORD), timeout=PATIENCE, allow_redirects=False
        )
        assert response.status_code == 200, path


def test_the_guard_stays_in_front(proxied: Proxied) -> None:
    query = {"query": "{ version }"}
    for path in ("/graphql", f"{PREFIX}/graphql"):
        url = f"{proxied.ui.url}{path}"
        assert requests.post(url, json=query, timeout=PATIENCE).status_code == 401
        foreign = {"Origin": "https://foreign.example"}
        sent = requests.post(url, json=query, headers=foreign, auth=("operator", PASSWORD), timeout=PATIENCE)
        assert sent.status_code == 403
        got = requests.get(url, query, auth=("operator", PASSWORD), timeout=PATIENCE)
        assert got.status_code == 405
