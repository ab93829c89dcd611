"""The home page: it shows and converts with the rates of the API request that it names."""

import json
import re
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fx_pipeline.api.pages.figures import shown_change, shown_rate
from fx_pipeline.rates import convert, fluctuation, round_significant
from fx_pipeline_tests.api.server import Server
from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import OpenVisitor, Service


def answer(server: Server, path: str) -> Any:
    status, body = server.get(path)
    assert status == 200
    return json.loads(body)


def shown_table(visitor: Visitor) -> dict[str, tuple[str, str]]:
    """Return the rate and the change in the table, by code."""
    rows: dict[str, tuple[str, str]] = visitor.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("table.rates tbody tr")].map((row) =>
            [row.querySelector("a").textContent, [row.cells[1].textContent, row.cells[2].textContent]]))"""
    )
    return {code: (rate, change) for code, (rate, change) in rows.items()}


@pytest.mark.parametrize("path", ["/", "/?base=JPY"])
def test_the_table_shows_the_response_to_the_named_request(
    visitor: Visitor, service: Service, path: str
) -> None:
    visitor.open(path)
    call = visitor.page.locator("code", has_text="/rates/").inner_text()
    days = answer(service.server, call)["rates"]
    *_, before, newest = days.values()
    base = "JPY" if "JPY" in path else "EUR"
    assert list(days)[-1] == str(service.newest)
    assert shown_table(visitor) == {
        code: (shown_rate(rate), shown_change(fluctuation(before[code], rate)[1]))
        for code, rate in newest.items()
        if code != base
    }


@pytest.mark.parametrize(
    ("amount", "start", "end"),
    [
        ("100", "EUR", "USD"),
        ("1,234.50", "GBP", "JPY"),
        ("0.5", "IDR", "EUR"),
        ("7", "SEK", "SEK"),
        ("1000000", "EUR", "IDR"),
    ],
)
def test_the_converter_converts(
    visitor: Visitor, service: Service, amount: str, start: str, end: str
) -> None:
    rates = answer(service.server, "/rates/latest")["rates"]
    rate = rates[end] if start == "EUR" else round_significant(rates[end] / rates[start])
    plain = amount.replace(",", "")
    expected = convert(Decimal(plain), rate)
    said = answer(service.server, f"/rates/convert?from={start}&to={end}&amount={plain}")
    assert (said["result"], said["info"]["rate"]) == (expected, rate)

    visitor.open("/")
    visitor.page.locator("[name=from]").select_option(start)
    visitor.page.locator("[name=to]").select_option(end)
    visitor.page.get_by_label("Amount").fill(amount)
    digits = f"{expected:,.2f}" if expected >= 1 else f"{Decimal(f'{expected:.6g}'):f}"
    assert visitor.page.locator("output").inner_text() == f"{digits} {end}"
    read = f"{Decimal(plain).normalize():,f} {start}"
    assert (
        visitor.page.locator(".convert .rate").inner_text()
        == f"{read} at 1 {start} = {shown_rate(rate)} {end}"
    )


def test_the_converter_swaps_currencies_and_rejects_a_wrong_amount(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.page.get_by_label("Swap the currencies").click()
    assert visitor.page.locator("output").inner_text().endswith(" EUR")
    visitor.page.get_by_label("Amount").fill("many")
    assert visitor.page.locator("output").inner_text() == (
        "Enter digits, with a decimal point, such as 1234.50."
    )
    assert visitor.page.get_by_label("Amount").get_attribute("aria-invalid") == "true"


def test_a_date_opens_the_page_of_that_day(visitor: Visitor, service: Service) -> None:
    visitor.open("/?base=USD")
    visitor.page.get_by_label("Date").fill(str(service.revised))
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_url("**/fx/rates_by_date?**")
    query = parse_qs(urlsplit(visitor.page.url).query)
    assert query == {"date": [str(service.revised)], "base": ["USD"]}
    assert str(service.revised.year) in visitor.page.locator("h1").inner_text()
    rates = answer(service.server, f"/rates/{service.revised}/?base=USD")["rates"]
    assert {code: rate for code, (rate, _) in shown_table(visitor).items()} == {
        code: shown_rate(rate) for code, rate in rates.items() if code != "USD"
    }


def test_the_base_changes_the_table(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.page.get_by_label("Base").select_option("CHF")
    visitor.page.get_by_role("button", name="Show").click()
    visitor.page.wait_for_url("**base=CHF**")
    assert visitor.page.locator("table.rates thead").inner_text().split("\t")[1] == "1 CHF ="
    assert "EUR" in shown_table(visitor)
    assert "CHF" not in shown_table(visitor)


def test_the_table_can_be_searched_and_sorted(visitor: Visitor) -> None:
    visitor.open("/")
    visitor.page.get_by_label("Find").fill("dollar")
    found = visitor.page.locator("table.rates tbody tr:visible th a").all_inner_texts()
    assert found == ["AUD", "CAD", "HKD", "NZD", "SGD", "USD"]
    visitor.page.get_by_label("Find").fill("nothing like it")
    assert visitor.page.get_by_text("No matching currency.").is_visible()
    visitor.page.get_by_label("Find").fill("")
    visitor.page.get_by_role("button", name="1 EUR =").click()
    rates = [float(rate.replace(",", "")) for rate, _ in shown_table(visitor).values()]
    assert rates == sorted(rates, reverse=True)
    visitor.page.get_by_role("button", name="1 EUR =").click()
    assert [float(rate.replace(",", "")) for rate, _ in shown_table(visitor).values()] == rates[::-1]


def test_170_currencies_take_less_than_100_kb_and_one_request(
    open_visitor: OpenVisitor, crowded: Server
) -> None:
    visitor = open_visitor(crowded.url)
    session = visitor.context.new_cdp_session(visitor.page)
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    session.send("Network.enable")
    visitor.open("/")
    visitor.page.wait_for_load_state("networkidle")
    assert len(shown_table(visitor)) == 169
    assert len([size for size in received if size]) == len(visitor.requested)
    assert sum(received) < 100_000
    # The server made the request; the page makes none.
    assert [path for path in visitor.requested if path.startswith(("/rates/", "/fx"))] == []
    assert len(re.findall(r"/rates/\S+\.\.\S+", visitor.text())) == 1
    assert visitor.evaluate("window.shifted") == []
