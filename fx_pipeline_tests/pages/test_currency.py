"""The page of a currency: its chart and figures show the data of the API for each range."""

import datetime as dt
import json
import math
import re
from contextlib import closing

import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from fx_pipeline.api.pages.figures import shown_change, shown_rate
from fx_pipeline.api.pages.ranges import PRESETS, months_before
from fx_pipeline_tests.pages.browser import DESKTOP, PHONE, Visitor
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


LINES = """() => {
  const canvas = document.querySelector(".chart canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [...document.querySelectorAll("[data-series] .line")].map((sample) => {
    const [, ...colour] = getComputedStyle(sample).stroke.match(/(\\d+), (\\d+), (\\d+)/).map(Number);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      count += data[at + 3] > 200 && colour.every((value, part) => Math.abs(data[at + part] - value) < 24);
    }
    return count;
  });
}"""
"""The number of pixels of the chart in the colour of each sample."""


WATCH_TEXTS = """
const fillText = CanvasRenderingContext2D.prototype.fillText;
window.texts = [];
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  const { actualBoundingBoxLeft, actualBoundingBoxRight } = this.measureText(text);
  window.texts.push([text, x - actualBoundingBoxLeft, x + actualBoundingBoxRight, this.canvas.width]);
  return fillText.call(this, text, x, y);
};
"""
"""Records each text that is drawn: its left and right end, and the width of the canvas."""

ONE_DAY = "start_date=2024-05-12&end_date=2024-05-12"


def history(service: Service, path: str, code: str) -> dict[str, float]:
    """Return the rates of one currency from the API."""
    status, body = service.server.get(path)
    assert status == 200
    return {date: rates[code] for date, rates in json.loads(body)["rates"].items() if code in rates}


def call(visitor: Visitor) -> str:
    """Return the request to the API that the page names."""
    return visitor.page.locator(".call code").inner_text()


def figures(visitor: Visitor, code: str) -> dict[str, str]:
    texts: dict[str, str] = visitor.evaluate(
        """(code) => Object.fromEntries([...document.querySelectorAll(`[data-series=${code}] dl > div`)]
            .map((one) => [one.children[0].innerText, one.children[1].innerText]))""",
        code,
    )
    return texts


def expected_figures(days: dict[str, float], base: str, of_days: int) -> dict[str, str]:
    first, *_, last = days
    high, low = max(days, key=days.__getitem__), min(days, key=days.__getitem__)
    change = shown_change((days[last] - days[first]) / days[first] * 100)
    return {
        **{
            name: f"{shown_rate(days[date])}\n{date}"
            for name, date in {"First": first, "Last": last, "High": high, "Low": low}.items()
        },
        "Mean": f"{shown_rate(math.fsum(days.values()) / len(days))}\n{len(days):,} of {of_days:,} days",
        f"Change of {base}": f"{change}\nsince {first}",
    }


@pytest.mark.parametrize("base", ["EUR", "GBP"])
def test_each_range_shows_the_data_of_the_api(visitor: Visitor, service: Service, base: str) -> None:
    visitor.open(f"/currency/USD/?base={base}")
    pictures = []
    for key, (label, months) in PRESETS.items():
        visitor.page.get_by_role("link", name=label, exact=True).click()
        visitor.page.wait_for_url(f"**range={key}")
        visitor.settle()
        start = max(START, months_before(service.newest, months)) if months else START
        path = f"/rates/{start}..{service.newest}/?"
        assert call(visitor) == path + (f"base={base}&" if base != "EUR" else "") + "symbols=USD"
        days = history(service, call(visitor), "USD")
        of_days = (service.newest - start).days + 1
        assert figures(visitor, "USD") == expected_figures(days, base, of_days)
        assert visitor.page.locator(".reading").inner_text() == f"{start} to {service.newest}"
        assert visitor.page.locator(".ranges [aria-current]").inner_text() == label
        pictures.append(visitor.evaluate(DRAWN))
        assert sum(pictures[-1]) > 300
    assert len({tuple(picture) for picture in pictures}) == len(PRESETS)
    assert visitor.problems == []


