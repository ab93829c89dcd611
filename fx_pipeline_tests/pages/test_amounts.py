"""The amount of the converter, in the formats of many countries."""

from typing import Any

import pytest

from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import OpenVisitor, Service

READ = """async ([text, languages]) => (await import("/static/amounts.js")).readAmount(text, languages)"""

EMPTY = "Enter an amount, such as 1234.50."
NEGATIVE = "An amount cannot be negative. Enter a number such as 1234.50."
UNREADABLE = "Enter digits, with a decimal point, such as 1234.50."

ANYWHERE: list[tuple[str, float | str]] = [
    ("100", 100),
    (" 7 ", 7),
    ("0", 0),
    ("0.1", 0.1),
    (".5", 0.5),
    (",5", 0.5),
    ("12.", 12),
    ("12,", 12),
    ("12,5", 12.5),
    ("12.5", 12.5),
    ("1,23", 1.23),
    ("0,123", 0.123),
    ("0.123", 0.123),
    ("1234,567", 1234.567),
    ("1234.567", 1234.567),
    ("1,2345", 1.2345),
    ("1.234,56", 1234.56),
    ("1,234.56", 1234.56),
    ("1.234.567", 1234567),
    ("1,234,567", 1234567),
    ("1.234.567,8", 1234567.8),
    ("1,234,567.8", 1234567.8),
    ("12,34,567.8", 1234567.8),
    ("1 234", 1234),
    ("1 234,56", 1234.56),
    ("1 234.567", 1234.567),
    ("1\u00a0234,56", 1234.56),
    ("1\u202f234,56", 1234.56),
    ("1'234.5", 1234.5),
    ("1\u2019234\u2019567", 1234567),
    ("1'234,567", 1234.567),
    ("1234567890123456", 1234567890123456),
    ("1000000000000000000", 1e18),
    ("1000000000000001000", "Enter at most 1,000,000,000,000,000,000."),
    ("9" * 400, "Enter at most 1,000,000,000,000,000,000."),
    ("", EMPTY),
    ("  ", EMPTY),
    ("-5", NEGATIVE),
    ("\u22125", NEGATIVE),
    ("-", NEGATIVE),
    (".", UNREADABLE),
    (",", UNREADABLE),
    ("many", UNREADABLE),
    ("1e3", UNREADABLE),
    ("0x10", UNREADABLE),
    ("Infinity", UNREADABLE),
    ("10\u00b2", UNREADABLE),
    ("5 EUR", UNREADABLE),
    ("1.2.3", UNREADABLE),
    ("1,2,3", UNREADABLE),
    ("1,234.5,6", UNREADABLE),
    ("1.234,567.8", UNREADABLE),
    ("12 34", UNREADABLE),
    ("1,5 0", UNREADABLE),
    ("1,,234", UNREADABLE),
    ("1'234 567", UNREADABLE),
    ("1234,567,890", UNREADABLE),
]
"""Amounts that mean the same in every language, and texts that are no amount."""

BY_LANGUAGE: list[tuple[str, list[str], float | str]] = [
    ("1,234", ["en-US"], 1234),
    ("1.234", ["en-US"], 1.234),
    ("1,234", ["en-US", "en"], 1234),
    ("1.234", ["de-DE"], 1234),
    ("1,234", ["de-DE", "de"], 1.234),
    ("1,234", ["fr-FR"], 1.234),
    ("1.234", ["fr-FR"], "“1.234” can mean two amounts. Enter 1234 or 1.2340."),
    ("1,234", ["de-CH"], "“1,234” can mean two amounts. Enter 1234 or 1.2340."),
    ("1.234", ["de-DE", "de", "en-US", "en"], "“1.234” can mean two amounts. Enter 1234 or 1.2340."),
    ("123,456", ["en-US", "de"], "“123,456” can mean two amounts. Enter 123456 or 123.4560."),
    ("٣", ["ar-EG"], 3),
    ("١٬٢٣٤٫٥", ["ar-EG"], 1234.5),
    ("١٫٢٣٤", ["ar-EG"], 1.234),
    ("١٬٢٣٤", ["ar-EG"], 1234),
    ("۱۲٫۵", ["fa-IR"], 12.5),
    ("٣", ["en-US"], UNREADABLE),
    ("12,5", ["ar-EG"], 12.5),
]


@pytest.fixture
def reader(visitor: Visitor) -> Visitor:
    """Open the home page."""
    visitor.open("/")
    return visitor


def read(visitor: Visitor, text: str, languages: list[str]) -> float | str:
    """Return the amount that the page reads from `text`, or its error message."""
    answer: dict[str, Any] = visitor.evaluate(READ, [text, languages])
    [value] = answer.values()
    assert isinstance(value, float | int | str)
    return value


