"""The documentation page sends requests and shows the responses, with and without JavaScript."""

import json
import re

from playwright.sync_api import Browser, Locator, expect

from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import Service


def section(visitor: Visitor, name: str) -> Locator:
    """Return the section of an operation."""
    return visitor.page.locator(f"section[aria-labelledby='{name}']")


def test_a_form_shows_its_response_in_the_page(visitor: Visitor) -> None:
    visitor.open("/rates/docs/")
    latest = section(visitor, "latest_rates")
    latest.get_by_label("base").fill("USD")
    latest.get_by_label("symbols").fill("GBP,EUR")
    latest.get_by_role("button", name="Send request").click()
    expect(latest.get_by_role("status")).to_have_text(
        "Status 200 from /rates/latest?base=USD&symbols=GBP,EUR"
    )
    shown = json.loads(latest.locator("pre.reply").inner_text())
    assert (shown["base"], list(shown["rates"])) == ("USD", ["GBP", "EUR"])
    assert visitor.page.url.endswith("/rates/docs/")
    assert visitor.problems == []
    latest.get_by_role("link", name="/rates/latest?base=USD").click()
    visitor.page.wait_for_url("**/rates/latest?base=USD&symbols=GBP,EUR")


def test_a_link_shows_its_response_in_the_page(visitor: Visitor) -> None:
    visitor.open("/rates/docs/")
    rows = section(visitor, "rates_of_range_csv")
    rows.get_by_role("link", name="Send request").click()
    expect(rows.get_by_role("status")).to_contain_text("Status 200 from /rates/")
    assert rows.locator("pre.reply").inner_text().startswith("date,base,currency,rate\n")
    assert visitor.page.url.endswith("/rates/docs/")


def test_an_error_is_shown_in_the_page(visitor: Visitor) -> None:
    visitor.open("/rates/docs/")
    convert = section(visitor, "convert")
    convert.get_by_label("from").fill("QQQ")
    convert.get_by_role("button", name="Send request").click()
    expect(convert.get_by_role("status")).to_contain_text("Status 400 from /rates/convert?from=QQQ&to=")
    assert "Unknown currency: QQQ." in convert.locator("pre.reply").inner_text()


def test_a_long_response_is_cut_and_scrolls(visitor: Visitor) -> None:
    visitor.open("/rates/docs/")
    openapi = section(visitor, "openapi")
    openapi.get_by_role("button", name="Send request").click()
    reply = openapi.locator("pre.reply")
    expect(reply).to_contain_text("…")
    assert len(reply.inner_text().splitlines()) == 201
    assert reply.evaluate("(one) => one.scrollHeight > one.clientHeight && one.tabIndex === 0")


def test_works_without_javascript(browser: Browser, service: Service) -> None:
    context = browser.new_context(base_url=service.server.url, java_script_enabled=False)
    try:
        page = context.new_page()
        page.goto("/rates/docs/")
        form = page.locator("section[aria-labelledby='latest_rates'] form")
        form.get_by_label("symbols").fill("GBP")
        form.get_by_role("button", name="Send request").click()
        page.wait_for_url(re.compile(r"/rates/latest\?.*symbols=GBP"))
        assert '"rates":{"GBP":' in page.locator("body").inner_text()
    finally:
        context.close()
