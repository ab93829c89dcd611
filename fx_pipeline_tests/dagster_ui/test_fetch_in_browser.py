"""From the page of a missing day to its rates, in a browser, against everything that `up` runs."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from fx_pipeline_tests.pages.browser import DESKTOP
from fx_pipeline_tests.processes.running_up import Up, up
from fx_pipeline_tests.waiting import PATIENCE

DAYS = {"2020-03-15": True, "2001-09-11": False}
"""Days to fetch, and whether the browser runs scripts."""

RUNS = """{ runsOrError(limit: 2) { ... on Runs { results { jobName status tags { key value } } } } }"""


def fetch_by_clicks(browser: Browser, running: Up, date: str, *, with_scripts: bool) -> tuple[int, float]:
    """Fetch a missing day from its page. Return how many clicks and seconds that took."""
    context = browser.new_context(viewport=DESKTOP, java_script_enabled=with_scripts)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    address = running.url("API", f"/fx/rates_by_date?date={date}")
    response = page.goto(address)
    assert response is not None
    assert response.status == 404
    began = time.monotonic()
    controls = [
        page.get_by_role("link", name="Fetch this day"),
        page.get_by_role("button", name="Fetch", exact=True),
    ]
    for control in controls:
        control.click()
    page.wait_for_url(address)
    page.locator("table.rates").wait_for()
    seconds = time.monotonic() - began
    assert "USD" in page.locator("table.rates").inner_text()
    assert [text for text in problems if "404" not in text] == []
    context.close()
    return len(controls), seconds


@pytest.mark.slow
def test_a_missing_day_is_fetched_with_two_clicks(browser: Browser, tmp_path: Path) -> None:
    with up(tmp_path) as running:
        running.wait_until_ready()
        for date, with_scripts in DAYS.items():
            clicks, seconds = fetch_by_clicks(browser, running, date, with_scripts=with_scripts)
            print(f"{date}: {clicks} clicks, {seconds:.1f} s")  # shown by pytest -s
            assert running.get(f"/rates/{date}/?symbols=USD").json()["date"] == date
        found = [
            (run["jobName"], run["status"], tag["value"])
            for run in running.graphql(RUNS)["runsOrError"]["results"]
            for tag in run["tags"]
            if tag["key"] == "dagster/partition"
        ]
        assert found == [("rates_job", "SUCCESS", date) for date in reversed(DAYS)]
        assert "Refused" not in running.output
        assert running.interrupt() == 0
