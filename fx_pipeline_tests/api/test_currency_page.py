"""The figures of the currency page: each says which days it is from."""

import html
import re
from pathlib import Path

import pytest

from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.pages.currency import cost
from fx_pipeline.api.pages.figures import shown_rate
from fx_pipeline.api.views import MEDIUM_COST
from fx_pipeline_tests.api.conftest import NOW, Api, OpenApi
from fx_pipeline_tests.api.history import History

MINUS, PERCENT = "−", " %"
"""As `text_of` returns them: it makes every space a blank."""

DAYS = {
    "2020-12-31": {"EUR": 1, "USD": 1.25, "AUD": 1.6, "BGN": 1.9558},
    "2024-01-10": {"EUR": 1, "USD": 1.2, "AUD": 1.6, "BGN": 1.9558},
    "2024-02-01": {"EUR": 1, "USD": 1.1, "AUD": 1.7, "BGN": 1.9558},
    "2024-11-30": {"EUR": 1, "USD": 1, "AUD": 1.65, "BGN": 1.9558},
    "2025-12-30": {"EUR": 1, "USD": 1.2, "AUD": 1.75, "BGN": 1.9558},
    "2025-12-31": {"EUR": 1, "USD": 1.25, "BGN": 1.9558},
    "2026-01-01": {"EUR": 1, "USD": 1.5, "AUD": 1.8, "XCG": 2},
    "2026-03-05": {"EUR": 1, "USD": 1.6, "AUD": 2, "XCG": 2.5},
    "2026-03-09": {"EUR": 1, "USD": 1.5, "AUD": 1.9, "XCG": 2.4},
}
ALL = "/currency/USD/?range=all"


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write nine days of six years."""
    history = History(tmp_path_factory.mktemp("scattered") / "fx.db")
    history.fetch("2026-03-10T00:05:00.000000Z", DAYS)
    history.close()
    return history.path


@pytest.fixture
def api(scattered: Path, open_api: OpenApi) -> Api:
    return open_api(scattered)


async def page(api: Api, path: str, status: int = 200) -> str:
    response = await api.get(path)
    assert response.status_code == status
    return response.text


def text_of(source: str) -> str:
    """Return the text of HTML, with one blank between words."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", source)).split())


def rows(source: str, table: str) -> list[str]:
    """Return the text of each row of the table below a heading, without the header."""
    [section] = re.findall(rf'<section aria-labelledby="{table}">(.*?)</section>', source, re.DOTALL)
    return [text_of(row) for row in re.findall("<tr>(.*?)</tr>", section, re.DOTALL)][1:]


def figures(source: str) -> dict[str, dict[str, str]]:
    """Return the summary of each currency."""
    parts = re.findall(r'<div class="figures" data-series="(\w+)">(.*?)\n  </div>', source, re.DOTALL)
    return {
        code: {
            text_of(name): text_of(value)
            for name, value in re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", part, re.DOTALL)
        }
        for code, part in parts
    }


def links(source: str, what: str) -> str:
    [link] = re.findall(rf'data-call="{what}" href="([^"]*)"', source)
    return html.unescape(link)


async def test_partial_years_and_months_say_which_days_they_have(api: Api) -> None:
    shown = await page(api, ALL)
    assert rows(shown, "years") == [
        "2026 3 of 365 days: 2026-01-01 to 2026-03-09 1.53333 1.60000 1.50000 1.50000 +20.00" + PERCENT,
        "2025 2 of 365 days: 2025-12-30 to 2025-12-31 1.22500 1.25000 1.20000 1.25000 –",
        "2024 3 of 366 days: 2024-01-10 to 2024-11-30 1.10000 1.20000 1.00000 1.00000 –",
        "2020 1 of 366 days: 2020-12-31 1.25000 1.25000 1.25000 1.25000 –",
    ]
    assert rows(shown, "months") == [
        "2026-03 2 of 31 days: 2026-03-05 to 2026-03-09 1.55000 1.60000 1.50000 1.50000 –",
        "2026-01 1 of 31 days: 2026-01-01 1.50000 1.50000 1.50000 1.50000 +20.00" + PERCENT,
        "2025-12 2 of 31 days: 2025-12-30 to 2025-12-31 1.22500 1.25000 1.20000 1.25000 –",
        "2024-11 1 of 30 days: 2024-11-30 1.00000 1.00000 1.00000 1.00000 –",
        "2024-02 1 of 29 days: 2024-02-01 1.10000 1.10000 1.10000 1.10000 –",
        "2024-01 1 of 31 days: 2024-01-10 1.20000 1.20000 1.20000 1.20000 –",
        "2020-12 1 of 31 days: 2020-12-31 1.25000 1.25000 1.25000 1.25000 –",
    ]


