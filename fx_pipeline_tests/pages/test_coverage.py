"""The Coverage page and the pages of days."""

import datetime as dt

import pytest
from playwright.sync_api import expect

from fx_pipeline.api.pages.figures import shown_date
from fx_pipeline_tests.pages.browser import Visitor
from fx_pipeline_tests.pages.conftest import START, Service


def state(visitor: Visitor, date: dt.date) -> str | None:
    """Return the state of a day in the calendar."""
    visitor.open(f"/coverage/?year={date.year}")
    found: str | None = visitor.evaluate(
        """([month, day]) => {
            const title = [...document.querySelectorAll(".month h3")].find((one) =>
                one.textContent === month);
            const days = [...title.parentElement.querySelectorAll("li > *")];
            return days.find((one) => parseInt(one.firstChild.textContent) === day).className;
        }""",
        [f"{date:%B}", date.day],
    )
    return found


def test_the_calendar_shows_the_state_of_each_day(visitor: Visitor, service: Service) -> None:
    first, last = service.gap
    day = dt.timedelta(1)
    expected = {
        first - day: "stored",
        first: "missing",
        last: "missing",
        last + day: "stored",
        service.lone_gap: "missing",
        service.revised: "revised",
        service.rejected: "rejected",
        service.newest: "stored",
        START: "stored",
    }
    assert {date: state(visitor, date) for date in expected} == expected


def test_lists_and_counts_the_gaps_and_links_to_their_backfill(visitor: Visitor, service: Service) -> None:
    visitor.open("/coverage/")
    first, last = service.gap
    assert visitor.page.locator(".gaps li").all_inner_texts() == [
        f"{shown_date(str(first))} to {shown_date(str(last))} 5 days",
        f"{shown_date(str(service.lone_gap))} 1 day",
    ]
    assert visitor.page.locator(".summary").first.inner_text().split("\n")[3:6] == [
        "Missing",
        "6",
        "days in 2 gaps",
    ]
    # A single day can be fetched on its page.
    assert visitor.page.locator(".gaps a").last.get_attribute("href") == (
        f"/fx/rates_by_date?date={service.lone_gap}"
    )
    backfill = visitor.page.get_by_role("link", name="Fetch them in Dagster").get_attribute("href")
    assert backfill == (
        "http://127.0.0.1:3000/assets/rates?view=partitions"
        f"&default_range={service.lone_gap},%5B{first}...{last}%5D"
    )


def test_a_strip_shows_a_gap(visitor: Visitor, service: Service) -> None:
    visitor.open("/coverage/")
    runs = visitor.evaluate(
        """(year) => [...document.querySelectorAll(`svg[data-year="${year}"] rect`)].map((one) =>
            [one.getAttribute("class"), Number(one.getAttribute("x")), Number(one.getAttribute("width"))])""",
        service.lone_gap.year,
    )
    place = service.lone_gap.timetuple().tm_yday - 1
    assert runs == [["stored", 0, place], ["missing", place, 1], ["stored", place + 1, 366 - place - 1]]


def test_a_strip_shows_and_opens_the_day_under_the_pointer(visitor: Visitor, service: Service) -> None:
    visitor.open("/coverage/")
    date = dt.date(2020, 7, 14)
    box = visitor.page.locator(f'svg[data-year="{date.year}"]').bounding_box()
    assert box is not None
    x = box["x"] + box["width"] * (date.timetuple().tm_yday - 0.5) / 366
    y = box["y"] + box["height"] / 2
    visitor.page.mouse.move(x, y)
    expect(visitor.page.locator(".reading")).to_have_text("14 July 2020: stored")
    visitor.page.mouse.click(x, y)
    visitor.page.wait_for_url("**/fx/rates_by_date?date=2020-07-14")


def test_the_calendar_links_to_the_rates_of_a_day(visitor: Visitor, service: Service) -> None:
    visitor.open(f"/coverage/?year={service.revised.year}")
    visitor.page.locator("a.revised").last.click()
    visitor.page.wait_for_url(f"**/fx/rates_by_date?date={service.revised}")
    table = visitor.page.locator("section", has=visitor.page.get_by_role("heading", name="Revised values"))
    assert table.locator("tbody th").all_inner_texts() == ["GBP", "USD"]


def test_the_links_to_the_next_and_previous_day_skip_a_gap(visitor: Visitor, service: Service) -> None:
    first, last = service.gap
    day = dt.timedelta(1)
    visitor.open(f"/fx/rates_by_date?date={first - day}&base=USD")
    visitor.page.locator("a[rel=next]").click()
    visitor.page.wait_for_url(f"**date={last + day}&base=USD")
    visitor.page.locator("a[rel=prev]").click()
    visitor.page.wait_for_url(f"**date={first - day}&base=USD")


def test_a_missing_day_links_to_the_nearest_stored_days(visitor: Visitor, service: Service) -> None:
    first, last = service.gap
    assert visitor.open(f"/fx/rates_by_date?date={first}").status == 404
    day = dt.timedelta(1)
    main = visitor.page.locator("main").inner_text()
    assert "No rates are stored for this day" in main
    assert (
        f"Nearest days with rates: {shown_date(str(first - day))} and {shown_date(str(last + day))}." in main
    )


@pytest.mark.parametrize("as_of", ["", "2022-03-02"])
def test_a_day_that_was_not_known_yet_gets_a_404(visitor: Visitor, service: Service, as_of: str) -> None:
    response = visitor.open(f"/fx/rates_by_date?date=2022-03-01&as_of={as_of}")
    assert response.status == (404 if as_of else 200)
    assert ("No rates were known for this day" in visitor.text()) is bool(as_of)
