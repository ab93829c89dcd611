"""Datasette's own pages of the tables: what stands around the rows."""

from fx_pipeline_tests.pages.browser import Visitor


def test_values_to_choose_from_are_shown_where_there_are_some(visitor: Visitor) -> None:
    visitor.open("/fx/revisions")
    assert visitor.page.locator(".facets h3").all_inner_texts() == ["Currency"]
    assert visitor.page.locator(".facets li a").all_inner_texts() == ["GBP", "TRY", "USD"]

    visitor.open("/fx/revisions?currency=CHF")
    assert '0 rows where currency = "CHF"' in visitor.text()
    assert visitor.page.locator(".facets").count() == 0
