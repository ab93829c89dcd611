"""A visitor of the pages: the machine's Chromium, which records everything that goes wrong.

Playwright installs no browser here. Chromium resolves no names, so a request to another host fails and is
recorded.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    Request,
    Response,
    Route,
    ViewportSize,
    sync_playwright,
)

from fx_pipeline_tests.waiting import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome")
DESKTOP: ViewportSize = {"width": 1400, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}

Scheme = Literal["light", "dark"]

WATCH_SHIFTS = """
window.shifted = [];
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    const moved = sources.map(({ node }) => node?.outerHTML ?? node?.textContent);
    if (value >= 0.001) window.shifted.push(`${value}: ${moved}`);
  }
}).observe({type: "layout-shift", buffered: true});
"""
"""Records elements that moved after they were shown, and how far (Layout Instability, W3C): the share of the
window that moved, times the share that it moved over. Less than a thousandth cannot be seen."""


def chromium() -> str:
    """Return the path of Chromium. Without it, skip the test; fail it if Chromium is required, as in CI."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"No browser: none of {', '.join(NAMES)} is on the PATH. On Debian: apt-get install chromium"
        if os.environ.get("CI") or os.environ.get("FX_TESTS_NEED_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def running_browser(executable: str, *names: str) -> Iterator[Browser]:
    """Run Chromium without a window. It resolves only `names`, which mean this machine."""
    rules = [*(f"MAP {name} 127.0.0.1" for name in names), "MAP * ~NOTFOUND", "EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--lang=en-US",
            f"--host-resolver-rules={', '.join(rules)}",
        ]
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """A visitor of the service at `url`, with separate cookies."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        size: ViewportSize = DESKTOP,
        scheme: Scheme = "light",
        language: str = "en-US",
    ) -> None:
        self.url = url
        self.context = browser.new_context(base_url=url, viewport=size, color_scheme=scheme, locale=language)
        self.context.set_default_timeout(PATIENCE * 1000)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH_SHIFTS)
        self.requested: list[str] = []
        """The requested URLs, without the origin if it is the service."""
        self.problems: list[str] = []
        """Errors on the console or in scripts, and requests that failed, were refused or went elsewhere."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)

    def open(self, path: str) -> Response:
        """Open a page, wait until it is complete with its chart, and return its response."""
        response = self.page.goto(path)
        assert response is not None
        self.settle()
        return response

    def settle(self) -> None:
        """Wait until the chart of the page is drawn, if it has one."""
        if self.page.locator(".chart").count():
            self.page.locator(".chart canvas, .chart.failed").first.wait_for()

    def delay(self, seconds: float, *patterns: str) -> None:
        """Delay the responses of URLs that match a pattern."""

        def wait(route: Route) -> None:
            time.sleep(seconds)
            route.continue_()

        for pattern in patterns:
            self.page.route(pattern, wait)

    def text(self) -> str:
        """Return the text of the page."""
        return self.page.inner_text("body")

    def evaluate(self, script: str, argument: object = None) -> Any:
        """Run JavaScript in the page and return its value."""
        return self.page.evaluate(script, argument)

    def close(self) -> None:
        self.context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # The console repeats the error of a page with a status of 4xx.
        if message.type in ("error", "warning") and message.location["url"] != self.page.url:
            self.problems.append(f"console: {message.text} {message.location}")

    def _on_request(self, request: Request) -> None:
        self.requested.append(request.url.removeprefix(self.url))
        if not request.url.startswith(f"{self.url}/"):
            self.problems.append(f"elsewhere: {request.url}")

    def _on_failure(self, request: Request) -> None:
        # Requests are aborted when the visitor leaves the page.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.url} {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.problems.append(f"{response.status}: {response.url}")