def test_another_base_keeps_the_range_and_the_compared_currencies(visitor: Visitor, service: Service) -> None:
    visitor.open("/currency/USD/")
    visitor.page.get_by_label("From").fill("2020-02-03")
    visitor.page.get_by_label("To", exact=True).fill("2021-03-04")
    visitor.page.get_by_label("Compare with").fill("sek, NOK")
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_url("**start_date=2020-02-03&end_date=2021-03-04**")
    visitor.page.get_by_label("Against").select_option("CHF")
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_url("**base=CHF**")
    visitor.settle()
    assert call(visitor) == "/rates/2020-02-03..2021-03-04/?base=CHF&symbols=USD,SEK,NOK"
    for code in ("USD", "SEK", "NOK"):
        days = history(service, call(visitor), code)
        assert figures(visitor, code) == expected_figures(days, "CHF", 396)
    assert all(count > 200 for count in visitor.evaluate(LINES))
    visitor.page.get_by_role("link", name="5Y").click()
    visitor.page.wait_for_url("**/currency/USD/?base=CHF&symbols=SEK,NOK&range=5y")
    assert visitor.problems == []


def test_the_range_can_be_chosen_without_scripts(browser: Browser, service: Service) -> None:
    with closing(browser.new_context(base_url=service.server.url, java_script_enabled=False)) as context:
        page = context.new_page()
        page.goto("/currency/USD/")
        page.get_by_label("From").fill("2020-02-03")
        page.get_by_label("To", exact=True).fill("2020-02-29")
        page.get_by_label("Index to 100").check()
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**indexed=1")
        assert "The chart needs JavaScript." in page.locator(".chart").inner_text()
        assert "27 of 27 days" in page.locator(".figures").inner_text()
        assert page.locator("section", has_text="Month by month").locator("tbody th").inner_text() == (
            "2020-02\n27 of 29 days: 2020-02-03 to 2020-02-29"
        )


SHORTAGE = """() => [...document.querySelectorAll(".choose select")].map((select) => {
  const { font, paddingLeft, paddingRight } = getComputedStyle(select);
  const context = document.createElement("canvas").getContext("2d");
  context.font = font;
  const arrow = 18;
  const room = select.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight) - arrow;
  return Math.max(0, context.measureText(select.selectedOptions[0].text).width - room);
})"""
"""By how many pixels the selected text of each list is wider than its room."""


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("path", ["/currency/JPY/?base={}", "/?base={}", "/fx/rates_by_date?base={}"])
def test_the_selected_currency_is_shown_in_full(
    open_visitor: OpenVisitor, service: Service, path: str, size: ViewportSize
) -> None:
    visitor = open_visitor(service.server.url, size=size)
    for code in ("GBP", "CZK"):
        visitor.open(path.replace("{}", code))
        assert visitor.evaluate(SHORTAGE) == [0]
        if size == DESKTOP:
            visitor.evaluate("document.querySelector('.choose select').selectedOptions[0].text += ' (once)'")
            assert visitor.evaluate(SHORTAGE) == [0]


def test_indexed_lines_start_at_100(visitor: Visitor, service: Service) -> None:
    visitor.open("/currency/USD/?symbols=JPY,HRK&indexed=1&start_date=2022-06-01&end_date=2022-12-30")
    days = {code: history(service, call(visitor), code) for code in ("USD", "JPY", "HRK")}
    visitor.page.locator(".chart").focus()
    for key, date in {"Home": "2022-06-01", "End": "2022-12-30"}.items():
        visitor.page.keyboard.press(key)
        values = [f"{code} {rates[date] / rates['2022-06-01'] * 100:.2f}" for code, rates in days.items()]
        expect(visitor.page.locator(".reading")).to_have_text(f"{date}: {', '.join(values)}")
    last = [figures(visitor, code)["Last, indexed"].split("\n")[0] for code in days]
    assert [f"{code} {value}" for code, value in zip(days, last, strict=True)] == values


def test_a_compared_currency_without_rates_in_the_range_has_no_line(visitor: Visitor) -> None:
    visitor.open("/currency/USD/?symbols=HRK,GBP&indexed=1&start_date=2024-01-01&end_date=2024-04-30")
    usd, hrk, gbp = visitor.evaluate(LINES)
    assert (usd > 200, hrk, gbp > 200) == (True, 0, True)
    visitor.page.locator(".chart").focus()
    visitor.page.keyboard.press("Home")
    expect(visitor.page.locator(".reading")).to_have_text("2024-01-01: USD 100.00, GBP 100.00")
    assert visitor.problems == []