async def test_the_change_of_the_first_period_counts_from_the_day_before_the_range(api: Api) -> None:
    shown = await page(api, "/currency/USD/?start_date=2026-01-01&end_date=2026-01-01")
    row = f"1.50000 1.50000 1.50000 1.50000 +20.00{PERCENT}"
    assert rows(shown, "years") == [f"2026 1 of 365 days: 2026-01-01 {row}"]
    assert rows(shown, "months") == [f"2026-01 1 of 31 days: 2026-01-01 {row}"]
    later = await page(api, "/currency/USD/?start_date=2026-01-02&end_date=2026-03-09")
    assert rows(later, "years") == [
        "2026 2 of 365 days: 2026-03-05 to 2026-03-09 1.55000 1.60000 1.50000 1.50000 –"
    ]


async def test_the_last_period_ends_with_the_range(api: Api) -> None:
    shown = await page(api, "/currency/USD/?start_date=2025-12-31&end_date=2026-03-05")
    row = f"2026 2 of 365 days: 2026-01-01 to 2026-03-05 1.55000 1.60000 1.50000 1.60000 +28.00{PERCENT}"
    assert rows(shown, "years")[0] == row
    assert (
        "A change is from the day before the year or month to its last stored day in the range."
    ) in text_of(shown)


async def test_the_range_says_how_many_days_it_has_and_from_which_day_its_change_counts(api: Api) -> None:
    shown = await page(api, "/currency/USD/?start_date=2024-01-01&end_date=2025-12-31&symbols=AUD")
    assert figures(shown) == {
        "USD": {
            "First": "1.20000 2024-01-10",
            "Last": "1.25000 2025-12-31",
            "High": "1.25000 2025-12-31",
            "Low": "1.00000 2024-11-30",
            "Mean": "1.15000 5 of 731 days",
            "Change of EUR": f"+4.17{PERCENT} since 2024-01-10",
        },
        "AUD": {
            "First": "1.60000 2024-01-10",
            "Last": "1.75000 2025-12-30",
            "High": "1.75000 2025-12-30",
            "Low": "1.60000 2024-01-10",
            "Mean": "1.67500 4 of 731 days",
            "Change of EUR": f"+9.38{PERCENT} since 2024-01-10",
        },
    }


async def test_one_day_is_one_day(api: Api) -> None:
    shown = await page(api, "/currency/USD/?start_date=2026-03-09&end_date=2026-03-09")
    assert figures(shown)["USD"]["Mean"] == "1.50000 1 of 1 day"


async def test_one_day_has_no_change(api: Api) -> None:
    shown = await page(api, "/currency/USD/?start_date=2026-02-01&end_date=2026-03-08")
    assert figures(shown)["USD"]["Change of EUR"] == "– only one day"


async def test_the_headline_says_whose_change_it_shows_since_which_day(api: Api) -> None:
    shown = text_of(await page(api, "/currency/AUD/?start_date=2024-01-01&end_date=2024-12-31"))
    change = f"EUR {MINUS}5.00{PERCENT} since 2026-03-05"
    assert f"1 EUR is 1.90000 AUD 2026-03-09 · 1 AUD is 0.526316 EUR · {change}" in shown
    reverse = text_of(await page(api, "/currency/EUR/?base=AUD"))
    assert f"1 AUD is 0.526316 EUR 2026-03-09 · 1 EUR is 1.90000 AUD · AUD +5.26{PERCENT} since" in reverse


