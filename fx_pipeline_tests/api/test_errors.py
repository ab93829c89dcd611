"""Every mistake in a request: its status, code, type, and a message that says what to do."""

import datetime as dt
import re
from pathlib import Path

import pytest

from fx_pipeline.api.errors import INVALID_API_FUNCTION, KINDS, ErrorKind
from fx_pipeline.api.failures import heading as heading_of
from fx_pipeline.rates import DayRates
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.error_cases import ERRORS
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.fetches import fetch_of


@pytest.mark.parametrize(
    ("path", "status", "code", "type_", "info"), ERRORS, ids=[error[0][:90] for error in ERRORS]
)
async def test_returns_the_error(api: Api, path: str, status: int, code: int, type_: str, info: str) -> None:
    response = await api.get(path)
    assert response.json() == {
        "success": False,
        "status": status,
        "message": info,
        "error": {"code": code, "type": type_, "info": info},
    }
    assert response.status_code == status
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["access-control-allow-origin"] == "*"
    assert "etag" not in response.headers


NO_PAGE = "There is no page at this address."
NOT_THERE = [
    ("/nothing", NO_PAGE),
    ("/nothing/here", NO_PAGE),
    ("/nothing/here/at-all", NO_PAGE),
    ("/currency", NO_PAGE),
    ("/_memory", NO_PAGE),
    ("/fx/nothing", "There is no table or query with this name. /fx lists them."),
    ("/fx/rates/2026-03-06,QQQ", "There is no row with this key."),
    ("/nothing.csv", NO_PAGE),
    ("/nothing/here.json", NO_PAGE),
    ("/fx/nothing.json", "There is no table or query with this name. /fx lists them."),
    ("/fx/nothing.csv", "There is no table or query with this name. /fx lists them."),
    *(
        (f"{path}.{extension}", f"There is no .{extension} of {path}. There is {formats}.")
        for path, formats in (
            ("/fx", ".json"),
            ("/fx/rates", ".json and .csv"),
            ("/fx/rates_by_date", ".json and .csv"),
            ("/fx/rates/2026-03-06,USD", ".json and .csv"),
        )
        for extension in ("parquet", "xlsx", "xml", "jsono", "html")
    ),
    # Only a row has bytes.
    ("/fx/rates.blob", "There is no .blob of /fx/rates. There is .json and .csv."),
    *(
        (
            f"{path}.csv",
            f"There is no .csv of {path}, which is a page. Rates as JSON and CSV are under /rates/, and "
            "tables under /fx.",
        )
        for path in ("/currency/USD", "/coverage", "/public")
    ),
    ("/-/health.csv", "There is no endpoint /-/health.csv. There is /-/health (JSON)."),
    (
        "/-/health/freshness.json",
        "There is no endpoint /-/health/freshness.json. There is /-/health/freshness (JSON).",
    ),
]


@pytest.mark.parametrize(("path", "info"), NOT_THERE)
async def test_says_what_is_not_there(api: Api, path: str, info: str) -> None:
    """As a page, or as a document if the address has the form of data."""
    response = await api.get(path)
    assert response.status_code == 404
    assert response.headers["cache-control"] == "no-store"
    if re.search(r"\.\w+$", path):
        assert response.json()["message"] == response.json()["error"]["info"] == info
    else:
        assert f"<p>{info}</p>" in response.text


@pytest.mark.parametrize(
    ("path", "status", "heading"),
    [
        ("/nothing", 404, "Page not found"),
        ("/fx/fetches", 403, "Access denied"),
        ("/?base=GBp", 400, "This request is not valid"),
        ("/currency/USD/?range=2y", 400, "This request is not valid"),
        ("/fx/rates_by_date?date=2023-02-29", 400, "This request is not valid"),
        ("/fx/rates?_size=x", 400, "This request is not valid"),
    ],
)
async def test_the_heading_of_an_error_says_what_happened(
    api: Api, path: str, status: int, heading: str
) -> None:
    response = await api.get(path)
    assert response.status_code == status
    assert f"<title>{heading} · Exchange rates</title>" in response.text
    assert f"<h1>{heading}</h1>" in response.text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.status not in (401, 405, 413, 414)])
def test_only_a_missing_page_is_headed_as_one(kind: ErrorKind) -> None:
    assert (heading_of(kind) == "Page not found") is (kind is INVALID_API_FUNCTION)
    assert heading_of(kind) != heading_of(ErrorKind(418, 418, "teapot"))


async def test_accepts_a_parameter_repeated_with_the_same_value(api: Api) -> None:
    response = await api.get("/rates/latest?base=USD&base=%20USD&symbols=EUR")
    assert response.json()["rates"] == {"EUR": 0.8583690987}


