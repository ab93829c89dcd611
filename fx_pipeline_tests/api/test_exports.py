"""CSV of tables and canned queries: complete or refused, and without formulas."""

import csv
import html
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.api.tables import exports
from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History

DAYS = 4_000
"""More than Datasette's own limit of 1,000 rows."""


def rows_of(text: str) -> list[list[str]]:
    """Return the rows below the header."""
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


@pytest.fixture
def long_history(history: History) -> History:
    """Add many days of one more currency to a history."""
    history.db.table("rates").insert_all(
        {"date": f"{1991 + day // 365}-{day % 365:03}", "currency": "AAA", "rate": day + 0.5, "fetch_id": 1}
        for day in range(DAYS)
    )
    history.db.table("symbols").insert(
        {"code": "AAA", "name": "", "first_date": "1991-01-01", "last_date": "2001-12-31"}
    )
    return history


@pytest.mark.parametrize(
    "path",
    [
        "/fx/rates.csv?currency=AAA",
        "/fx/rates.csv?currency=AAA&_size=max",
        "/fx/rates.csv?currency=AAA&_size=max&_labels=on&_nl=1",
        "/fx/rates.csv?currency=AAA&_sort_desc=date",
        "/fx/rates.csv?currency=AAA&_sort=rate&_dl=1",
        "/fx/rates_by_range.csv?start_date=1990-01-01&end_date=2002-12-31",
        "/fx/rate_history.csv?symbols=AAA",
    ],
)
async def test_a_csv_has_all_rows(api: Api, long_history: History, path: str) -> None:
    response = await api.get(path)
    found = [row for row in rows_of(response.text) if "AAA" in row]
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert "link" not in response.headers
    assert sorted(float(row[2]) for row in found) == [day + 0.5 for day in range(DAYS)]
    if "_sort" in path:
        order = [float(row[2]) for row in found]
        assert order == sorted(order, reverse="desc" in path)
    assert ("content-disposition" in response.headers) == ("_dl" in path)


