"""A small history in a real file, and the API over it at a fixed instant."""

import copy
import datetime as dt
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fx_pipeline.api import datasette
from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.middleware.stack import application
from fx_pipeline.api.reading.metadata import read_metadata
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.settings import Settings
from fx_pipeline_tests.api.history import History

NOW = dt.datetime(2026, 3, 10, 12, 0, tzinfo=dt.timezone.utc)

NAMES = {
    "BTC": "Bitcoin",
    "EUR": "Euro",
    "GBP": "British Pound Sterling",
    "IDR": "Indonesian Rupiah",
    "JPY": "Japanese Yen",
    "USD": "United States Dollar",
    "XAU": "Gold (troy ounce)",
    # Has a name but no rates.
    "ZWL": "Zimbabwean Dollar",
}
MARCH = {
    "2026-03-05": {
        "BTC": 1.2412e-05,
        "EUR": 1,
        "GBP": 0.8675,
        "IDR": 19651.25,
        "JPY": 182.5,
        "USD": 1.1602,
        "XAU": 0.000226,
    },
    "2026-03-06": {
        "BTC": 1.25e-05,
        "EUR": 1,
        "GBP": 0.8672,
        "IDR": 19660,
        "JPY": 183,
        "USD": 1.1618,
        "XAU": 0.000225,
    },
    "2026-03-08": {
        "BTC": 1.2501e-05,
        "EUR": 1,
        "GBP": 0.867,
        "IDR": 19661.5,
        "JPY": 183.25,
        "USD": 1.162,
        "XAU": 0.0002245,
    },
    "2026-03-09": {
        "BTC": 1.27e-05,
        "EUR": 1,
        "GBP": 0.8669,
        "IDR": 19700,
        "JPY": 184.125,
        "USD": 1.165,
        "XAU": 0.000223,
    },
}


@pytest.fixture(scope="session", autouse=True)
def _parse_metadata_once() -> Iterator[None]:
    """Parse metadata.yaml once for all tests: it took more than half of the time of most of them."""
    parsed = read_metadata(datasette.CONFIG / "metadata.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasette, "read_metadata", lambda path: copy.deepcopy(parsed))
        yield


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write three old days and four of March 2026 (not the 7th). Revise two rates of the 6th."""
    history = History(tmp_path_factory.mktemp("history") / "fx.db")
    history.fetch(
        "2026-03-06T00:05:00.000000Z",
        {
            "1999-01-04": {"EUR": 1, "GBP": 0.7111, "USD": 1.1789},
            "1999-01-05": {"EUR": 1, "GBP": 0.7122, "USD": 1.179},
            "2000-01-03": {"EUR": 1, "GBP": 0.627016, "JPY": 102.75, "USD": 1.020124},
            "2026-03-05": MARCH["2026-03-05"],
        },
    )
    first = {**MARCH["2026-03-06"], "USD": 1.16, "GBP": 0.86}
    history.fetch("2026-03-07T00:05:00.000000Z", {"2026-03-06": first})
    history.fetch("2026-03-08T00:05:00.000000Z", {"2026-03-06": MARCH["2026-03-06"]})
    history.fetch("2026-03-09T00:05:00.000000Z", {"2026-03-08": MARCH["2026-03-08"]})
    history.fetch("2026-03-10T00:05:00.000000Z", {"2026-03-09": MARCH["2026-03-09"]})
    history.name(**NAMES)
    history.close()
    return history.path


@pytest.fixture
def history(written: Path, tmp_path: Path) -> Iterator[History]:
    """Yield a copy of the written history, for one test to change."""
    shutil.copy(written, tmp_path / "fx.db")
    copy = History(tmp_path / "fx.db")
    yield copy
    copy.close()


class Api:
    """The whole application in this process, at an instant that the test may change."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.now = NOW
        # Without the response cache, so that each request reaches what is tested.
        chosen = Settings(fx_database=path, **{"fx_cache_mb": 0, **settings})
        self.datasette = FxDatasette(chosen, clock=lambda: self.now)
        self.app = application(self.datasette)
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app, raise_app_exceptions=False),
            base_url="http://api",
            headers={"accept-encoding": "identity"},
        )

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(
            path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    async def close(self) -> None:
        await self.client.aclose()
        self.datasette.executor.shutdown()
        self.datasette.get_database("fx").close()


OpenApi = Callable[..., Api]


@pytest.fixture
async def open_api() -> AsyncIterator[OpenApi]:
    """Yield a function that opens the API over a file, with settings. Close all at the end."""
    opened: list[Api] = []

    def open_(path: Path, **settings: Any) -> Api:
        opened.append(Api(path, **settings))
        return opened[-1]

    yield open_
    for one in opened:
        await one.close()


@pytest.fixture
def api(history: History, open_api: OpenApi) -> Api:
    """Return the API over `history`."""
    return open_api(history.path)


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the metadata of the database, which the test may change before it opens the API."""
    whole = read_metadata(datasette.CONFIG / "metadata.yaml")
    monkeypatch.setattr(datasette, "read_metadata", lambda path: whole)
    database: dict[str, Any] = whole["databases"]["fx"]
    return database


@pytest.fixture
def file(history: History) -> TokenFile:
    """Return the file of tokens next to `history`."""
    return TokenFile(history.path.with_name("tokens.db"))


@pytest.fixture
def token(file: TokenFile) -> str:
    """Create a token, so that the API requires one."""
    return file.create("reports")