@pytest.fixture
def empty(tmp_path: Path, open_api: OpenApi) -> Api:
    """Open the API over an empty database."""
    History(tmp_path / "empty.db").close()
    return open_api(tmp_path / "empty.db")


EMPTY = [
    ("/rates/latest", "No rates are stored."),
    ("/rates/latest?base=USD&symbols=GBP", "No rates are stored."),
    ("/rates/2026-03-09", "No rates are stored for 2026-03-09."),
    ("/rates/2026-03-05..", "No rates are stored from 2026-03-05 on."),
    (
        "/rates/timeseries?start_date=2026-03-05&end_date=2026-03-09",
        "No rates are stored from 2026-03-05 to 2026-03-09.",
    ),
    ("/rates/convert?from=EUR&to=USD&amount=1", "No rates are stored."),
    (
        "/rates/fluctuation?start_date=2026-03-05&end_date=2026-03-09",
        "No rates are stored from 2026-03-05 to 2026-03-09.",
    ),
]


@pytest.mark.parametrize(("path", "info"), EMPTY)
async def test_errors_of_an_empty_database(empty: Api, path: str, info: str) -> None:
    response = await empty.get(path)
    assert (response.status_code, response.json()["error"]) == (
        404,
        {"code": 106, "type": "no_rates_available", "info": info},
    )


async def test_lists_of_an_empty_database(empty: Api) -> None:
    assert (await empty.get("/rates/symbols")).json() == {"success": True, "symbols": {}}
    assert (await empty.get("/rates/currencies")).json() == {}
    index = (await empty.get("/rates/")).json()
    assert (index["base"], index["latest_date"], index["first_date"]) == (None, None, None)


async def test_refuses_a_range_that_is_too_large(tmp_path: Path, open_api: OpenApi) -> None:
    history = History(tmp_path / "large.db")
    codes = [f"A{first}{second}" for first in "ABCDEFGHIJ" for second in "ABCDEFGHIJ"]
    day = dict.fromkeys(codes, 1.5)
    # 2,100 days of 100 currencies in one insert: day by day it would take minutes.
    fetch = history.fetch("2026-03-10T00:05:00.000000Z", {"2015-01-01": day})
    history.db.execute(
        """
        WITH RECURSIVE later(date) AS (
            SELECT '2015-01-02' UNION ALL SELECT date(date, '+1 day') FROM later LIMIT 2099
        ), every AS MATERIALIZED (SELECT date FROM later)
        INSERT INTO rates
        SELECT every.date, rates.currency, 1.5, ? FROM every, rates WHERE rates.date = '2015-01-01'
        """,
        [fetch],
    )
    history.db.execute(
        """
        INSERT INTO days SELECT DISTINCT date, 'EUR', 0, 100, ? FROM rates WHERE date > '2015-01-01'
        """,
        [fetch],
    )
    history.db.conn.commit()
    history.close()
    api = open_api(tmp_path / "large.db")

    response = await api.get("/rates/2015-01-01..")
    assert response.status_code == 400
    assert response.json()["error"] == {
        "code": 505,
        "type": "time_frame_too_long",
        "info": "That would be about 210000 rates: 2100 days of 100 currencies. A response has at most "
        "200000: request at most 2000 days, or at most 95 symbols.",
    }
    fits = await api.get("/rates/2015-01-01..?symbols=" + ",".join(codes[:95]))
    assert fits.status_code == 200
    rates = fits.json()["rates"]
    assert (len(rates), {len(day) for day in rates.values()}) == (2100, {95})
    whole = await api.get("/rates/2015-01-01..2020-06-22")
    assert (whole.status_code, len(whole.json()["rates"])) == (200, 2000)
    again = await api.get("/rates/2015-01-01..?symbols=" + ",".join(codes[:96]))
    assert again.json()["error"]["code"] == 505


async def test_the_home_page_leads_to_the_newest_day_if_it_has_no_rate_of_the_base(
    tmp_path: Path, open_api: OpenApi
) -> None:
    path = tmp_path / "fx.db"
    with RateStore(path) as store:
        for day, rates in ((8, {"USD": 1.1, "GBP": 0.8}), (9, {"USD": 1.2})):
            date = dt.date(2026, 3, day)
            rates_of_day = DayRates(date=date, base="EUR", timestamp=0, rates={**rates, "EUR": 1.0})
            store.record([fetch_of(rates_of_day)])
    api = open_api(path)
    assert (await api.get("/?base=USD")).status_code == 200
    answer, page = await api.get("/rates/latest?base=GBP"), await api.get("/?base=GBP")
    assert (answer.status_code, page.status_code) == (404, 302)
    assert "No rate of the base GBP is stored for 2026-03-09." in answer.text
    there = await api.get(page.headers["location"])
    assert (there.status_code, "GBP (GBP) has no rate on this day." in there.text) == (404, True)
