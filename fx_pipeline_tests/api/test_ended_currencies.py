"""Responses about a currency that ended name it, with its first and last day."""

import html
import re
from pathlib import Path
from typing import Any

import pytest

from fx_pipeline.api.pages.figures import shown_date
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History

BGN = "BGN has rates from 2025-12-29 to 2025-12-31."
MISSING = {"BGN": {"first_date": "2025-12-29", "last_date": "2025-12-31"}}
HEADER = "BGN=2025-12-29..2025-12-31"
DAY = "/fx/rates_by_date?date="
LIVES = {
    "BGN": ("2025-12-29", "2025-12-31"),
    "XCG": ("2026-01-01", "2026-01-02"),
    "ISK": ("2025-12-29", "2026-01-02"),
}
NEW = {"first_date": "2026-01-01", "last_date": "2026-01-02"}


@pytest.fixture
def api(tmp_path: Path, open_api: OpenApi) -> Api:
    """Serve five days: the lev ends with the year, the guilder begins after it, the krona has a gap."""
    history = History(tmp_path / "fx.db")
    days = {
        "2025-12-29": {"EUR": 1, "USD": 1.1, "BGN": 1.9558, "ISK": 150},
        "2025-12-30": {"EUR": 1, "USD": 1.2, "BGN": 1.9558},
        "2025-12-31": {"EUR": 1, "USD": 1.25, "BGN": 1.9558, "ISK": 151},
        "2026-01-01": {"EUR": 1, "USD": 1.25, "XCG": 2, "ISK": 152},
        "2026-01-02": {"EUR": 1, "USD": 1.28, "XCG": 2.5, "ISK": 153},
    }
    history.fetch("2026-01-03T00:05:00.000000Z", days)
    history.close()
    return open_api(history.path)


NO_RATE = [
    ("latest?symbols=BGN", f"No rate of BGN is stored for 2026-01-02. {BGN}"),
    ("latest?to=bgn", f"No rate of BGN is stored for 2026-01-02. {BGN}"),
    ("latest.csv?symbols=BGN", f"No rate of BGN is stored for 2026-01-02. {BGN}"),
    ("2026-01-01?symbols=BGN", f"No rate of BGN is stored for 2026-01-01. {BGN}"),
    ("latest?base=BGN", f"No rate of the base BGN is stored for 2026-01-02. {BGN}"),
    ("latest?base=BGN&symbols=USD", f"No rate of the base BGN is stored for 2026-01-02. {BGN}"),
    ("latest.csv?from=BGN&amount=10", f"No rate of the base BGN is stored for 2026-01-02. {BGN}"),
    ("2026-01-01..?symbols=BGN", f"No rate of BGN is stored from 2026-01-01 on. {BGN}"),
    ("2026-01-01...csv?symbols=BGN", f"No rate of BGN is stored from 2026-01-01 on. {BGN}"),
    (
        "2026-01-01..2026-01-02?base=BGN",
        f"No rate of the base BGN is stored from 2026-01-01 to 2026-01-02. {BGN}",
    ),
    (
        "timeseries?start_date=2026-01-01&end_date=2026-01-02&symbols=BGN",
        f"No rate of BGN is stored from 2026-01-01 to 2026-01-02. {BGN}",
    ),
    # Both have rates there, but on different days.
    (
        "2025-12-29..2026-01-02?base=BGN&symbols=XCG",
        "No rate of XCG in BGN is stored from 2025-12-29 to 2026-01-02. XCG has rates from 2026-01-01 to "
        f"2026-01-02. {BGN}",
    ),
    ("convert?from=BGN&to=USD&amount=10", f"No rate of the base BGN is stored for 2026-01-02. {BGN}"),
    ("convert?from=USD&to=BGN&amount=10", f"No rate of BGN is stored for 2026-01-02. {BGN}"),
    (
        "fluctuation?start_date=2025-12-29&end_date=2026-01-02&symbols=BGN",
        f"No rate of BGN is stored for 2026-01-02. {BGN}",
    ),
    (
        "fluctuation?start_date=2025-12-29&end_date=2026-01-02&base=BGN",
        f"No rate of the base BGN is stored for 2026-01-02. {BGN}",
    ),
    (
        "fluctuation?start_date=2025-12-31&end_date=2026-01-02&symbols=BGN,XCG",
        "No rate of BGN, XCG is stored on both 2025-12-31 and 2026-01-02. "
        f"{BGN} XCG has rates from 2026-01-01 to 2026-01-02.",
    ),
    (
        "latest?symbols=BGN&as_of=2026-01-03",
        f"No rate of BGN was known at 2026-01-03T23:59:59.999999Z for 2026-01-02. {BGN}",
    ),
]


