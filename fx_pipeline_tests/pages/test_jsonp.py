"""JSONP: pages of other sites can load scripts, and pages of this site cannot."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Browser, Page

from fx_pipeline_tests.pages.conftest import Service

ASK = """
(address) => new Promise((resolve) => {
  window.show = resolve;
  const script = document.createElement("script");
  script.onerror = () => resolve("not loaded");
  script.src = address;
  document.head.append(script);
})
"""


class _EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """Serve an empty page from another origin and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _EmptyPage) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def test_a_page_of_another_site_reads_documents_and_errors(
    service: Service, page: Page, elsewhere: str
) -> None:
    page.goto(elsewhere)
    url = f"{service.server.url}/rates"
    answer = page.evaluate(ASK, f"{url}/latest?base=USD&symbols=USD&callback=show")
    assert (answer["success"], answer["base"], answer["rates"]) == (True, "USD", {"USD": 1})
    error = page.evaluate(ASK, f"{url}/latest?base=QQQ&callback=show")
    assert (error["success"], error["status"], error["error"]["code"]) == (False, 400, 201)
    # Without a function to call, it is a document, which no browser runs as a script.
    assert page.evaluate(ASK, f"{url}/latest.csv?callback=show") == "not loaded"


def test_a_page_of_this_site_loads_no_script(service: Service, page: Page) -> None:
    page.goto(f"{service.server.url}/public/")
    assert page.evaluate(ASK, "/rates/latest?callback=show") == "not loaded"
