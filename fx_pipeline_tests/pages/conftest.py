"""A browser, and the service in its own process over a history with gaps and revisions."""

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser

from fx_pipeline.clock import yesterday
from fx_pipeline.rates import date_range
from fx_pipeline_tests.api.server import Server, serving
from fx_pipeline_tests.pages.browser import Visitor, chromium, running_browser
from fx_pipeline_tests.pages.filled import fill

START = dt.date(2019, 1, 1)


class Service(NamedTuple):
    """A running service, and the special days of its history."""

    server: Server
    newest: dt.date
    gap: tuple[dt.date, dt.date]
    """Missing days in the last month."""
    lone_gap: dt.date
    """An earlier missing day."""
    revised: dt.date
    """A day with revised values of USD and GBP."""
    rejected: dt.date
    """A day with a rejected value."""


OpenVisitor = Callable[..., Visitor]


# Not for the session: while Playwright runs, its thread has an event loop, so the asynchronous tests of other
# packages would not start.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with running_browser(chromium()) as browser:
        yield browser


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    newest = yesterday()

    def back(days: int) -> dt.date:
        return newest - dt.timedelta(days)

    gap, lone_gap, revised, rejected = (back(14), back(10)), dt.date(2024, 5, 10), back(3), back(5)
    path = fill(
        folder / "fx.db",
        START,
        newest,
        without=[*date_range(*gap), lone_gap],
        revised=[(revised, "USD", 1.003), (revised, "GBP", 0.998), (dt.date(2022, 3, 1), "TRY", 1.1)],
        rejected=[(rejected, "CHF", "-1")],
    )
    with serving(path, folder / "log", FX_START_DATE=str(START)) as server:
        yield Service(server, newest, gap, lone_gap, revised, rejected)


@pytest.fixture(scope="package")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve 40 days of 170 currencies, as many as Fixer has."""
    folder = tmp_path_factory.mktemp("crowded")
    newest = yesterday()
    path = fill(folder / "fx.db", newest - dt.timedelta(39), newest, currencies=170)
    with serving(path, folder / "log") as server:
        yield server


@pytest.fixture
def open_visitor(browser: Browser) -> Iterator[OpenVisitor]:
    """Return a function that opens a visitor of a URL. Close all visitors at the end."""
    visitors: list[Visitor] = []

    def open_(url: str, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, url, **options))
        return visitors[-1]

    yield open_
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def visitor(open_visitor: OpenVisitor, service: Service) -> Visitor:
    """Open a visitor of `service` with a desktop window."""
    return open_visitor(service.server.url)


@pytest.fixture(scope="package")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve an empty database."""
    folder: Path = tmp_path_factory.mktemp("empty")
    newest = yesterday()
    path = fill(folder / "fx.db", newest, newest - dt.timedelta(1))
    with serving(path, folder / "log") as server:
        yield server
