"""The page of a currency: its chart shows the data of the API for each range."""

import datetime as dt
import json
import math

import pytest
from playwright.sync_api import expect

from fx_pipeline.api.pages.currency import RANGES, months_before
from fx_pipeline.api.pages.figures import shown_change, shown_date, shown_rate
from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import START, OpenVisitor, Service
from fx_pipeline_tests.waiting import wait_for

DRAWN = """() => {
  const canvas = document.querySelector(".chart canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const hex = getComputedStyle(document.documentElement).getPropertyValue("--accent").trim().slice(1);
  const accent = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const columns = new Array(canvas.width).fill(0);
  for (let at = 0; at < data.length; at += 4) {
    const near = accent.every((value, part) => Math.abs(data[at + part] - value) < 24);
    if (near && data[at + 3] > 200) columns[(at / 4) % canvas.width] += 1;
  }
  return columns;
}"""
"""The number of pixels in each column of the chart that have the colour of the line."""


def history(service: Service, path: str, code: str) -> dict[str, float]:
    """Return the rates of one currency from the API."""
    status, body = service.server.get(path)
    assert status == 200
    return {date: rates[code] for date, rates in json.loads(body)["rates"].items()}


def figures(visitor: Visitor) -> dict[str, str]:
    texts: dict[str, str] = visitor.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("[data-figure]")]
            .map((one) => [one.dataset.figure, one.innerText]))"""
    )
    return texts


def expected_figures(days: dict[str, float]) -> dict[str, str]:
    first, *_, last = days.values()
    high, low = max(days, key=days.__getitem__), min(days, key=days.__getitem__)
    return {
        "high": f"{shown_rate(days[high])}\n{shown_date(high)}",
        "low": f"{shown_rate(days[low])}\n{shown_date(low)}",
        "mean": shown_rate(math.fsum(days.values()) / len(days)),
        "change": shown_change((last - first) / first * 100),
    }


@pytest.mark.parametrize("base", ["EUR", "GBP"])
def test_each_range_shows_the_data_of_the_api(visitor: Visitor, service: Service, base: str) -> None:
    visitor.open(f"/currency/USD/?base={base}")
    pictures = []
    for key, (label, months) in RANGES.items():
        visitor.page.get_by_role("button", name=label, exact=True).click()
        start = max(START, months_before(service.newest, months)) if months else START
        call = (
            f"/rates/{start}..{service.newest}/?" + (f"base={base}&" if base != "EUR" else "") + "symbols=USD"
        )
        visitor.page.locator(".call code", has_text=call).wait_for()
        days = history(service, call, "USD")
        assert figures(visitor) == expected_figures(days)
        first, *_, last = days
        assert visitor.page.locator(".reading").inner_text() == f"{shown_date(first)} to {shown_date(last)}"
        assert f"range={key}" in visitor.page.url
        assert visitor.page.locator("[aria-pressed=true]").inner_text() == label
        pictures.append(visitor.evaluate(DRAWN))
        assert sum(pictures[-1]) > 300
    assert len({tuple(picture) for picture in pictures}) == len(RANGES)
    assert visitor.problems == []


def test_missing_days_break_the_line(visitor: Visitor, service: Service) -> None:
    visitor.open("/currency/USD/?range=1m")
    columns = visitor.evaluate(DRAWN)
    drawn = [at for at, count in enumerate(columns) if count]
    start = months_before(service.newest, 1)
    width = drawn[-1] - drawn[0]

    def column(date: dt.date) -> int:
        return drawn[0] + round(width * (date - start).days / (service.newest - start).days)

    first, last = service.gap
    inside = columns[column(first) : column(last) + 1]
    assert len(inside) > 50
    assert sum(inside) == 0
    before = columns[drawn[0] : column(first - dt.timedelta(1)) - 2]
    assert all(before)


def test_the_pointer_and_the_arrow_keys_show_the_rate_of_a_day(visitor: Visitor, service: Service) -> None:
    visitor.open("/currency/USD/?range=1m")
    start = months_before(service.newest, 1)
    days = history(service, f"/rates/{start}..{service.newest}/?symbols=USD", "USD")
    readings = [f"{shown_date(date)}: {shown_rate(rate)}" for date, rate in days.items()]
    reading = visitor.page.locator(".reading")
    visitor.page.locator(".chart").focus()
    steps = {"End": -1, "ArrowLeft": -2, "Home": 0, "ArrowRight": 1, "PageDown": -1, "PageUp": 0}
    for key, at in steps.items():
        visitor.page.keyboard.press(key)
        expect(reading).to_have_text(readings[at])
    box = visitor.page.locator(".chart .u-over").bounding_box()
    assert box is not None
    visitor.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 50)
    expect(reading).to_have_text(readings[-1])


def test_a_range_in_the_url_is_loaded_with_one_request(visitor: Visitor) -> None:
    visitor.open("/currency/USD/?range=5y")
    assert visitor.page.locator("[aria-pressed=true]").inner_text() == "5Y"
    assert [path for path in visitor.requested if path.startswith("/rates/")] == [
        visitor.page.locator(".call code").inner_text()
    ]


def test_a_failed_request_shows_its_error_in_the_chart(visitor: Visitor) -> None:
    message = '{"success": false, "message": "The server is tired."}'
    visitor.page.route("**/rates/**", lambda route: route.fulfill(status=503, body=message))
    visitor.open("/currency/USD/")
    assert visitor.page.locator(".chart").inner_text() == "Cannot draw the chart: The server is tired."
    visitor.page.unroute("**/rates/**")
    visitor.page.get_by_role("button", name="5Y").click()
    visitor.page.locator(".chart canvas").wait_for()
    assert sum(visitor.evaluate(DRAWN)) > 300


def test_lists_the_revised_values(visitor: Visitor, service: Service) -> None:
    visitor.open("/currency/GBP/")
    row = (
        visitor.page.locator("section", has_text="Revised values")
        .locator("tbody tr")
        .inner_text()
        .split("\t")
    )
    assert row[0] == str(service.revised)
    assert row[3] == shown_change(0.2004008016)


def test_the_chart_follows_the_colour_scheme(open_visitor: OpenVisitor, service: Service) -> None:
    visitor = open_visitor(service.server.url, scheme="dark")
    visitor.open("/currency/USD/")
    assert sum(visitor.evaluate(DRAWN)) > 300
    # A change of the scheme redraws the chart.
    visitor.page.emulate_media(color_scheme="light")
    wait_for(lambda: sum(visitor.evaluate(DRAWN)), lambda drawn: drawn > 300)


def test_an_unknown_code_gets_suggestions(visitor: Visitor) -> None:
    visitor.open("/currency/USX/")
    assert "Did you mean USD – United States Dollar" in visitor.text()
    visitor.page.get_by_role("link", name="USD – United States Dollar").click()
    visitor.page.wait_for_url("**/currency/USD/")
