"""Pages while tokens are on: without a token they show nothing private, after signing in all work."""

import datetime as dt
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.clock import yesterday
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.checks import failures, wider_than_the_window
from fx_pipeline_tests.pages.conftest import OpenVisitor
from fx_pipeline_tests.pages.filled import fill

PATHS = (
    "/",
    "/currency/USD/",
    "/currency/QQQ/",
    "/coverage/",
    "/fx/rates_by_date",
    "/fx",
    "/fx/rates",
    "/rates/docs/",
)


class Closed(NamedTuple):
    """A service that requires a token, a token, and its newest day."""

    server: Server
    token: str
    newest: dt.date


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    folder = tmp_path_factory.mktemp("closed")
    newest = yesterday()
    path = fill(folder / "fx.db", newest.replace(day=1), newest)
    token = TokenFile(folder / "tokens.db").create("reports")
    with serving(path, folder / "log") as server:
        yield Closed(server, token, newest)


@pytest.fixture
def visitor(open_visitor: OpenVisitor, closed: Closed) -> Visitor:
    return open_visitor(closed.server.url)


def sign_in(visitor: Visitor, token: str) -> None:
    visitor.page.get_by_label("Token").fill(token)
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_a_page_shows_only_the_sign_in_form(
    visitor: Visitor, closed: Closed, path: str
) -> None:
    assert visitor.open(path).status == 401
    assert visitor.page.get_by_label("Token").is_visible()
    page = visitor.page.content()
    assert not re.search(r"\bUSD\b|Dollar|Euro|reports|\d\.\d{3}|20\d\d-\d\d", visitor.text())
    assert str(closed.newest) not in page
    assert "Dollar" not in page
    assert failures(visitor) == []
    assert wider_than_the_window(visitor) == []
    assert visitor.problems == []


def test_after_signing_in_all_pages_work(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/currency/USD/?range=1m")
    sign_in(visitor, closed.token)
    assert visitor.page.url == f"{closed.server.url}/currency/USD/?range=1m"
    visitor.page.locator(".chart canvas").wait_for()
    for path in PATHS:
        status = 404 if "QQQ" in path else 200
        assert visitor.open(path).status == status, path
        assert visitor.page.locator("form[action='/-/login']").count() == 0
    assert visitor.problems == []
    assert closed.token not in visitor.page.content()
    assert not [url for url in visitor.requested if closed.token in url]


def test_a_token_holder_sees_the_latest_fetches(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/coverage/")
    sign_in(visitor, closed.token)
    fetches = visitor.page.locator("section", has_text="Latest fetches")
    expect(fetches.locator("tbody tr")).to_have_count(2)
    assert failures(visitor) == []


def test_a_wrong_token_shows_the_form_again(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/coverage/")
    sign_in(visitor, "fxp_wrong")
    assert "This token is not valid" in visitor.page.get_by_role("alert").inner_text()
    assert "fxp_wrong" not in visitor.page.content()
    assert failures(visitor) == []
    sign_in(visitor, closed.token)
    assert visitor.page.url == f"{closed.server.url}/coverage/"


def test_after_signing_out_a_token_is_required(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/")
    sign_in(visitor, closed.token)
    with visitor.page.expect_navigation():
        visitor.page.locator(".leave button").click()
    assert visitor.page.get_by_label("Token").is_visible()
    assert visitor.open("/coverage/").status == 401