@pytest.mark.parametrize("path", ["/fx/rates.csv?currency=AAA", "/fx/rate_history.csv?symbols=AAA"])
async def test_refuses_too_many_rows(
    api: Api, long_history: History, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for most, status in ((DAYS, 200), (DAYS - 1, 400)):
        monkeypatch.setattr(exports, "MOST_ROWS", most)
        response = await api.get(path)
        assert response.status_code == status
    assert response.json()["message"].startswith("This has more than 200,000 rows, the limit of one CSV.")


async def test_pages_link_to_the_next_page(api: Api, history: History) -> None:
    whole = rows_of((await api.get("/fx/rates.csv")).text)
    rows, path = [], "/fx/rates.csv?_size=5"
    while path:
        response = await api.get(path)
        some = rows_of(response.text)
        assert len(some) <= 5
        rows += some
        path = response.links.get("next", {}).get("url", "")
    assert rows == whole
    assert len(whole) == history.db["rates"].count


async def test_truncated_json_says_so(api: Api, long_history: History) -> None:
    for shape in ("arrays", "array", "objects", "arrayfirst"):
        response = await api.get(f"/fx/rate_history.json?symbols=AAA&_shape={shape}")
        assert response.headers["x-truncated"] == "1000 rows"
        whole = await api.get(response.links["alternate"]["url"])
        assert len(rows_of(whole.text)) == DAYS
    short = await api.get("/fx/rate_history.json?symbols=USD&_shape=array")
    assert "x-truncated" not in short.headers
    assert "Truncated" in short.headers["access-control-expose-headers"]


async def test_returns_a_row_as_csv(api: Api) -> None:
    response = await api.get("/fx/rates/2026-03-06,IDR.csv")
    assert response.text == "date,currency,rate,fetch_id\r\n2026-03-06,IDR,19660,2\r\n"
    assert (await api.get("/fx/rates/2026-03-06,IDR.csv?_header=off")).text == "2026-03-06,IDR,19660,2\r\n"
    assert (await api.get("/fx/rates/2026-03-06,QQQ.csv")).status_code == 404


async def test_a_csv_has_an_etag(api: Api) -> None:
    first = await api.get("/fx/rates.csv")
    assert first.headers["cache-control"] == "no-cache"
    again = await api.get("/fx/rates.csv", If_None_Match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/fx/rates.csv?_stream=1", "/fx/rates_by_date.csv?_stream=1"])
async def test_refuses_stream(api: Api, path: str) -> None:
    info = "_stream is not available. A CSV has all rows without it, up to 200,000."
    assert (await api.get(path)).json()["message"] == info


FORMULAS = [
    ("=1+1", "'=1+1"),
    ("+1+1", "'+1+1"),
    ("-1+1", "'-1+1"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("\t=1", "'\t'=1"),
    ("\r=1", "'\r'=1"),
    ('"=1"', '\'"=1"'),
    ("\uff1d1", "'\uff1d1"),
    ("a;=1", "a;'=1"),
    ('a;"=1', "a;'\"=1"),
    ("a\n@x", "a\n'@x"),
    ("-", "'-"),
    ("-inf", "'-inf"),
    # Numbers, and texts with such characters inside.
    ("-1.5", "-1.5"),
    ("+2", "+2"),
    ("-1e-7", "-1e-7"),
    ("-.5", "-.5"),
    ("a=b", "a=b"),
    ("a-b", "a-b"),
    ("not above zero", "not above zero"),
    ("", ""),
]


async def test_escapes_formulas(api: Api, history: History) -> None:
    """In every CSV with text from the provider: names of currencies, rejected values."""
    for number, (text, _) in enumerate(FORMULAS):
        code = f"{chr(65 + number)}AA"
        history.db.table("symbols").insert({"code": code, "name": text, "first_date": "2026-03-06"})
        rejected = {"date": "2026-03-06", "currency": code, "value": text, "reason": text, "fetch_id": 1}
        history.db.table("rejected_rates").insert(rejected)
    expected = sorted(written for _, written in FORMULAS)
    symbols = rows_of((await api.get("/fx/symbols.csv")).text)
    assert sorted(row[1] for row in symbols if row[0].endswith("AA")) == expected
    for path in (
        "/fx/rejected_rates.csv",
        "/fx/rejected_rates.csv?_size=100",
        "/fx/rejected_rates.csv?_sort=value",
    ):
        rejects = rows_of((await api.get(path)).text)
        assert sorted(row[3] for row in rejects) == expected
        assert sorted(row[4] for row in rejects) == expected
    [[*_, value, reason]] = rows_of((await api.get("/fx/rejected_rates/1,2026-03-06,AAA.csv")).text)
    assert (value, reason) == ("'=1+1", "'=1+1")


async def test_keeps_negative_numbers(api: Api, history: History) -> None:
    history.db.execute("UPDATE days SET timestamp = -86401 WHERE date = '1999-01-04'")
    history.db.conn.commit()
    assert "1999-01-04,EUR,-86401,3,1" in (await api.get("/fx/days.csv")).text.splitlines()


async def test_csv_of_the_api_has_only_dates_codes_and_numbers(api: Api) -> None:
    for path in ("/rates/2026-03-06.csv", "/rates/2026-03-05...csv?base=USD", "/rates/latest.csv"):
        for date, base, code, rate in rows_of((await api.get(path)).text):
            assert (date[:2], base.isalpha(), code.isalpha()) in (("19", True, True), ("20", True, True))
            assert float(rate) > 0
    wide = (await api.get("/rates/1999-01-04...csv?wide=1")).text.splitlines()
    assert all(code.isascii() and code.isupper() and len(code) == 3 for code in wide[0].split(",")[1:])
    for date, *rates in (line.split(",") for line in wide[1:]):
        assert date[:2] in ("19", "20")
        assert all(not rate or float(rate) > 0 for rate in rates)


@given(st.text(alphabet="=+-@\t\r\n;,\"' a1.\uff1d", max_size=8))
def test_escapes_formulas_after_any_separator(text: str) -> None:
    written = str(exports.cell(text))
    if written == text and exports.NUMBER.fullmatch(text):
        return
    for separator in ";\t\n\r":
        for part in written.split(separator):
            assert part.lstrip("\"'")[:1] not in tuple("=+-@\uff1d") or part.startswith("'"), (text, part)
    assert written[:1] not in ("\t", "\r")
    assert written.replace("'", "") == text.replace("'", "")


async def test_replaces_bytes_by_their_address(api: Api, history: History) -> None:
    token = TokenFile(history.path.with_name("tokens.db")).create("reports")
    history.db.execute("UPDATE fetches SET body = CASE id WHEN 2 THEN x'00ff' END")
    history.db.conn.commit()
    headers = {"Authorization": f"Bearer {token}"}
    rows = {row[0]: row[-1] for row in rows_of((await api.get("/fx/fetches.csv", **headers)).text)}
    assert rows == {"1": "", "2": "/fx/fetches/2.blob?_blob_column=body", "3": "", "4": "", "5": "", "6": ""}
    assert (await api.get(rows["2"], **headers)).content == b"\x00\xff"
    assert (await api.get("/fx/fetches.csv")).status_code == 401


async def test_pages_link_to_a_csv_with_all_rows(api: Api) -> None:
    page = await api.get("/fx/rates?_size=2&currency=USD")
    assert 'all rows as <a href="/fx/rates.csv?currency=USD">CSV</a>.' in page.text
    assert (
        'Export this page as <a href="/fx/rates.json?_size=2&amp;currency=USD&amp;_labels=on">JSON</a>'
        in page.text
    )
    assert "CSV file holds at most" not in page.text


@pytest.mark.parametrize(
    ("page", "path"),
    [
        ("/fx/rates", "/rates/2025-03-10..2026-03-09.csv"),
        ("/fx/rates?currency=USD", "/rates/1999-01-04..2026-03-09.csv?symbols=USD"),
        ("/fx/rates_by_range?start_date=2026-03-06", "/rates/2026-03-06..2026-03-09.csv"),
        ("/fx/rates_by_range?end_date=2000-01-03", "/rates/1999-01-04..2000-01-03.csv"),
        (
            "/fx/rate_history?symbols=USD,GBP&start_date=2026-03-05&end_date=2026-03-06&as_of=2026-03-07",
            "/rates/2026-03-05..2026-03-06.csv?symbols=USD,GBP&as_of=2026-03-07",
        ),
        (
            "/fx/rates_by_range?start_date=2026-03-05&as_of=2026-03-07T12:00",
            "/rates/2026-03-05..2026-03-09.csv?as_of=2026-03-07T12:00Z",
        ),
        (
            "/fx/rates_by_range?start_date=2026-03-05&as_of=2026-03-07%2012:00:00.5%2B01:00",
            "/rates/2026-03-05..2026-03-09.csv?as_of=2026-03-07+12:00:00.5%2B01:00",
        ),
    ],
)
async def test_pages_of_rates_link_to_the_api(api: Api, page: str, path: str) -> None:
    text = html.unescape((await api.get(page)).text)
    wide = f"{path}{'&' if '?' in path else '?'}wide=1"
    assert f'<a href="{path}">{path}</a>' in text
    assert f'<a href="{wide}">a column for each currency</a>' in text
    for link in (path, wide):
        assert (await api.get(link)).status_code == 200


CONDITIONS = [
    ("date=2026-03-06", "2026-03-06..2026-03-06.csv"),
    ("date=2026-03-06&currency=USD", "2026-03-06..2026-03-06.csv?symbols=USD"),
    ("date__gte=2026-03-06", "2026-03-06..2026-03-09.csv"),
    ("date__gt=2026-03-06", "2026-03-07..2026-03-09.csv"),
    ("date__lte=2000-01-03", "1999-01-04..2000-01-03.csv"),
    ("date__lt=2000-01-03", "1999-01-04..2000-01-02.csv"),
    ("date__gt=1999-01-04&date__lt=2026-03-06&date__gte=1990-01-01", "1999-01-05..2026-03-05.csv"),
    ("date__lte=2030-01-01&currency=XAU", "1999-01-04..2026-03-09.csv?symbols=XAU"),
    ("currency__in=USD,GBP", "1999-01-04..2026-03-09.csv?symbols=USD,GBP"),
    ("currency__in=USD, EUR&date=2026-03-06", "2026-03-06..2026-03-06.csv?symbols=USD,EUR"),
    ('currency__in=["USD","GBP"]&currency=GBP', "1999-01-04..2026-03-09.csv?symbols=GBP"),
    ("currency=USD&_sort=rate&_size=2&_col=date", "1999-01-04..2026-03-09.csv?symbols=USD"),
]


@pytest.mark.parametrize(("conditions", "link"), CONDITIONS)
async def test_the_link_of_a_filtered_table_has_exactly_its_rates(
    api: Api, conditions: str, link: str
) -> None:
    page = html.unescape((await api.get(f"/fx/rates?{conditions}")).text)
    assert f'CSV from the API, in any base: <a href="/rates/{link}">' in page
    shown = rows_of((await api.get(f"/fx/rates.csv?{conditions.partition('&_')[0]}")).text)
    returned = rows_of((await api.get(f"/rates/{link}")).text)
    assert sorted((date, code, float(rate)) for date, _, code, rate in returned) == sorted(
        (date, code, float(rate)) for date, code, rate, _ in shown
    )


@pytest.mark.parametrize(
    "page",
    [
        "/fx/rates?currency=QQQ",
        "/fx/rates?currency__in=USD,QQQ",
        "/fx/rates?currency__in=usd,GBP",
        "/fx/rates?currency__not=USD",
        "/fx/rates?currency=USD&currency=GBP",
        "/fx/rates?rate__gt=100",
        "/fx/rates?fetch_id=2",
        "/fx/rates?date=2026-03-07",
        "/fx/rates?date__gt=2026",
        "/fx/rates?date__startswith=2026",
        "/fx/rates?date__gt=9999-12-31",
        "/fx/rates?date__lt=0001-01-01",
        "/fx/rates?date__gt=2026-03-06&date__lt=2026-03-06",
        "/fx/rates_by_range?start_date=2026-03-07&end_date=2026-03-07",
        "/fx/rates_by_range?as_of=2030-01-01",
        "/fx/rate_history",
    ],
)
async def test_no_link_if_the_api_has_no_such_rates(api: Api, page: str) -> None:
    response = await api.get(page)
    assert response.status_code == 200
    assert "CSV from the API" not in response.text


async def test_no_link_to_more_rates_than_a_response_has(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fx_pipeline.api.endpoints.days.MOST_RATES", 20)
    assert "CSV from the API" not in (await api.get("/fx/rates?date__gte=1999-01-01")).text
    assert "CSV from the API" in (await api.get("/fx/rates?date__gte=2026-03-08")).text


async def test_a_page_without_conditions_says_which_days_its_link_has(api: Api) -> None:
    for page in ("/fx/rates", "/fx/rates_by_range"):
        assert "CSV of the last 365 days from the API, in any base" in (await api.get(page)).text


@pytest.mark.parametrize("page", ["/fx/days", "/fx/symbols", "/fx/revisions", "/fx/coverage"])
async def test_other_pages_do_not(api: Api, page: str) -> None:
    assert "CSV from the API" not in (await api.get(page)).text