@pytest.mark.parametrize(("call", "info"), NO_RATE, ids=[call for call, _ in NO_RATE])
async def test_a_request_without_any_rate_gets_a_404(api: Api, call: str, info: str) -> None:
    response = await api.get(f"/rates/{call}")
    assert response.status_code == 404
    assert response.json()["error"] == {"code": 106, "type": "no_rates_available", "info": info}


SOME_RATES: list[tuple[str, dict[str, Any], Any]] = [
    ("latest?symbols=USD,BGN", MISSING, {"USD": 1.28}),
    ("2026-01-01?base=USD&symbols=BGN,USD", MISSING, {"USD": 1}),
    ("latest?symbols=USD,BGN&as_of=2026-01-03", MISSING, {"USD": 1.28}),
    ("2025-12-31?symbols=USD,XCG", {"XCG": NEW}, {"USD": 1.25}),
    (
        "2025-12-31..?symbols=USD,BGN",
        MISSING,
        {
            "2025-12-31": {"USD": 1.25, "BGN": 1.9558},
            "2026-01-01": {"USD": 1.25},
            "2026-01-02": {"USD": 1.28},
        },
    ),
    ("2025-12-31..?symbols=BGN", MISSING, {"2025-12-31": {"BGN": 1.9558}}),
    ("2025-12-31..?symbols=BGN&as_of=2026-01-03", MISSING, {"2025-12-31": {"BGN": 1.9558}}),
    (
        "2025-12-30..?base=BGN&symbols=EUR",
        MISSING,
        {
            "2025-12-30": {"EUR": 0.5112997239},
            "2025-12-31": {"EUR": 0.5112997239},
        },
    ),
    (
        "timeseries?start_date=2025-12-31&end_date=2026-01-02&from=BGN&to=USD&amount=100",
        MISSING,
        {"2025-12-31": {"USD": 63.91246549}},
    ),
    # The currency has rates before and after the day without a rate.
    (
        "2025-12-29..2025-12-31?symbols=ISK",
        {"ISK": {"first_date": "2025-12-29", "last_date": "2026-01-02"}},
        {"2025-12-29": {"ISK": 150}, "2025-12-31": {"ISK": 151}},
    ),
]


@pytest.mark.parametrize(("call", "missing", "rates"), SOME_RATES, ids=[call for call, *_ in SOME_RATES])
async def test_a_response_with_other_rates_lists_the_missing_currency(
    api: Api, call: str, missing: dict[str, Any], rates: Any
) -> None:
    response = await api.get(f"/rates/{call}")
    document = response.json()
    assert (response.status_code, document["missing"], document["rates"]) == (200, missing, rates)
    spans = ", ".join(f"{code}={span['first_date']}..{span['last_date']}" for code, span in missing.items())
    assert response.headers["x-missing-rates"] == spans


async def test_a_series_in_an_ended_base_lists_it(api: Api) -> None:
    response = await api.get("/rates/2025-12-29..2026-01-02?base=BGN")
    document = response.json()
    assert (list(document["rates"]), document["missing"]) == (
        ["2025-12-29", "2025-12-30", "2025-12-31"],
        MISSING,
    )


async def test_a_fluctuation_lists_an_ended_currency(api: Api) -> None:
    response = await api.get("/rates/fluctuation?start_date=2025-12-31&end_date=2026-01-02&symbols=USD,BGN")
    document = response.json()
    assert (document["missing"], list(document["rates"])) == (MISSING, ["USD"])
    assert response.headers["x-missing-rates"] == HEADER


