"""The responses of each endpoint: whole documents, including the order of keys."""

import json
from typing import Any

import pytest

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.contract.routes import Routes
from fx_pipeline.api.endpoints.inputs import PAGE_COST, RATES_PER_DAY
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline_tests.api.conftest import NOW, Api, OpenApi
from fx_pipeline_tests.api.documents import ALL, CSV, WIDE_CSV
from fx_pipeline_tests.api.history import History


@pytest.mark.parametrize(("path", "document"), ALL, ids=[path for path, _ in ALL])
async def test_returns_the_whole_document(api: Api, path: str, document: dict[str, Any]) -> None:
    response = await api.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    assert json.dumps(response.json()) == json.dumps(document)


async def test_writes_numbers_as_the_provider_does(api: Api) -> None:
    response = await api.get("/rates/2026-03-06?symbols=BTC,EUR,IDR,JPY")
    assert response.text.endswith('"rates":{"BTC":0.0000125,"EUR":1,"IDR":19660,"JPY":183}}')


async def test_index_links_work(api: Api) -> None:
    document = (await api.get("/rates/")).json()
    endpoints = document.pop("endpoints")
    assert document == {
        "success": True,
        "name": "fx-pipeline",
        "description": "Daily exchange rates, in Fixer's own protocol.",
        "base": "EUR",
        "latest_date": "2026-03-09",
        "first_date": "1999-01-04",
    }
    answers = {name: (await api.get(link)).status_code for name, link in endpoints.items()}
    assert answers == dict.fromkeys(endpoints, 200)
    assert (await api.get("/rates")).content == (await api.get("/rates/")).content


CSV_OF_AMOUNTS = [
    ("/rates/latest.csv?amount=100&from=GBP&to=USD", ["2026-03-09,GBP,100,USD,134.3868958"]),
    (
        "/rates/2026-03-08...csv?amount=0.5&to=USD,JPY",
        [
            "2026-03-08,EUR,0.5,USD,0.581",
            "2026-03-08,EUR,0.5,JPY,91.625",
            "2026-03-09,EUR,0.5,USD,0.5825",
            "2026-03-09,EUR,0.5,JPY,92.0625",
        ],
    ),
]


@pytest.mark.parametrize(("path", "rows"), CSV)
async def test_returns_csv(api: Api, path: str, rows: list[str]) -> None:
    response = await api.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.text == "".join(f"{row}\r\n" for row in ["date,base,currency,rate", *rows])


@pytest.mark.parametrize(("path", "rows"), CSV_OF_AMOUNTS)
async def test_csv_of_an_amount_has_a_column_for_it(api: Api, path: str, rows: list[str]) -> None:
    response = await api.get(path)
    assert response.text == "".join(f"{row}\r\n" for row in ["date,base,amount,currency,rate", *rows])


@pytest.mark.parametrize(("path", "rows"), WIDE_CSV)
async def test_a_wide_csv_has_a_column_for_each_currency(api: Api, path: str, rows: list[str]) -> None:
    response = await api.get(path)
    assert response.text == "".join(f"{row}\r\n" for row in rows)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    narrow = await api.get(path.replace("wide=1", "wide=0"))
    for header in ("x-missing-rates", "x-missing-days", "cache-control"):
        assert response.headers.get(header) == narrow.headers.get(header)
    assert narrow.text.startswith("date,base,")


MISSING_DAYS = [
    # The 7th. The 10th is today.
    ("2026-03-05..2026-03-10?symbols=USD", "1"),
    ("2026-03-05..2026-03-10?base=USD", "1"),
    ("2026-03-05..", "1"),
    ("timeseries?start_date=2026-03-07&end_date=2026-03-08", "1"),
    ("timeseries?start_date=1999-01-04&end_date=1999-12-31&symbols=USD,GBP", "360"),
    ("1999-01-01..1999-01-05.csv?symbols=USD&wide=1", "3"),
    ("1999-01-01..1999-01-05.csv", "3"),
    ("2026-03-05..2026-03-06", None),
    ("2026-03-08..2026-03-10.csv", None),
    # JPY begins later, but both days are stored.
    ("1999-01-04..1999-01-05?symbols=USD,JPY", None),
    ("1999-01-04..1999-01-06?symbols=USD,JPY", "1"),
    # The 8th was fetched on the 9th. On the 8th, the 7th could have been known.
    ("2026-03-05..2026-03-09?symbols=USD&as_of=2026-03-08", "1"),
    ("2026-03-05..2026-03-09?as_of=2026-03-09", "1"),
    ("2026-03-05..2026-03-09?as_of=2026-03-07", None),
    ("latest", None),
]


