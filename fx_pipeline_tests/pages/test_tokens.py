"""Where tokens are on: without one no page shows anything private; given once, all of them work."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import OpenVisitor
from fx_pipeline_tests.pages.filled import fill, yesterday
from fx_pipeline_tests.pages.test_every_page import failures, wider_than_the_window

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
    """A service that asks for a token, and a token."""

    server: Server
    token: str


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Closed]:
    folder = tmp_path_factory.mktemp("closed")
    path = fill(folder / "fx.db", yesterday().replace(day=1), yesterday())
    token = TokenFile(folder / "tokens.db").create("reports")
    with serving(path, folder / "log") as server:
        yield Closed(server, token)


@pytest.fixture
def visitor(open_visitor: OpenVisitor, closed: Closed) -> Visitor:
    return open_visitor(closed.server.url)


def give(visitor: Visitor, token: str) -> None:
    visitor.page.get_by_label("Token").fill(token)
    with visitor.page.expect_navigation():
        visitor.page.keyboard.press("Enter")


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_a_page_shows_nothing_but_the_question_for_one(visitor: Visitor, path: str) -> None:
    assert visitor.open(path).status == 401
    assert visitor.page.get_by_label("Token").is_visible()
    page = visitor.page.content()
    assert not re.search(r"\bUSD\b|Dollar|Euro|reports|\d\.\d{3}|20\d\d-\d\d", visitor.text())
    assert str(yesterday()) not in page
    assert "Dollar" not in page
    assert failures(visitor) == []
    assert wider_than_the_window(visitor) == []
    assert visitor.problems == []


def test_a_token_is_given_once(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/currency/USD/?range=1m")
    give(visitor, closed.token)
    assert visitor.page.url == f"{closed.server.url}/currency/USD/?range=1m"
    visitor.page.locator(".chart canvas").wait_for()
    for path in PATHS:
        status = 404 if "QQQ" in path else 200
        assert visitor.open(path).status == status, path
        assert visitor.page.locator("form[action='/-/login']").count() == 0
    assert visitor.problems == []
    assert closed.token not in visitor.page.content()
    assert not [address for address in visitor.asked if closed.token in address]


def test_a_holder_sees_the_last_questions_to_the_provider(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/coverage/")
    give(visitor, closed.token)
    questions = visitor.page.locator("section", has_text="Latest requests to the provider")
    expect(questions.locator("tbody tr")).to_have_count(2)
    assert failures(visitor) == []


def test_a_wrong_token_is_asked_for_again(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/coverage/")
    give(visitor, "fxp_wrong")
    assert "This token is not valid" in visitor.page.get_by_role("alert").inner_text()
    assert "fxp_wrong" not in visitor.page.content()
    assert failures(visitor) == []
    give(visitor, closed.token)
    assert visitor.page.url == f"{closed.server.url}/coverage/"


def test_who_leaves_is_asked_again(visitor: Visitor, closed: Closed) -> None:
    visitor.open("/")
    give(visitor, closed.token)
    with visitor.page.expect_navigation():
        visitor.page.locator(".leave button").click()
    assert visitor.page.get_by_label("Token").is_visible()
    assert visitor.open("/coverage/").status == 401
