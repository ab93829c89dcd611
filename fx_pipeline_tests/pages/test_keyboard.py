"""The pages with only a keyboard: everything can be reached, in order and visibly, and works."""

import re

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from fx_pipeline.api.pages.figures import shown_date
from fx_pipeline.api.pages.ranges import months_before
from fx_pipeline_tests.pages.browser import DESKTOP, PHONE, Visitor
from fx_pipeline_tests.pages.conftest import OpenVisitor, Service

MARK_CONTROLS = """() => {
  const can = "a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']";
  const shown = [...document.querySelectorAll(can)].filter((one) => one.checkVisibility());
  shown.forEach((one, place) => { one.dataset.place = place; });
  return shown.length;
}"""

FOCUSED = """() => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const outline = style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
  const isVisible = one.matches(":focus-visible") && outline >= 2;
  return [one.dataset.place ?? one.tagName, isVisible ? "" : one.outerHTML];
}"""

MOST = 900
"""Presses of Tab after which a test fails."""


def tab_to(page: Page, target: str) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if page.evaluate("(target) => document.activeElement.matches(target)", target):
            return
    pytest.fail(f"Tab does not reach {target}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/", DESKTOP),
        ("/", PHONE),
        ("/currency/USD/", DESKTOP),
        ("/currency/USD/", PHONE),
        ("/coverage/?year=2019", DESKTOP),
        ("/fx/rates_by_date", DESKTOP),
        ("/fx", DESKTOP),
        ("/fx/symbols", DESKTOP),
        ("/rates/docs/", DESKTOP),
        ("/-/login", DESKTOP),
    ],
)
def test_tab_reaches_every_control_in_order_and_visibly(
    open_visitor: OpenVisitor, service: Service, path: str, size: ViewportSize
) -> None:
    visitor = open_visitor(service.server.url, size=size)
    visitor.open(path)
    count = visitor.evaluate(MARK_CONTROLS)
    reached: list[str] = []
    unseen: list[str] = []
    for _ in range(MOST):
        visitor.page.keyboard.press("Tab")
        place, hidden = visitor.evaluate(FOCUSED)
        if place == "BODY":
            break
        # Each part of a date takes a press of Tab.
        if reached[-1:] != [place]:
            reached.append(place)
            unseen += [hidden] if hidden else []
    assert reached == [str(place) for place in range(count)]
    assert unseen == []


def test_the_first_link_skips_to_the_content(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.page.keyboard.press("Tab")
    assert visitor.page.get_by_role("link", name="Skip to content").is_visible()
    visitor.page.keyboard.press("Enter")
    assert visitor.evaluate("document.activeElement.id") == "content"


def test_the_home_page_works_by_keyboard(visitor: Visitor, service: Service) -> None:
    visitor.open("/")
    page = visitor.page
    tab_to(page, "#find")
    page.keyboard.type("rand")
    assert page.locator("table.rates tbody tr:visible").count() == 1
    for _ in "rand":
        page.keyboard.press("Backspace")
    tab_to(page, "[data-sort=rate] button")
    page.keyboard.press("Enter")
    assert page.locator("[data-sort=rate]").get_attribute("aria-sort") == "descending"
    page.keyboard.press("Space")
    assert page.locator("[data-sort=rate]").get_attribute("aria-sort") == "ascending"
    tab_to(page, "[name=amount]")
    page.keyboard.press("Control+A")
    page.keyboard.type("250")
    tab_to(page, "[name=from]")
    page.keyboard.type("GBP")
    before = page.locator("output").inner_text()
    tab_to(page, ".swap")
    page.keyboard.press("Enter")
    assert before.endswith(" USD")
    assert page.locator("output").inner_text().endswith(" GBP")


def test_a_day_can_be_selected_by_keyboard(visitor: Visitor, service: Service) -> None:
    visitor.open("/")
    tab_to(visitor.page, "[name=date]")
    visitor.page.keyboard.type(f"{service.revised:%m%d%Y}")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url(f"**/fx/rates_by_date?date={service.revised}")
    assert visitor.page.locator("h1").inner_text() == shown_date(str(service.revised))


def test_the_chart_works_by_keyboard(visitor: Visitor, service: Service) -> None:
    visitor.open("/currency/USD/")
    tab_to(visitor.page, "[name=indexed]")
    visitor.page.keyboard.press("Space")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**indexed=1**")
    tab_to(visitor.page, ".ranges a[href*='5y']")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**indexed=1&range=5y")
    start = months_before(service.newest, 60)
    expect(visitor.page.locator(".chart")).to_have_attribute("aria-label", re.compile(f" {start} to "))
    visitor.settle()
    tab_to(visitor.page, ".chart")
    visitor.page.keyboard.press("End")
    expect(visitor.page.locator(".reading")).to_contain_text(f"{service.newest}: USD ")


def test_the_coverage_page_works_by_keyboard(visitor: Visitor, service: Service) -> None:
    visitor.open("/coverage/")
    tab_to(visitor.page, ".strips a[href*='2020']")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/coverage/?year=2020#calendar")
    tab_to(visitor.page, ".month a[href$='2020-07-14']")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url("**/fx/rates_by_date?date=2020-07-14")


def test_the_documentation_works_by_keyboard(visitor: Visitor) -> None:
    visitor.open("/rates/docs/")
    folded = visitor.page.locator("#timeseries ~ details pre")
    assert not folded.is_visible()
    tab_to(visitor.page, "#timeseries ~ details summary")
    visitor.page.keyboard.press("Enter")
    expect(folded).to_contain_text('"timeseries": true')
    assert folded.is_visible()
