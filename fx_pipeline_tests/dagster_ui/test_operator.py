"""The Dagster UI in the operator's browser works behind its guard as it does without one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, Response, WebSocket

from fx_pipeline_tests.dagster_ui.conftest import FOREIGN
from fx_pipeline_tests.dagster_ui.server import UI, serving_ui
from fx_pipeline_tests.processes.running_up import up
from fx_pipeline_tests.waiting import PATIENCE

PASSWORD = "swordfish"
LAUNCH = re.compile("/graphql[?]op=Launch(PipelineExecution|MultipleRuns)")
"""Mutations with which the UI launches a run, depending on its version."""

RUN_ID = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


class Operator:
    """A browser page, with the messages of its websockets and its refused requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.live: list[str] = []
        self.refused: list[str] = []
        page.on("websocket", self._on_websocket)
        page.on("response", self._on_response)

    def _on_websocket(self, websocket: WebSocket) -> None:
        websocket.on("framereceived", lambda frame: self.live.append(str(frame)))

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.refused.append(f"{response.status} {response.url}")


@contextmanager
def operated(browser: Browser, password: str = "") -> Iterator[Operator]:
    """Open a browser that has the password, if there is one."""
    context = browser.new_context(
        viewport={"width": 1400, "height": 900},
        http_credentials={"username": "operator", "password": password} if password else None,
    )
    context.set_default_timeout(PATIENCE * 1000)
    yield Operator(context.new_page())
    context.close()


@pytest.mark.slow
def test_an_asset_is_materialized_and_its_run_is_shown_live(browser: Browser, tmp_path: Path) -> None:
    with up(tmp_path, FX_DAGSTER_PASSWORD=PASSWORD) as running, operated(browser, PASSWORD) as operator:
        running.wait_until_ready()
        page = operator.page
        page.goto(running.url("DAGSTER", "/assets/symbols"))
        with page.expect_response(LAUNCH) as launched:
            page.get_by_role("button", name="Materialize").first.click()
        run_id = RUN_ID.search(launched.value.text())
        assert run_id is not None, launched.value.text()
        page.goto(running.url("DAGSTER", f"/runs/{run_id[0]}"))
        page.get_by_text("RUN_SUCCESS", exact=True).first.wait_for()
        assert any("RunSuccessEvent" in frame for frame in operator.live), operator.live
        assert operator.refused == []
        assert running.asked()["symbols"] == {"ok": 2}  # including the one at the first start
        assert "Refused" not in running.output
        assert running.interrupt() == 0


@pytest.mark.slow
def test_without_the_password_the_ui_shows_nothing(browser: Browser, tmp_path: Path) -> None:
    with (
        serving_ui(tmp_path, FX_DAGSTER_PASSWORD=PASSWORD) as ui,
        operated(browser) as operator,
        # A browser with a window would prompt for the password.
        pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"),
    ):
        operator.page.goto(f"{ui.url}/assets/symbols")


@pytest.mark.slow
def test_a_link_from_another_site_opens_the_ui(browser: Browser, ui: UI, elsewhere: int) -> None:
    with operated(browser) as operator:
        page = operator.page
        page.goto(f"http://{FOREIGN}:{elsewhere}/")
        page.evaluate("url => { location = url; }", f"{ui.url}/assets/rates")
        page.wait_for_url(f"{ui.url}/**")
        page.get_by_text("rates as Fixer published them", exact=False).first.wait_for()
        assert operator.refused == []


@pytest.mark.slow
def test_graphiql_works(browser: Browser, ui: UI) -> None:
    with operated(browser) as operator:
        page = operator.page
        page.goto(f"{ui.url}/graphql")
        page.locator(".graphiql-execute-button").wait_for()
        answer = page.evaluate(
            """url => fetch(url, {
                method: 'POST',
                headers: {'content-type': 'application/json'},
                body: '{"query": "{ version }"}',
            }).then(response => response.json())""",
            f"{ui.url}/graphql",
        )
        assert list(answer) == ["data"]
        assert operator.refused == []
