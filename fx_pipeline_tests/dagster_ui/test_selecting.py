"""A link to failed days: in the operator's browser, Dagster's dialog launches exactly these days."""

import datetime as dt
import json
import re

import pytest
from playwright.sync_api import Page, Route

from fx_pipeline.dagster_names import in_one_link, partitions_url
from fx_pipeline.rates import DateRange, date_range
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.dagster_ui.server import UI

LAST = dt.date(2024, 5, 10)
EVERY_OTHER_DAY = [(day, day) for n in range(1000) for day in (LAST - 2 * n * dt.timedelta(1),)]

LAUNCHES = re.compile("launchPartitionBackfill|launchPipelineExecution|launchMultipleRuns")


@pytest.mark.slow
@pytest.mark.parametrize(
    "ranges",
    [
        [(dt.date(1999, 1, 1), dt.date(1999, 1, 1)), (dt.date(2024, 5, 3), LAST)],
        in_one_link(EVERY_OTHER_DAY),
    ],
    ids=["a day and a range", "as many as one link has room for"],
)
def test_the_dialog_launches_exactly_the_days_of_a_link(
    page: Page, ui: UI, monkeypatch: pytest.MonkeyPatch, ranges: list[DateRange]
) -> None:
    monkeypatch.setenv("FX_DAGSTER_PORT", ui.port)
    launched: list[str] = []

    def intercept(route: Route) -> None:
        body = route.request.post_data or ""
        if LAUNCHES.search(body):
            launched.append(body)
            route.abort()
        else:
            route.continue_()

    page.route("**/graphql**", intercept)
    page.goto(partitions_url(load_settings(), ranges))
    days = {str(day) for first, last in ranges for day in date_range(first, last)}
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text(f"{len(days):,} partitions", exact=True).last.wait_for()
    with page.expect_request(lambda request: bool(LAUNCHES.search(request.post_data or ""))):
        page.get_by_role("button", name="Launch backfill").click()
    [body] = launched
    sent = json.loads(body)["variables"]["backfillParams"]
    assert sorted(sent["partitionNames"]) == sorted(days)
    assert sent["assetSelection"] == [{"path": ["rates"]}]