def test_reads_unambiguous_amounts_in_every_language(reader: Visitor) -> None:
    languages = [["en-US"], ["de-DE"], ["fr-FR"], ["de-CH"], ["en-IN"], ["de-DE", "en-US"]]
    expected = [(text, some, value) for text, value in ANYWHERE for some in languages]
    assert [(text, some, read(reader, text, some)) for text, some, _ in expected] == expected


def test_the_languages_of_the_reader_decide_ambiguous_amounts(reader: Visitor) -> None:
    read_as = [(text, languages, read(reader, text, languages)) for text, languages, _ in BY_LANGUAGE]
    assert read_as == BY_LANGUAGE


LANGUAGES = """
    af-ZA ar-EG ar-MA bg-BG bn-BD cs-CZ da-DK de-AT de-CH de-DE el-GR en-GB en-IN en-US es-ES es-MX
    et-EE fa-IR fi-FI fr-CH fr-FR he-IL hi-IN hu-HU id-ID it-IT ja-JP ko-KR lv-LV mr-IN nb-NO nl-NL
    pl-PL pt-BR pt-PT ro-RO ru-RU sl-SI sv-SE th-TH tr-TR uk-UA vi-VN zh-CN
"""

FORMATTED = """async (languages) => {
    const { readAmount } = await import("/static/amounts.js");
    const amounts = [0, 0.5, 1, 1.234, 12.5, 999.999, 1000, 1234, 1234.5, 12345.678, 100000, 1234567.891];
    const wrong = [];
    for (const language of languages) {
        for (const amount of amounts) {
            const text = amount.toLocaleString(language);
            const own = readAmount(text, [language]).amount;
            if (own !== amount) wrong.push([text, language, amount, own ?? null]);
            for (const other of languages) {
                const both = readAmount(text, [other, language]);
                if (!both.problem && both.amount !== amount) wrong.push([text, language, other, both.amount]);
            }
        }
    }
    return wrong;
}"""


def test_reads_every_format_of_the_browser(reader: Visitor) -> None:
    """A reader of a second language gets the same amount or an error, never another amount."""
    assert reader.evaluate(FORMATTED, LANGUAGES.split()) == []


@pytest.mark.parametrize(
    ("language", "typed", "read_as"),
    [
        ("en-US", "12,5", "12.5"),
        ("en-US", "1,234", "1,234"),
        ("en-US", "1.234,56", "1,234.56"),
        ("de-DE", "12,5", "12.5"),
        ("de-DE", "1.234", "1,234"),
        ("de-DE", "1,234", "1.234"),
        ("fr-FR", "1 234,56", "1,234.56"),
        ("de-CH", "1'234.5", "1,234.5"),
        ("ar-EG", "٣", "3"),
    ],
)
def test_a_typed_amount_is_converted_and_repeated(
    open_visitor: OpenVisitor, service: Service, language: str, typed: str, read_as: str
) -> None:
    visitor = open_visitor(service.server.url, language=language)
    visitor.open("/")
    amount = visitor.page.get_by_label("Amount")
    amount.fill("")
    amount.press_sequentially(typed)
    assert visitor.page.locator(".convert .rate").inner_text().startswith(f"{read_as} EUR at 1 EUR = ")
    converted = visitor.page.locator("output").inner_text()
    amount.fill(read_as.replace(",", "") + ("0" if "." in read_as else ""))
    assert visitor.page.locator("output").inner_text() == converted
    assert visitor.problems == []


@pytest.mark.parametrize(
    ("language", "typed", "problem"),
    [
        ("fr-FR", "1.234", "“1.234” can mean two amounts. Enter 1234 or 1.2340."),
        ("en-US", "-5", NEGATIVE),
        ("en-US", "", EMPTY),
        ("en-US", "٣", UNREADABLE),
    ],
)
def test_a_rejected_amount_shows_no_result(
    open_visitor: OpenVisitor, service: Service, language: str, typed: str, problem: str
) -> None:
    visitor = open_visitor(service.server.url, language=language)
    visitor.open("/")
    amount = visitor.page.get_by_label("Amount")
    amount.fill(typed)
    assert visitor.page.locator("output").inner_text() == problem
    assert amount.get_attribute("aria-invalid") == "true"
    assert visitor.page.locator(".convert .rate").inner_text().startswith("1 EUR = ")


@pytest.mark.parametrize("typed", ["12,5", "1,234", "1.234,56", "-5"])
def test_the_form_of_the_documentation_rejects_other_formats(visitor: Visitor, typed: str) -> None:
    """A number field would drop unknown marks: 12,5 became 125."""
    visitor.open("/rates/docs/")
    forms = visitor.page.locator("form:has([name=amount])").all()
    assert len(forms) == 4  # a day, the latest day, several days, and a conversion
    for form in forms:
        amount = form.locator("[name=amount]")
        amount.fill("")
        amount.press_sequentially(typed)
        assert amount.input_value() == typed
        form.get_by_role("button", name="Send request").click()
        assert visitor.page.url.endswith("/rates/docs/")
        assert amount.evaluate("(field) => field.validity.patternMismatch")
