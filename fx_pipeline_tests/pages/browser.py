"""A visitor of the pages: the machine's Chromium, which notes whatever goes wrong on its way.

Playwright brings no browser here. Chromium is told to resolve no name, so that a page that asked for anything
outside would fail, and be noted for having asked.
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
"""Notes what was shown already and has moved, and how far (Layout Instability, W3C): the share of the window
concerned, times the share of it that it moved over. Less than a thousandth is less than can be seen."""


def chromium() -> str:
    """Where Chromium is. Without one the test is skipped; where it has to be there, as in CI, it fails."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"No browser: none of {', '.join(NAMES)} is on the PATH. On Debian: apt-get install chromium"
        if os.environ.get("CI") or os.environ.get("FX_TESTS_NEED_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@contextmanager
def running_browser(executable: str, *names: str) -> Iterator[Browser]:
    """Run Chromium without a window. It resolves only `names`, which lead to this machine."""
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
    """One visitor of the service at `url`, with cookies of their own."""

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
        # What is waited for takes long on a busy machine.
        self.context.set_default_timeout(60_000)
        self.page: Page = self.context.new_page()
        self.page.add_init_script(WATCH_SHIFTS)
        self.asked: list[str] = []
        """Addresses that were asked for, without that of the service where it is that."""
        self.problems: list[str] = []
        """Errors on the console or in a script, and requests that failed, were refused, or went elsewhere."""
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("request", self._on_request)
        self.page.on("requestfailed", self._on_failure)
        self.page.on("response", self._on_response)

    def open(self, path: str) -> Response:
        """Go to a page, and wait until all of it is there, the chart too; its response."""
        response = self.page.goto(path)
        assert response is not None
        self.settle()
        return response

    def settle(self) -> None:
        """Wait until the chart of the page, if it has one, is drawn."""
        if self.page.locator(".chart").count():
            self.page.locator(".chart canvas, .chart.failed").first.wait_for()

    def delay(self, seconds: float, *patterns: str) -> None:
        """Let what is asked for at such addresses come that much later."""

        def wait(route: Route) -> None:
            time.sleep(seconds)
            route.continue_()

        for pattern in patterns:
            self.page.route(pattern, wait)

    def text(self) -> str:
        """All that the page says."""
        return self.page.inner_text("body")

    def evaluate(self, script: str, argument: object = None) -> Any:
        """The value of some JavaScript in the page."""
        return self.page.evaluate(script, argument)

    def close(self) -> None:
        self.context.close()

    def _on_console(self, message: ConsoleMessage) -> None:
        # A page that is an answer of 4xx is noted by its status; the console says it once more.
        if message.type in ("error", "warning") and message.location["url"] != self.page.url:
            self.problems.append(f"console: {message.text} {message.location}")

    def _on_request(self, request: Request) -> None:
        self.asked.append(request.url.removeprefix(self.url))
        if not request.url.startswith(f"{self.url}/"):
            self.problems.append(f"elsewhere: {request.url}")

    def _on_failure(self, request: Request) -> None:
        # What is still coming when the visitor goes on is given up.
        if request.failure != "net::ERR_ABORTED":
            self.problems.append(f"failed: {request.url} {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and not response.request.is_navigation_request():
            self.problems.append(f"{response.status}: {response.url}")
