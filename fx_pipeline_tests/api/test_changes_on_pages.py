"""The home page and the page of a day say since which day rates changed, and whose change it is."""

import html
import re

import pytest

from fx_pipeline_tests.api.conftest import Api


async def text_of(api: Api, path: str) -> str:
    """Return the text of a page, with one blank between words."""
    response = await api.get(path)
    assert response.status_code == 200
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", response.text)).split())


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/", "1 EUR = EUR since 2026-03-08 30 days BTC Bitcoin"),
        ("/?base=USD", "1 USD = USD since 2026-03-08 30 days BTC Bitcoin"),
        # The day before is not stored.
        ("/fx/rates_by_date?date=2026-03-08", "1 EUR = EUR since 2026-03-06 BTC Bitcoin"),
        ("/fx/rates_by_date?date=2026-03-05", "1 EUR = EUR since 2000-01-03 BTC Bitcoin"),
        ("/fx/rates_by_date?date=1999-01-04", "1 EUR = Change GBP British Pound Sterling 0.711100 –"),
    ],
)
async def test_the_column_of_changes_names_the_base_and_the_day(api: Api, path: str, heading: str) -> None:
    assert heading in await text_of(api, path)


async def test_the_most_traded_currencies_say_whose_change_they_show(api: Api) -> None:
    text = await text_of(api, "/?base=USD")
    assert "1 USD in the most traded currencies, and how much USD rose or fell since 2026-03-08" in text


async def test_a_trend_breaks_at_a_missing_day(api: Api) -> None:
    """The 30 days end on 9 March. Only four of them are stored, without the 7th."""
    source = (await api.get("/")).text
    lines = re.findall(r'viewBox="0 0 90 20" aria-hidden="true"><path class="line" d="([^"]*)"', source)
    assert len(lines) == 6
    assert all(re.fullmatch(r"M78,\d+L81,\d+M87,\d+L90,\d+", line) for line in lines)
