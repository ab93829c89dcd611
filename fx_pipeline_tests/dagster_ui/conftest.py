"""A browser, the Dagster UI, and the server of hostile pages."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, Page

from fx_pipeline_tests.dagster_ui.server import UI, serving_ui
from fx_pipeline_tests.pages.browser import chromium, running_browser
from fx_pipeline_tests.waiting import PATIENCE

FOREIGN = "foreign.example"
"""A name that resolves to this machine, as a hostile name may."""


class EmptyPage(BaseHTTPRequestHandler):
    """Responds to every request with an empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


# Scoped to the package: Playwright's thread has an event loop, so asynchronous tests would not start.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with running_browser(chromium(), FOREIGN, "localhost") as browser:
        yield browser


@pytest.fixture(scope="package")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    with serving_ui(tmp_path_factory.mktemp("ui")) as ui:
        yield ui


@pytest.fixture(scope="package")
def elsewhere() -> Iterator[int]:
    """Yield the port of a server on this machine that is not the Dagster UI."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()