@pytest.mark.parametrize(("asked", "days"), MISSING_DAYS)
async def test_a_range_says_how_many_days_are_not_stored(api: Api, asked: str, days: str | None) -> None:
    response = await api.get(f"/rates/{asked}")
    assert (response.status_code, response.headers.get("x-missing-days")) == (200, days)
    assert "x-missing-days" in response.headers["access-control-expose-headers"]


async def test_a_stored_day_is_no_longer_missing(history: History, api: Api) -> None:
    path = "/rates/1999-01-04..1999-01-06?symbols=USD"
    before = await api.get(path)
    history.fetch("2026-03-10T11:00:00.000000Z", {"1999-01-06": {"USD": 1.17}, "2026-03-10": {"USD": 1.2}})
    after = await api.get(path)
    assert (before.headers["x-missing-days"], before.headers["cache-control"]) == ("1", "public, max-age=60")
    assert "x-missing-days" not in after.headers
    assert after.headers["cache-control"] == "public, max-age=86400"
    # Today counts if it is stored, and does not hide the 7th.
    with_today = await api.get("/rates/2026-03-05..2026-03-10?symbols=USD")
    assert (len(with_today.json()["rates"]), with_today.headers["x-missing-days"]) == (5, "1")


async def test_adds_the_base_with_rate_one_if_it_is_not_stored(history: History, open_api: OpenApi) -> None:
    history.fetch("2026-03-10T00:06:00.000000Z", {"2026-03-04": {"USD": 1.25}})
    api = open_api(history.path)
    assert (await api.get("/rates/2026-03-04")).json()["rates"] == {"EUR": 1, "USD": 1.25}
    assert (await api.get("/rates/2026-03-04?base=USD")).json()["rates"] == {"EUR": 0.8, "USD": 1}


async def test_the_next_request_sees_a_commit(history: History, api: Api) -> None:
    before = await api.get("/rates/latest?symbols=USD")
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-09": {"USD": 1.2}})
    after = await api.get("/rates/latest?symbols=USD")
    assert (before.json()["rates"], after.json()["rates"]) == ({"USD": 1.165}, {"USD": 1.2})
    assert before.headers["etag"] != after.headers["etag"]


@pytest.mark.parametrize(
    ("asked", "cost"),
    [
        ("latest", 0),
        ("2026-03-09?base=USD", 0),
        ("convert?from=EUR&to=USD&amount=1", 0),
        ("timeseries?start_date=2026-03-01&end_date=2026-03-10&symbols=USD,GBP", 30),
        ("timeseries?start_date=2026-03-01&end_date=2026-03-10", 10 * RATES_PER_DAY),
        ("2026-03-01..2026-03-10?symbols=USD&base=GBP", 20),
        ("2026-03-01..?symbols=USD", 20),
        ("1999-01-04..?symbols=USD", 2 * 9928),
        ("2026-03-01..2026-03-10.csv?symbols=USD", 20),
        ("2026-03-01..2026-03-10.csv", 10 * RATES_PER_DAY),
        ("fluctuation?start_date=2026-03-01&end_date=2026-03-10&symbols=USD", PAGE_COST),
        ("openapi.json", PAGE_COST),
    ],
)
def test_estimates_the_cost_of_a_request(asked: str, cost: int) -> None:
    """The lane of a request is chosen by this estimate."""
    path, _, query = asked.partition("?")
    operation, parts = Routes(OPERATIONS).find(path)
    assert operation.cost(operation.parse(Parameters.parse(query, NOW), **parts)) == cost