def test_the_axis_writes_dates_as_the_page_does(visitor: Visitor) -> None:
    """Every text of the axis is a date of the range, or the start of one."""
    visitor.page.add_init_script(WATCH_TEXTS)
    for days, form in {
        "start_date=2024-05-12&end_date=2024-05-12": r"2024-05-12",
        "start_date=2024-05-10&end_date=2024-05-12": r"2024-05-1[012]",
        "range=1m": r"\d{4}-\d\d-\d\d",
        "range=1y": r"\d{4}-\d\d",
        "range=all": r"\d{4}",
    }.items():
        visitor.open(f"/currency/USD/?{days}")
        texts = {text for text, *_ in visitor.evaluate("window.texts") if not re.fullmatch(r"\d\.\d+", text)}
        assert len(texts) >= (1 if form == r"2024-05-12" else 2)
        assert {text for text in texts if not re.fullmatch(form, text)} == set()


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_text_of_the_chart_is_cut_off(
    open_visitor: OpenVisitor, service: Service, size: ViewportSize
) -> None:
    visitor = open_visitor(service.server.url, size=size)
    visitor.page.add_init_script(WATCH_TEXTS)
    ranges = {
        "start_date=2024-05-12&end_date=2024-05-12": "2024-05-12",
        "start_date=2024-05-11&end_date=2024-05-12": "2024-05-12",
        "start_date=2024-05-06&end_date=2024-05-12": "2024-05-12",
        "start_date=2020-01-01&end_date=2024-01-01": "2024",
        "range=1y&base=JPY": "",
    }
    for days, last in ranges.items():
        for code in ("USD", "IDR"):
            visitor.open(f"/currency/{code}/?{days}")
            texts = visitor.evaluate("window.texts")
            assert [one for one in texts if one[1] < 0 or one[2] > one[3]] == []
            assert any(text.startswith(last) for text, *_ in texts)


def test_the_axis_of_a_constant_rate_is_near_it(visitor: Visitor) -> None:
    visitor.page.add_init_script(WATCH_TEXTS)
    for code, days in (("BGN", "start_date=2024-01-01&end_date=2024-03-01"), ("USD", ONE_DAY)):
        visitor.open(f"/currency/{code}/?{days}")
        rate = float(figures(visitor, code)["Mean"].split("\n")[0])
        texts = {text for text, *_ in visitor.evaluate("window.texts") if re.fullmatch(r"\d\.\d+", text)}
        assert len(texts) >= 2
        assert [text for text in texts if not 0.98 < float(text) / rate < 1.02] == []


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
    readings = [f"{date}: USD {shown_rate(rate)}" for date, rate in days.items()]
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


def test_a_day_without_neighbours_is_a_point(visitor: Visitor, service: Service) -> None:
    """The first and the last day of a range whose other days are missing."""
    start, end = (service.gap[0] - dt.timedelta(1), service.gap[1] + dt.timedelta(1))
    visitor.open(f"/currency/USD/?start_date={start}&end_date={end}")
    assert history(service, call(visitor), "USD").keys() == {str(start), str(end)}
    columns = visitor.evaluate(DRAWN)
    assert sum(columns[: len(columns) // 2]) > 5
    assert sum(columns[len(columns) // 2 :]) > 5


def test_the_chart_is_drawn_from_the_one_request_that_the_page_names(visitor: Visitor) -> None:
    visitor.open("/currency/USD/?range=5y&symbols=GBP")
    assert [path for path in visitor.requested if path.startswith("/rates/")] == [call(visitor)]


def test_a_failed_request_shows_its_error_in_the_chart(visitor: Visitor) -> None:
    message = '{"success": false, "message": "The server is tired."}'
    visitor.page.route("**/rates/**", lambda route: route.fulfill(status=503, body=message))
    visitor.open("/currency/USD/")
    assert visitor.page.locator(".chart").inner_text() == "Cannot draw the chart: The server is tired."


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
