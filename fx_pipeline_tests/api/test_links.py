"""The links of pages to other pages and to the API."""

import pytest

from fx_pipeline.api.pages.links import api_path, currency_path, day_path


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("2026-03-09",), "/fx/rates_by_date?date=2026-03-09"),
        (("2026-03-09", "USD"), "/fx/rates_by_date?date=2026-03-09&base=USD"),
        (
            ("2026-03-09", "", "2026-03-10T12:00:00+01:00"),
            "/fx/rates_by_date?date=2026-03-09&as_of=2026-03-10T12:00:00%2B01:00",
        ),
    ],
)
def test_links_to_the_page_of_a_day(arguments: tuple[str, ...], path: str) -> None:
    assert day_path(*arguments) == path


@pytest.mark.parametrize(
    ("path", "parameters", "call"),
    [
        ("latest", {}, "/rates/latest"),
        ("latest", {"base": "USD"}, "/rates/latest?base=USD"),
        ("2026-03-09", {"base": "", "as_of": ""}, "/rates/2026-03-09/"),
        ("2026-03-09.csv", {"base": "USD"}, "/rates/2026-03-09.csv?base=USD"),
        (
            "2026-01-01..2026-03-09",
            {"base": "", "symbols": "USD,GBP"},
            "/rates/2026-01-01..2026-03-09/?symbols=USD,GBP",
        ),
    ],
)
def test_links_to_the_api(path: str, parameters: dict[str, str], call: str) -> None:
    assert api_path(path, **parameters) == call


def test_links_to_the_page_of_a_currency() -> None:
    path = currency_path("USD", base="", symbols="GBP,CHF", range="1y")
    assert path == "/currency/USD/?symbols=GBP,CHF&range=1y"
    assert currency_path("USD", base="") == "/currency/USD/"
