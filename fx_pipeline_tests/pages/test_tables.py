"""Datasette's pages of tables and queries."""

import datetime as dt
import json
import re

from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import Service


def test_lists_the_values_of_a_column_if_there_are_rows(visitor: Visitor) -> None:
    visitor.open("/fx/revisions")
    assert visitor.page.locator(".facets h3").all_inner_texts() == ["Currency"]
    assert visitor.page.locator(".facets li a").all_inner_texts() == ["GBP", "TRY", "USD"]

    visitor.open("/fx/revisions?currency=CHF")
    assert 'No rows where currency = "CHF"' in visitor.text()
    assert visitor.page.locator(".facets").count() == 0


def test_descriptions_have_no_identifiers_or_quotes(visitor: Visitor) -> None:
    visitor.open("/fx")
    texts = visitor.page.locator(".cards p").all_inner_texts()
    assert len(texts) > 12
    assert [text for text in texts if re.search(r'[a-z]_[a-z]|["`]|\d{2}:\d{2}:\d{2}', text)] == []


def test_as_of_takes_a_time_in_the_described_format(visitor: Visitor, service: Service) -> None:
    visitor.open("/fx/rates_by_range")
    assert "enter a date or a UTC time such as 2026-01-31T12:00" in visitor.text()
    _, body = service.server.get("/fx/day_fetches.json?date=2020-07-14&_shape=array")
    [fetch] = json.loads(body)
    minute = dt.datetime.fromisoformat(fetch["fetched_at"][:16])
    for minutes, is_known in ((0, False), (1, True)):
        as_of = (minute + dt.timedelta(minutes=minutes)).isoformat(timespec="minutes")
        visitor.open(f"/fx/rates_by_range?start_date=2020-07-14&end_date=2020-07-14&as_of={as_of}")
        assert ("No rows" not in visitor.text()) == is_known