@pytest.mark.parametrize(
    ("query", "start", "end"),
    [
        ("range=all", "2020-12-31", "2026-03-09"),
        ("range=1m", "2026-02-09", "2026-03-09"),
        ("range=1m&base=AUD", "2026-02-09", "2026-03-09"),
        ("start_date=2024-01-01&end_date=2024-12-31&symbols=AUD,XCG&base=BGN", "2024-01-01", "2024-12-31"),
        ("start_date=2019-01-01&end_date=2024-01-31&symbols=aud&symbols=BGN", "2020-12-31", "2024-01-31"),
    ],
)
async def test_the_downloads_have_what_the_page_shows(api: Api, query: str, start: str, end: str) -> None:
    shown = await page(api, f"/currency/USD/?{query}")
    document = (await api.get(links(shown, "json"))).json()
    assert (document["start_date"], document["end_date"]) == (start, end)
    rates = document["rates"]
    for code, texts in figures(shown).items():
        own = {date: shown_rate(of_day[code]) for date, of_day in rates.items() if code in of_day}
        expected = (
            {
                "First": f"{own[min(own)]} {min(own)}",
                "Last": f"{own[max(own)]} {max(own)}",
            }
            if own
            else {}
        )
        assert {name: texts[name] for name in ("First", "Last") if name in texts} == expected
    csv = (await api.get(links(shown, "csv"))).text
    header, *lines = [line.split(",") for line in csv.splitlines()]
    if len(header) == 4 and header[-1] == "rate":
        found = {date: {code: float(rate)} for date, _, code, rate in lines}
    else:  # a column for each of several currencies
        assert header == ["date", *figures(shown)]
        found = {
            date: {code: float(rate) for code, rate in zip(header[1:], cells, strict=True) if rate}
            for date, *cells in lines
        }
    assert found == rates
    form = shown[shown.index('<form class="choose"') : shown.index("</form>")]
    assert f'name="start_date" value="{start}"' in form
    assert f'name="end_date" value="{end}"' in form
    assert f"{start} to {end}" in text_of(shown)


async def test_a_range_beyond_the_stored_days_is_cut_visibly(api: Api) -> None:
    shown = text_of(await page(api, "/currency/BGN/?start_date=2019-01-01&end_date=2026-03-10"))
    assert (
        "2019-01-01 to 2026-03-10 was requested. Both BGN and EUR have rates from 2020-12-31 to 2025-12-31, "
        "so this page shows 2020-12-31 to 2025-12-31."
    ) in shown
    assert "was requested" not in text_of(await page(api, "/currency/BGN/?range=all"))


@pytest.mark.parametrize(
    ("path", "ranges"),
    [
        ("/currency/BGN/?start_date=2026-02-01&end_date=2026-02-28", ["2025-12-04 to 2025-12-31"]),
        ("/currency/USD/?base=BGN&start_date=2026-01-01", ["2025-12-31 to 2025-12-31"]),
        ("/currency/XCG/?end_date=2024-12-31&start_date=2024-12-01", ["2026-01-01 to 2026-01-31"]),
        (
            "/currency/USD/?start_date=2021-01-01&end_date=2021-12-31",
            ["2020-12-31 to 2020-12-31", "2024-01-10 to 2025-01-08"],
        ),
        # The days are stored, without a rate of AUD.
        (
            "/currency/AUD/?start_date=2025-12-31&end_date=2025-12-31&symbols=USD",
            ["2025-12-30 to 2025-12-30", "2026-01-01 to 2026-01-01"],
        ),
        ("/currency/USD/?start_date=0001-01-01&end_date=0001-01-01", ["2020-12-31 to 2020-12-31"]),
    ],
)
async def test_an_empty_range_links_to_the_nearest_with_rates(api: Api, path: str, ranges: list[str]) -> None:
    shown = await page(api, path)
    assert "Nearest range:" in text_of(shown)
    [message] = re.findall('<p class="message">(.*?)</p>', shown, re.DOTALL)
    found = re.findall('<a href="(.*?)">(.*?)</a>', message)
    assert [label for _, label in found] == ranges
    for link, label in found:
        there = await page(api, html.unescape(link))
        assert label in text_of(there)
        assert "was requested" not in there
        assert figures(there)


@pytest.mark.parametrize(
    ("path", "presets", "shown"),
    [
        ("/currency/USD/", ["1M", "1Y", "5Y", "All"], "1Y"),
        (ALL, ["1M", "1Y", "5Y", "All"], "All"),
        # No preset is longer than the history.
        ("/currency/XCG/", ["1M", "All"], "All"),
        ("/currency/XCG/?range=5y", ["1M", "All"], "All"),
        ("/currency/USD/?start_date=2026-02-09&end_date=2026-03-09", ["1M", "1Y", "5Y", "All"], "1M"),
        ("/currency/USD/?start_date=2026-02-10&end_date=2026-03-09", ["1M", "1Y", "5Y", "All"], None),
    ],
)
async def test_the_presets_are_as_long_as_their_names_say(
    api: Api, path: str, presets: list[str], shown: str | None
) -> None:
    source = await page(api, path)
    [nav] = re.findall('<nav class="ranges".*?>(.*?)</nav>', source, re.DOTALL)
    links = re.findall('<a href=".*?"( aria-current="true")?>(.*?)</a>', nav)
    assert [label for _, label in links] == presets
    assert [label for is_shown, label in links if is_shown] == ([shown] if shown else [])


