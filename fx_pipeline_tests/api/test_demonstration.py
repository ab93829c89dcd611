"""Every page says if its rates come from the sandbox."""

import datetime as dt
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.clock import end_of_day
from fx_pipeline.rates import DayRates
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.fetches import fetch_of

PATHS = (
    "/",
    "/currency/USD/",
    "/currency/QQQ/",
    "/coverage/",
    "/fx/rates_by_date",
    "/fx/rates_by_date?date=2026-03-01",
    "/fx/rates_by_date?date=2026-02-30",
    "/fx",
    "/fx/rates",
    "/fx/rates/2026-03-09,USD",
    "/fx/rate_history?symbols=USD",
    "/fx/fetches",
    "/rates/docs/",
    "/public/",
    "/-/login",
    "/nowhere",
)

NOTICE = "<strong>Demonstration.</strong>"
SOURCE = "Source: the sandbox, which imitates Fixer."
FIXER = 'Source: <a href="https://fixer.io/" rel="noreferrer">Fixer</a>.'


def store(path: Path, provider: str) -> Path:
    """Store a day from this provider."""
    date = dt.date(2026, 3, 9)
    day = DayRates(date=date, base="EUR", timestamp=end_of_day(date), rates={"EUR": 1, "USD": 1.165})
    with RateStore(path) as store:
        store.record([fetch_of(day, provider=provider)])
    return path


@pytest.mark.parametrize("provider", ["sandbox", "fixer"])
async def test_every_page_names_the_source_of_the_rates(
    tmp_path: Path, open_api: OpenApi, provider: str
) -> None:
    api = open_api(store(tmp_path / "fx.db", provider))
    shown = {path: (await api.get(path)).text for path in PATHS}
    is_demonstration = provider == "sandbox"
    assert {path for path, page in shown.items() if (NOTICE in page) is not is_demonstration} == set()
    assert {path for path, page in shown.items() if (SOURCE in page) is not is_demonstration} == set()
    assert {path for path, page in shown.items() if (FIXER in page) is is_demonstration} == set()


DOCUMENTS = (
    "/fx.json",
    "/fx/rates.json",
    "/fx/rates.json?_shape=objects",
    "/fx/rates/2026-03-09,USD.json",
    "/fx/rates_by_date.json",
    "/fx/rate_history.json?symbols=USD",
)


@pytest.mark.parametrize(
    ("provider", "source"),
    [
        ("sandbox", {"source": "the sandbox, which imitates Fixer"}),
        ("fixer", {"source": "Fixer", "source_url": "https://fixer.io/"}),
    ],
)
async def test_every_document_of_a_table_or_query_names_the_source(
    tmp_path: Path, open_api: OpenApi, provider: str, source: dict[str, str]
) -> None:
    api = open_api(store(tmp_path / "fx.db", provider))
    documents = {path: (await api.get(path)).json() for path in DOCUMENTS}
    assert {
        path: {name: value for name, value in document.items() if name.startswith("source")}
        for path, document in documents.items()
    } == dict.fromkeys(DOCUMENTS, source)


async def test_the_notice_appears_with_the_first_rates(tmp_path: Path, open_api: OpenApi) -> None:
    RateStore(tmp_path / "fx.db").close()
    api = open_api(tmp_path / "fx.db")
    assert NOTICE not in (await api.get("/fx")).text
    store(tmp_path / "fx.db", "sandbox")
    assert NOTICE in (await api.get("/fx")).text


async def test_the_login_form_says_nothing_about_the_rates(tmp_path: Path, open_api: OpenApi) -> None:
    path = store(tmp_path / "fx.db", "sandbox")
    token = TokenFile(tmp_path / "tokens.db").create("reports")
    api: Api = open_api(path)
    for refused in ("/-/login", "/", "/fx"):
        assert NOTICE not in (await api.get(refused, accept="text/html")).text
    assert NOTICE in (await api.get("/fx", Authorization=f"Bearer {token}")).text
