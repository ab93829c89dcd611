"""Checks of every page: no errors, no third-party requests, no overflow on a phone, and accessibility."""

import operator
from collections.abc import Callable

import pytest

from fx_pipeline_tests.api.server import Server
from fx_pipeline_tests.pages.browser import PHONE, Visitor
from fx_pipeline_tests.pages.checks import failures, wider_than_the_window, wider_than_their_box
from fx_pipeline_tests.pages.conftest import OpenVisitor, Service
from fx_pipeline_tests.waiting import wait_for

Address = Callable[[Service], str]

PAGES: dict[str, tuple[Address, int]] = {
    "home": (lambda _: "/", 200),
    "home in another base": (lambda _: "/?base=JPY", 200),
    "currency": (lambda _: "/currency/USD/", 200),
    "currency, all of it, in another base": (lambda _: "/currency/usd?base=JPY&range=all", 200),
    "currencies compared": (
        lambda _: "/currency/USD/?symbols=GBP,JPY,HRK,BGN,TRY&indexed=1&start_date=2019-02-01",
        200,
    ),
    "currency of the past": (lambda _: "/currency/HRK/?range=1m", 200),
    "currency without rates in the range": (
        lambda _: "/currency/HRK/?start_date=2024-01-01&end_date=2024-12-31",
        200,
    ),
    "unknown currency": (lambda _: "/currency/QQQ/", 404),
    "coverage": (lambda _: "/coverage/", 200),
    "coverage of another year": (lambda at: f"/coverage/?year={at.lone_gap.year}", 200),
    "day": (lambda at: f"/fx/rates_by_date?date={at.newest}", 200),
    "day that was revised": (lambda at: f"/fx/rates_by_date?date={at.revised}&base=USD", 200),
    "day that is missing": (lambda at: f"/fx/rates_by_date?date={at.gap[0]}", 404),
    "day that was not known yet": (lambda _: "/fx/rates_by_date?date=2022-03-01&as_of=2022-03-02", 404),
    "day without a rate of the base": (lambda _: "/fx/rates_by_date?date=2024-01-01&base=HRK", 404),
    "no day": (lambda _: "/fx/rates_by_date?date=2022-02-30", 400),
    "tables": (lambda _: "/fx", 200),
    "rates": (lambda _: "/fx/rates", 200),
    "rates, chosen and sorted": (lambda _: "/fx/rates?currency=USD&_sort=rate", 200),
    "revisions": (lambda _: "/fx/revisions", 200),
    "currencies": (lambda _: "/fx/symbols", 200),
    "rejected values": (lambda _: "/fx/rejected_rates", 200),
    "row": (lambda at: f"/fx/days/{at.revised}", 200),
    "row of two keys": (lambda at: f"/fx/rates/{at.revised},USD", 200),
    "query": (lambda at: f"/fx/rate_history?symbols=USD%2CGBP&start_date={at.revised}", 200),
    "query without an answer": (lambda _: "/fx/day_revisions", 200),
    "documentation": (lambda _: "/rates/docs/", 200),
    "what is public": (lambda _: "/public/", 200),
    "login": (lambda _: "/-/login", 200),
    "closed": (lambda _: "/fx/fetches", 403),
    "no page": (lambda _: "/nowhere", 404),
}
ON_EMPTY = {"home": 200, "coverage": 200, "currency": 404, "day": 200, "tables": 200, "documentation": 200}
"""Pages of a service without stored days, and their status."""

LOOK_LIKE_OTHERS = {
    "home in another base",
    "currency, all of it, in another base",
    "coverage of another year",
    "day",
    "rates",
    "currencies",
    "rejected values",
    "row of two keys",
}

WHOLE_ON_A_PHONE = (
    "home",
    "currency",
    "currency, all of it, in another base",
    "currencies compared",
    "currency without rates in the range",
    "day that was revised",
    "currencies",
    "rejected values",
    "row",
    "query",
    "documentation",
    "what is public",
)
"""Pages whose tables fit a phone, so that no part of them scrolls sideways."""


def open_page(visitor: Visitor, service: Service, name: str) -> None:
    address, status = PAGES[name]
    assert visitor.open(address(service)).status == status


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_errors_or_third_party_requests_and_fits_a_phone(
    visitor: Visitor, service: Service, name: str
) -> None:
    open_page(visitor, service, name)
    assert visitor.page.title().endswith(" · Exchange rates")
    assert visitor.page.locator("h1").count() == 1
    visitor.page.set_viewport_size(PHONE)
    # A chart follows the size of the window in one of the next frames.
    wait_for(lambda: wider_than_the_window(visitor), operator.not_)
    if name in WHOLE_ON_A_PHONE:
        visitor.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
        wait_for(lambda: wider_than_their_box(visitor), operator.not_)
    assert visitor.problems == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PAGES if name not in LOOK_LIKE_OTHERS])
def test_axe_finds_nothing_serious(visitor: Visitor, service: Service, name: str) -> None:
    open_page(visitor, service, name)
    assert failures(visitor) == []
    visitor.page.emulate_media(color_scheme="dark")
    assert failures(visitor, "color-contrast") == []


@pytest.mark.parametrize("name", ON_EMPTY)
def test_a_page_without_stored_days_is_complete(
    open_visitor: OpenVisitor, empty: Server, service: Service, name: str
) -> None:
    visitor = open_visitor(empty.url, size=PHONE)
    address, _ = PAGES[name]
    assert visitor.open(address(service)).status == ON_EMPTY[name]
    assert (visitor.problems, wider_than_the_window(visitor), failures(visitor)) == ([], [], [])


@pytest.mark.parametrize("name", ["home", "currency", "coverage", "day"])
def test_nothing_moves_when_scripts_and_data_arrive(visitor: Visitor, service: Service, name: str) -> None:
    # Late enough that the page has been painted.
    visitor.delay(0.2, "**/*.js", "**/rates/**")
    open_page(visitor, service, name)
    # After two frames, the last change has been painted and reported.
    visitor.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert visitor.evaluate("window.shifted") == []
