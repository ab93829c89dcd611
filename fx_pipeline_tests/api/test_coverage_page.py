"""The Coverage page: its counts in words, and the year of its calendar."""

import html
import re

import pytest

from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History

MISSING = ("2026-03-02", "2026-03-03", "2026-03-07")


def text_of(source: str) -> str:
    """Return the text of HTML, with one blank between words."""
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", source)).split())


async def coverage(api: Api) -> str:
    response = await api.get("/coverage/")
    assert response.status_code == 200
    return text_of(response.text)


async def test_counts_the_missing_days(api: Api, history: History) -> None:
    assert "Missing 1 day in 1 gap Revised" in await coverage(api)
    history.want(*MISSING[:2])
    assert "Missing 3 days in 2 gaps Revised" in await coverage(api)
    history.fetch("2026-03-10T01:00:00.000000Z", {date: {"EUR": 1} for date in MISSING})
    assert "Missing 0 days Revised" in await coverage(api)


@pytest.mark.parametrize(
    ("query", "year"), [("", "2026"), ("?year=", "2026"), ("?year=1999", "1999"), ("?year=2026", "2026")]
)
async def test_the_calendar_shows_the_requested_year(api: Api, query: str, year: str) -> None:
    response = await api.get(f"/coverage/{query}")
    assert (response.status_code, f'<h2 id="calendar">{year}</h2>' in response.text) == (200, True)


@pytest.mark.parametrize("year", ["1998", "2027", "foo", "02026", "-1", "٢٠٢٦"])
async def test_a_year_outside_the_calendar_is_refused(api: Api, year: str) -> None:
    response = await api.get(f"/coverage/?year={year}")
    info = f"The calendar has the years 1999 to 2026, not '{year}'."
    assert (response.status_code, info in text_of(response.text)) == (400, True)


@pytest.mark.parametrize(
    ("date", "years"),
    [("1998-12-31", []), ("1999-01-01", ["1999"]), ("2026-03-07", ["2026"]), ("2026-03-10", ["2026"])],
)
async def test_a_missing_day_links_to_its_year_if_the_calendar_has_it(
    api: Api, date: str, years: list[str]
) -> None:
    response = await api.get(f"/fx/rates_by_date?date={date}")
    links = re.findall(r'href="/coverage/\?year=(\d+)">Coverage of \d+<', response.text)
    assert (response.status_code, links) == (404, years)


async def test_a_gap_that_begins_before_the_calendar_links_to_its_first_day(
    history: History, open_api: OpenApi
) -> None:
    history.want("2026-03-02", "2026-03-03")
    api = open_api(history.path, fx_start_date="2026-03-03")
    shown = (await api.get("/coverage/")).text
    assert '<a href="/fx/rates_by_date?date=2026-03-02">2 March 2026 to 3 March 2026</a>' in shown


async def test_a_calendar_of_one_day_has_one_day(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_start_date="2026-03-09")
    assert "Stored 1 of 1 day Missing" in await coverage(api)