@pytest.mark.parametrize("query", ["indexed=0", "indexed=", "indexed=0&indexed=0&utm_source=mail"])
async def test_zero_and_nothing_do_not_index(api: Api, query: str) -> None:
    shown = await page(api, f"{ALL}&{query}")
    assert "data-indexed" not in shown
    assert "Last, indexed" not in shown


async def test_currencies_that_never_met_say_so(api: Api) -> None:
    shown = text_of(await page(api, "/currency/XCG/?base=BGN&range=all"))
    assert (
        "No day has rates for both XCG and BGN. XCG has rates from 2026-01-01 to 2026-03-09. BGN has rates "
        "from 2020-12-31 to 2025-12-31. Choose another currency above."
    ) in shown


async def test_a_compared_currency_without_rates_in_the_range_is_named(api: Api) -> None:
    shown = await page(api, "/currency/USD/?start_date=2024-01-01&end_date=2024-12-31&symbols=XCG&indexed=1")
    assert figures(shown)["XCG"] == {}
    assert "No rates in this range. XCG has rates from 2026-01-01 to 2026-03-09." in text_of(shown)
    assert figures(shown)["USD"]["Last, indexed"] == "83.33 100 on 2024-01-10"


async def test_indexed_currencies_are_100_on_their_first_common_day(api: Api) -> None:
    shown = await page(api, f"{ALL}&symbols=XCG&indexed=1")
    assert [one["Last, indexed"] for one in figures(shown).values()] == [
        "100.00 100 on 2026-01-01",
        "120.00 100 on 2026-01-01",
    ]
    apart = await page(api, f"{ALL}&symbols=BGN,XCG&indexed=1")
    assert "Not indexed: these currencies have no day in common in this range." in text_of(apart)
    assert "data-indexed" not in apart


@pytest.mark.parametrize(
    ("query", "info"),
    [
        ("symbols=QQQ", "Unknown currency: QQQ. See /rates/symbols for the available codes."),
        ("base=QQQ", "Unknown currency: QQQ. See /rates/symbols for the available codes."),
        ("symbols=GBp", "mixes upper and lower case"),
        ("symbols=AAA,BBB,CCC,DDD,EEE,FFF", "Compare USD with at most 5 other currencies, not 6."),
        ("start_date=2024-02-30", "2024-02-30 does not exist: February 2024 has 29 days."),
        ("end_date=2026-03-11", "2026-03-11 is in the future: today is 2026-03-10 (UTC)."),
        ("indexed=false", "'indexed' is 'false', which is neither 1 (100 on the first common day) nor 0."),
        ("indexed=0&indexed=1", "The parameter 'indexed' is given more than once."),
        ("base=USD&base=GBP", "The parameter 'base' is given more than once."),
        ("range=2y", "'range' is '2y', which is none of 1m, 1y, 5y, all."),
        (
            "as_of=2024-01-01",
            "This page has no parameter 'as_of'. "
            "It has: base, from, symbols, to, start_date, end_date, range, indexed.",
        ),
        ("start_date=2024-02-02&end_date=2024-02-01", "The end 2024-02-01 is before the start 2024-02-02."),
    ],
)
async def test_a_bad_parameter_of_the_currency_page_is_refused(api: Api, query: str, info: str) -> None:
    assert info in text_of(await page(api, f"/currency/USD/?{query}", 400))


@pytest.mark.parametrize(
    ("query", "is_long"),
    [
        ("", False),
        ("range=5y", False),
        ("range=5y&symbols=GBP,CHF", True),
        ("range=all", True),
        ("start_date=1999-01-01&end_date=1999-12-31&symbols=GBP,CHF,AUD", False),
        ("start_date=1999-01-01", True),
    ],
)
def test_a_long_range_is_a_long_request(query: str, is_long: bool) -> None:
    assert (cost(Parameters.parse(query, NOW)) > MEDIUM_COST) == is_long
