"""The Coverage page: its counts in words."""

import html
import re

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


async def test_a_calendar_of_one_day_has_one_day(history: History, open_api: OpenApi) -> None:
    api = open_api(history.path, fx_start_date="2026-03-09")
    assert "Stored 1 of 1 day Missing" in await coverage(api)