@pytest.mark.parametrize(
    ("call", "rows"),
    [
        ("latest.csv?symbols=USD,BGN", "2026-01-02,EUR,USD,1.28\r\n"),
        ("2025-12-31...csv?symbols=BGN", "2025-12-31,EUR,BGN,1.9558\r\n"),
        ("2025-12-31...csv?base=BGN&symbols=EUR", "2025-12-31,BGN,EUR,0.5112997239\r\n"),
    ],
)
async def test_csv_lists_missing_currencies_in_a_header(api: Api, call: str, rows: str) -> None:
    response = await api.get(f"/rates/{call}")
    assert response.text == f"date,base,currency,rate\r\n{rows}"
    assert response.headers["x-missing-rates"] == HEADER
    assert "x-missing-rates" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "call",
    [
        "2025-12-31?symbols=USD,BGN",
        "2025-12-29..2025-12-31?symbols=USD,BGN",
        "2025-12-29..2025-12-31?base=BGN",
        "2020-01-01..2025-12-31?symbols=BGN",
        "2025-12-29..2026-01-02?symbols=USD,EUR",
        "2025-12-29..2026-01-02",
        "latest",
        "latest?base=USD",
        "convert?from=BGN&to=USD&amount=1&date=2025-12-31",
    ],
)
async def test_a_complete_response_lists_no_missing_currency(api: Api, call: str) -> None:
    response = await api.get(f"/rates/{call}")
    assert response.status_code == 200
    assert "missing" not in response.json()
    assert "x-missing-rates" not in response.headers


def links_of(page: str) -> dict[str, str]:
    """Return the links in the main part of a page by their text."""
    main = page[page.index("<main") : page.index("</main>")]
    return {text: html.unescape(link) for link, text in re.findall('<a href="([^"]*)"[^>]*>(.*?)</a>', main)}


@pytest.mark.parametrize(
    ("date", "base", "turns"),
    [
        # The next day of the last day of the lev.
        ("2026-01-01", "BGN", {"← 31 December 2025": "2025-12-31", "2 January 2026 →": "2026-01-02"}),
        ("2026-01-02", "BGN", {"← 1 January 2026": "2026-01-01"}),
        ("2025-12-31", "XCG", {"← 30 December 2025": "2025-12-30", "1 January 2026 →": "2026-01-01"}),
        ("2025-12-30", "ISK", {"← 29 December 2025": "2025-12-29", "31 December 2025 →": "2025-12-31"}),
    ],
)
async def test_the_page_of_a_day_without_a_rate_of_the_base_leads_on(
    api: Api, date: str, base: str, turns: dict[str, str]
) -> None:
    response = await api.get(f"{DAY}{date}&base={base}")
    assert response.status_code == 404
    assert f"{base} ({base}) has no rate on this day." in response.text
    assert f'<input type="date" name="date" value="{date}"' in response.text
    assert f'<option value="{base}" selected>' in response.text
    life = LIVES[base]
    assert links_of(response.text) == {
        **{text: f"{DAY}{day}&base={base}" for text, day in turns.items()},
        **({} if date < "2026-01-02" else {"Latest day": "/"}),
        **{shown_date(day): f"{DAY}{day}&base={base}" for day in life},
        "This day with the base EUR": f"{DAY}{date}",
    }
    for link in (f"{DAY}{life[0]}&base={base}", f"{DAY}{life[1]}&base={base}", f"{DAY}{date}"):
        assert (await api.get(link)).status_code == 200


async def test_the_latest_rates_in_an_ended_base_lead_to_the_page_of_the_day(api: Api) -> None:
    response = await api.get("/?base=BGN")
    assert (response.status_code, response.headers["location"]) == (302, f"{DAY}2026-01-02&base=BGN")


async def test_a_base_that_was_not_known_yet_leads_to_the_rates_of_now(api: Api) -> None:
    response = await api.get(f"{DAY}2026-01-02&base=BGN&as_of=2026-01-04")
    assert response.status_code == 404
    assert "BGN (BGN) had no rate on this day, as known on 4 January 2026." in response.text
    links = links_of(response.text)
    assert links["This day with the base EUR"] == f"{DAY}2026-01-02&as_of=2026-01-04"
    assert links["Show the rates as stored now"] == f"{DAY}2026-01-02&base=BGN"


async def test_the_page_of_a_currency_names_the_last_day_of_an_ended_one(api: Api) -> None:
    ended = (await api.get("/currency/BGN/")).text
    assert "2025-12-31</span>, the last day with rates for both" in ended
    against = (await api.get("/currency/USD/?base=BGN")).text
    assert "2025-12-31</span>, the last day with rates for both" in against
    never_together = await api.get("/currency/XCG/?base=BGN")
    assert never_together.status_code == 200
    assert "No day has rates for both XCG and BGN." in never_together.text
