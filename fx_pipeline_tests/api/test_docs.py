"""The documentation page: complete, current, and without other hosts."""

import html
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.errors import KINDS, ErrorKind
from fx_pipeline.api.pages.docs import SHOWN_LINES
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History

PATH = "/rates/docs/"


async def read(api: Api, **headers: str) -> str:
    """Return the page."""
    response = await api.get(PATH, **headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def sections(page: str) -> dict[str, str]:
    """Return the section of each operation, by its name."""
    return dict(re.findall(r'<section aria-labelledby="(\w+)">(.*?)</section>', page, re.DOTALL))


def answer_in(section: str) -> str:
    """Return the response in a section, unescaped."""
    [answer] = re.findall(r'<pre class="answer"[^>]*><code>(.*?)</code></pre>', section, re.DOTALL)
    return html.unescape(answer)


async def test_shows_every_operation_with_its_response(api: Api) -> None:
    shown = sections(await read(api))
    for operation in OPERATIONS:
        if operation.has_own_view:
            continue
        section = shown[operation.name]
        assert html.escape(operation.path) in section
        [target] = re.findall(r"curl 'http://api(/[^']*)'", section)
        response = await api.get(html.unescape(target))
        assert response.status_code == 200
        body = response.text if operation.response == "Csv" else json.dumps(response.json(), indent=2)
        whole, answer = body.splitlines(), answer_in(section).splitlines()
        if len(whole) > SHOWN_LINES:
            whole = [*whole[:SHOWN_LINES], "…"]
        assert answer == whole


async def test_shows_every_error(api: Api) -> None:
    errors = sections(await read(api))["errors"]
    rows = re.findall(r"<tr><td>(\d+)</td><td>(\d+)</td><td><code>(\w+)</code></td></tr>", errors)
    assert {ErrorKind(int(status), int(code), type_) for status, code, type_ in rows} == set(KINDS)


ONLY_RANGES = {
    "501 no_timeframe_supplied",
    "502 invalid_start_date",
    "503 invalid_end_date",
    "504 invalid_time_frame",
    "505 time_frame_too_long",
}


async def test_an_operation_lists_its_possible_errors(api: Api) -> None:
    shown = {
        name: set(re.findall(r'<a href="#errors">([^<]*)</a>', section))
        for name, section in sections(await read(api)).items()
    }
    of_one_day = shown["latest_rates"]
    assert {"302 invalid_date", "106 no_rates_available", "201 invalid_base_currency"} < of_one_day
    for name in ("rates_of_day", "rates_of_day_csv", "latest_rates_csv"):
        assert shown[name] == of_one_day
    for name in ("timeseries", "fluctuation", "rates_of_range", "rates_since", "rates_of_range_csv"):
        assert shown[name] == of_one_day | ONLY_RANGES
    assert {"402 invalid_from_currency"} < shown["convert"]
    assert shown["symbols"] == {"400 invalid_parameter"}


async def test_links_and_forms_work(api: Api) -> None:
    page = await read(api)
    links = {html.unescape(link) for link in re.findall(r'(?:href|src|action)="([^"]*)"', page)}
    anchors = set(re.findall(r'id="([^"]*)"', page))
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors
        elif link == "/rates/convert":
            # A form with required fields.
            assert (await api.get(link)).status_code == 400
        elif link not in ("/rates/timeseries", "/rates/fluctuation") and not urlsplit(link).netloc:
            assert (await api.get(link)).status_code in (200, 503)
    for name in ("timeseries", "fluctuation", "convert", "latest_rates"):
        section = sections(page)[name]
        [action] = re.findall(r'<form class="choose" action="([^"]*)">', section)
        fields = [
            (name, value)
            for name, value in re.findall(r'<input name="(\w+)"[^>]*?(?: value="([^"]*)")?>', section)
        ]
        response = await api.client.get(action, params=fields)
        assert response.status_code == 200


async def test_the_forms_accept_any_day_that_is_over(api: Api) -> None:
    fields = set(re.findall(r'<input name="(\w+)" type="date" max="([^"]*)"', await read(api)))
    over = {(name, "2026-03-09") for name in ("date", "start_date", "end_date")}
    assert fields == {*over, ("as_of", "2026-03-10")}


async def test_shows_code_as_code(api: Api) -> None:
    page = await read(api)
    assert "&lt;code" not in page
    described = re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
    assert "`" not in described
    assert "<code>utm_...</code>" in described


async def test_has_no_scripts_of_other_hosts(api: Api) -> None:
    page = await read(api)
    loaded = re.findall(r'<link rel="(?:stylesheet|icon)" href="([^"]*)"|(?:src|action)="([^"]*)"', page)
    assert {urlsplit(one or other).netloc for one, other in loaded} == {""}
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="/static/rates_docs.js">']
    assert not re.search(r"\son\w+=|\sstyle=|<style|javascript:", page)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("rates.example.com", "http://rates.example.com/"),
        ("127.0.0.1:8001", "http://127.0.0.1:8001/"),
        ("[::1]:8001", "http://[::1]:8001/"),
        ("a.example'$(id)'", "http://127.0.0.1/"),
        ('a"><b>', "http://127.0.0.1/"),
    ],
)
async def test_example_requests_have_the_host_of_the_client(api: Api, host: str, shown: str) -> None:
    page = await read(api, Host=host)
    assert f"curl '{shown}rates/latest" in page
    assert "$(id)" not in page
    assert "<b>" not in page.replace("<b>GET</b>", "")
    assert (await api.get(PATH, Host=host)).headers["cache-control"] == "no-store"


async def test_shows_current_data(history: History, api: Api) -> None:
    assert "2026-03-09" in await read(api)
    history.fetch("2026-03-11T00:05:00.000000Z", {"2026-03-10": {"USD": 1.17}})
    page = await read(api)
    assert "The latest stored day is 2026-03-10" in page
    assert "/rates/2026-03-10/?base=USD" in html.unescape(page)


async def test_works_on_an_empty_database(tmp_path: Path, open_api: OpenApi) -> None:
    History(tmp_path / "empty.db").close()
    page = await read(open_api(tmp_path / "empty.db"))
    assert "No rates are stored yet." in page
    assert '"message": "No rates are stored."' in html.unescape(page)
