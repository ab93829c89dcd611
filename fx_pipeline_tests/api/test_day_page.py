"""The page of a day: what its counts count, and what each fetch of the day stored."""

import html
import re

from fx_pipeline_tests.api.conftest import MARCH, Api
from fx_pipeline_tests.api.history import History

DAY = "2026-03-09"
PAGE = f"/fx/rates_by_date?date={DAY}"


async def sources(api: Api, path: str = PAGE) -> list[str]:
    """Return what the page says that each fetch of the day stored."""
    page = (await api.get(path)).text
    facts = re.findall(r"<dt>Fetched(?: again)?</dt>\s*<dd>.*?from Fixer:(.*?)</dd>", page, re.DOTALL)
    return [" ".join(html.unescape(fact).split()) for fact in facts]


async def test_a_fetch_of_unchanged_values_is_shown_as_no_changes(api: Api, history: History) -> None:
    history.fetch("2026-03-11T00:05:00.000000Z", {DAY: MARCH[DAY]})
    assert await sources(api) == ["7 values", "no changes"]
    [_, later] = (await api.get(f"/fx/day_fetches.json?date={DAY}&_shape=array")).json()
    assert (later["still_current"], later["replaced"]) == (0, 0)
    assert "its latest fetch, even if that changed nothing" in (await api.get("/fx/day_fetches")).text


async def test_the_page_counts_the_values_of_each_fetch(api: Api, history: History) -> None:
    assert await sources(api, "/fx/rates_by_date?date=2026-03-06") == [
        "5 values, and 2 replaced since",
        "2 values",
    ]
    history.fetch("2026-03-11T00:05:00.000000Z", {DAY: {**MARCH[DAY], "USD": 1.2}})
    history.fetch("2026-03-12T00:05:00.000000Z", {DAY: MARCH[DAY]})
    assert await sources(api) == ["6 values, and 1 replaced since", "1 value, replaced since", "1 value"]


async def test_pages_say_whether_they_count_the_base(api: Api) -> None:
    day = (await api.get(PAGE)).text
    assert "6 currencies other than EUR</h2>" in day
    assert "<dt>Values</dt><dd>7, including EUR</dd>" in day
    assert "6 currencies other than USD</h2>" in (await api.get(f"{PAGE}&base=USD")).text
    assert "6 currencies other than EUR</h2>" in (await api.get("/")).text
    [stored] = (await api.get(f"/fx/days.json?date={DAY}&_shape=array")).json()
    assert stored["currencies"] == 7
    assert "stored for the day, including the base" in (await api.get("/fx/days")).text


async def test_a_day_stored_without_its_base_does_not_claim_it(api: Api, history: History) -> None:
    history.fetch("2026-03-11T00:05:00.000000Z", {"2026-03-04": {"USD": 1.16}})
    day = (await api.get("/fx/rates_by_date?date=2026-03-04")).text
    assert "1 currency other than EUR</h2>" in day
    assert "<dt>Values</dt><dd>1</dd>" in day
