"""The canned queries: their results as pages, JSON and CSV, and the indexes that they use."""

import asyncio
import re
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fx_pipeline.api.reading import reader
from fx_pipeline.api.reading.lanes import Limit
from fx_pipeline.api.tables.exports import cell
from fx_pipeline.settings import PROJECT
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.content import STEPS
from fx_pipeline_tests.api.conftest import MARCH, NAMES, Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.metadata import DATABASE, QUERIES

FIRST = {**MARCH["2026-03-06"], "USD": 1.16, "GBP": 0.86}


def rows_of(date: str, rates: dict[str, float]) -> list[list[Any]]:
    """Return rows of date, currency and rate."""
    return [[date, code, float(rate)] for code, rate in rates.items()]


def stored(first: str | None, last: str | None, days: int, rates: int, *near: str | None) -> list[list[Any]]:
    """Return a row of `stored_days`."""
    return [["EUR", first, last, days, rates, *near]]


REVISED = ["date", "currency", "was", "became", "known_from", "replaced_at"]


def revised(currency: str, was: float, became: float) -> list[Any]:
    """Return the row of a value of 6 March that was revised two days later."""
    return [
        "2026-03-06",
        currency,
        was,
        became,
        "2026-03-07T00:05:00.000000Z",
        "2026-03-08T00:05:00.000000Z",
    ]


ANSWERS = [
    ("latest_date", "", ["latest_date", "first_date", "base"], [["2026-03-09", "1999-01-04", "EUR"]]),
    (
        "rates_by_date",
        "date=2026-03-06",
        ["date", "base", "timestamp", "currency", "rate"],
        [["2026-03-06", "EUR", 1772841599, code, float(rate)] for code, rate in MARCH["2026-03-06"].items()],
    ),
    (
        "rates_by_date",
        "",
        ["date", "base", "timestamp", "currency", "rate"],
        [["2026-03-09", "EUR", 1773100799, code, float(rate)] for code, rate in MARCH["2026-03-09"].items()],
    ),
    (
        "rates_by_date",
        "date=2026-03-06&as_of=2026-03-07",
        ["date", "base", "timestamp", "currency", "rate"],
        [["2026-03-06", "EUR", 1772841599, code, float(rate)] for code, rate in sorted(FIRST.items())],
    ),
    (
        "rates_by_date",
        "as_of=2026-03-07T12:00:00.000000Z",
        ["date", "base", "timestamp", "currency", "rate"],
        [["2026-03-06", "EUR", 1772841599, code, float(rate)] for code, rate in sorted(FIRST.items())],
    ),
    ("rates_by_date", "date=2026-03-07", [], []),
    (
        "rates_by_range",
        "start_date=2026-03-06&end_date=2026-03-08",
        ["date", "currency", "rate"],
        rows_of("2026-03-06", MARCH["2026-03-06"]) + rows_of("2026-03-08", MARCH["2026-03-08"]),
    ),
    (
        "rates_by_range",
        "start_date=2026-03-06&as_of=2026-03-07",
        ["date", "currency", "rate"],
        rows_of("2026-03-06", dict(sorted(FIRST.items()))),
    ),
    (
        "rate_history",
        "symbols=usd, JPY&start_date=2000-01-01",
        ["date", "currency", "rate"],
        [
            ["2000-01-03", "JPY", 102.75],
            ["2026-03-05", "JPY", 182.5],
            ["2026-03-06", "JPY", 183.0],
            ["2026-03-08", "JPY", 183.25],
            ["2026-03-09", "JPY", 184.125],
            ["2000-01-03", "USD", 1.020124],
            ["2026-03-05", "USD", 1.1602],
            ["2026-03-06", "USD", 1.1618],
            ["2026-03-08", "USD", 1.162],
            ["2026-03-09", "USD", 1.165],
        ],
    ),
    (
        "rate_history",
        "symbols=USD&start_date=2026-03-01&end_date=2026-03-09&as_of=2026-03-07",
        ["date", "currency", "rate"],
        [["2026-03-05", "USD", 1.1602], ["2026-03-06", "USD", 1.16]],
    ),
    ("rate_history", "symbols=", [], []),
    *(
        (
            "stored_days",
            query,
            ["base", "first_date", "last_date", "days", "rates", "nearest_before", "nearest_after"],
            rows,
        )
        for query, rows in [
            ("", stored("1999-01-04", "2026-03-09", 7, 38, None, None)),
            (
                "start_date=2026-03-06&end_date=2026-03-08",
                stored("2026-03-06", "2026-03-08", 2, 14, "2026-03-05", "2026-03-09"),
            ),
            (
                "start_date=2026-03-07&end_date=2026-03-07",
                stored(None, None, 0, 0, "2026-03-06", "2026-03-08"),
            ),
            (
                "start_date=2026-03-06&as_of=2026-03-08",
                stored("2026-03-06", "2026-03-06", 1, 7, "2026-03-05", None),
            ),
            (
                "start_date=2026-03-06&end_date=2026-03-06&as_of=2026-03-06",
                stored(None, None, 0, 0, "2026-03-05", None),
            ),
            ("as_of=2026-03-05", stored(None, None, 0, 0, None, None)),
        ]
    ),
    (
        "currencies",
        "",
        ["code", "name", "first_date", "last_date"],
        [
            [code, NAMES[code], first, "2026-03-09"]
            for code, first in [
                ("BTC", "2026-03-05"),
                ("EUR", "1999-01-04"),
                ("GBP", "1999-01-04"),
                ("IDR", "2026-03-05"),
                ("JPY", "2000-01-03"),
                ("USD", "1999-01-04"),
                ("XAU", "2026-03-05"),
            ]
        ],
    ),
    (
        "day_fetches",
        "date=2026-03-06",
        ["date", "fetch_id", "fetched_at", "provider", "endpoint", "still_current", "replaced"],
        [
            ["2026-03-06", 2, "2026-03-07T00:05:00.000000Z", "fixer", "historical", 5, 2],
            ["2026-03-06", 3, "2026-03-08T00:05:00.000000Z", "fixer", "historical", 2, 0],
        ],
    ),
    (
        "day_fetches",
        "",
        ["date", "fetch_id", "fetched_at", "provider", "endpoint", "still_current", "replaced"],
        [["2026-03-09", 5, "2026-03-10T00:05:00.000000Z", "fixer", "historical", 7, 0]],
    ),
    ("day_fetches", "date=2026-03-07", [], []),
    (
        "day_revisions",
        "date=2026-03-06",
        REVISED,
        [revised("GBP", 0.86, 0.8672), revised("USD", 1.16, 1.1618)],
    ),
    ("day_revisions", "date=2026-03-05", [], []),
    ("currency_revisions", "currency=usd", REVISED, [revised("USD", 1.16, 1.1618)]),
    ("currency_revisions", "currency=JPY", [], []),
    (
        "coverage",
        "start_date=2000-01-01",
        ["date", "currencies", "revised", "rejected"],
        [
            ["2000-01-03", 4, 0, 0],
            ["2026-03-05", 7, 0, 0],
            ["2026-03-06", 7, 2, 0],
            ["2026-03-08", 7, 0, 0],
            ["2026-03-09", 7, 0, 0],
        ],
    ),
    ("coverage", "end_date=1999-01-04", [], [["1999-01-04", 3, 0, 0]]),
    (
        "content_changes",
        "start_date=2026-03-06",
        ["date", "before", "changed"],
        [["2026-03-06", "2026-03-05", 6], ["2026-03-08", "2026-03-06", 6], ["2026-03-09", "2026-03-08", 6]],
    ),
    (
        "wanted_ranges",
        "",
        ["first_date", "last_date"],
        [["1999-01-04", "1999-01-05"], ["2000-01-03", "2000-01-03"], ["2026-03-05", None]],
    ),
]


@pytest.mark.parametrize(("name", "query", "columns", "rows"), ANSWERS)
async def test_a_query_returns_these_rows(
    api: Api, name: str, query: str, columns: list[str], rows: list[list[Any]]
) -> None:
    document = (await api.get(f"/fx/{name}.json?{query}")).json()
    assert document["ok"]
    assert document["rows"] == rows
    if columns:
        assert document["columns"] == columns
    table = await api.get(f"/fx/{name}.csv?{query}")
    assert table.text.splitlines() == [
        ",".join(document["columns"]),
        *(",".join("" if value is None else str(cell(value)) for value in row) for row in rows),
    ]


PRIVATE = {name for name, query in QUERIES.items() if query.get("allow")}
"""The queries for operators. Other tests cover their results."""


def test_every_public_query_is_in_the_list() -> None:
    assert {name for name, *_ in ANSWERS} | PRIVATE == set(QUERIES)


def test_the_store_judges_the_content_by_the_same_query() -> None:
    assert QUERIES["content_changes"]["sql"].split() == STEPS.split()


@pytest.mark.parametrize("name", sorted(PRIVATE))
async def test_private_queries_are_closed_to_visitors(api: Api, name: str) -> None:
    for format_ in ("", ".json", ".csv"):
        assert (await api.get(f"/fx/{name}{format_}")).status_code == 403


@pytest.mark.parametrize("name", sorted(set(QUERIES) - PRIVATE))
async def test_a_query_has_a_page_with_a_field_for_each_parameter(api: Api, name: str) -> None:
    query = QUERIES[name]
    assert query["title"]
    assert query["description"]
    assert set(query["params"]) == set(re.findall(r":([a-z_]+)", query["sql"]))
    page = await api.get(f"/fx/{name}")
    assert page.status_code == 200
    assert query["title"] in page.text
    for parameter in query["params"]:
        assert f'name="{parameter}"' in page.text


def test_every_table_and_column_is_described(history: History) -> None:
    described = DATABASE["tables"]
    for table in history.db.tables:
        about = described[table.name]
        if not about.get("hidden"):
            assert about["title"]
            assert about["description"]
            assert set(about["columns"]) == {column.name for column in table.columns}
    # Litestream adds tables to a database that it replicates.
    replicated = {"_litestream_lock", "_litestream_seq"}
    assert set(described) == {table.name for table in history.db.tables} | replicated


async def test_each_table_and_query_has_its_own_title_and_address(api: Api) -> None:
    cards = re.findall(r'<li><a href="([^"]+)">([^<]+)</a>', (await api.get("/fx")).text)
    assert len(cards) == len({address for address, _ in cards}) == len({title for _, title in cards})
    assert ("/fx/symbols", "Currencies") in cards
    assert (await api.get("/fx/symbols?_sort_desc=code")).status_code == 200  # only a table can be sorted


def plan_of(path: Path, sql: str, **parameters: str) -> list[str]:
    """Return the lines of EXPLAIN QUERY PLAN."""
    connection = sqlite3.connect(path)
    try:
        values = {name: parameters.get(name, "") for name in re.findall(r":([a-z_]+)", sql)}
        return [line for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    finally:
        connection.close()


@pytest.mark.parametrize("name", QUERIES)
@pytest.mark.parametrize("analysed", [False, True], ids=["no statistics", "statistics"])
def test_no_query_reads_a_whole_table_of_rates(history: History, name: str, analysed: bool) -> None:
    if analysed:
        history.db.execute("ANALYZE")
    # With statistics, SQLite looks at the values too. Nearly all calls are of earlier months.
    few = {"start_date": "2026-03-05", "end_date": "2026-03-09", "month_start": "2026-04-01"}
    plan = plan_of(history.path, QUERIES[name]["sql"], **few)
    # `days` may be scanned through an index, from the newest day until one is found.
    assert [line for line in plan if re.match(r"SCAN (rates|revisions|fetches)\b(?!.*USING)", line)] == []
    assert [line for line in plan if re.match(r"SCAN (rates|revisions)\b", line)] == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("rates_by_date", "SEARCH rates USING PRIMARY KEY (date=?)"),
        ("rates_by_range", "SEARCH rates USING PRIMARY KEY (date>? AND date<?)"),
        (
            "rate_history",
            "SEARCH rates USING COVERING INDEX rates_by_currency (currency=? AND date>? AND date<?)",
        ),
        ("stored_days", "SEARCH days USING PRIMARY KEY (date>? AND date<?)"),
        ("stored_days", "SEARCH fetches USING COVERING INDEX fetches_by_fetched_at (fetched_at<?)"),
    ],
)
def test_a_query_uses_an_index(history: History, name: str, index: str) -> None:
    assert index in plan_of(history.path, QUERIES[name]["sql"])


def test_the_api_has_no_other_sql() -> None:
    """The exceptions check the database file, detect commits, and select columns of a query.

    Tokens have their own file and their own SQL.
    """
    found = {
        (path.name, re.findall(r"sqlite_master|data_version|FROM \(\{self\._sql", line)[0])
        for path in (PROJECT / "fx_pipeline" / "api").rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\bSELECT\b|\bINSERT\b|\bPRAGMA\b|\bUPDATE\b.*\bSET\b", line)
        and path.parent.name != "tokens"
    }
    assert found == {
        ("files.py", "sqlite_master"),
        ("served.py", "sqlite_master"),
        ("commits.py", "data_version"),
        ("queries.py", "FROM ({self._sql"),
    }


async def test_an_endpoint_is_closed_if_one_of_its_queries_is(
    history: History, open_api: OpenApi, metadata: dict[str, Any]
) -> None:
    metadata["queries"]["rates_by_date"]["allow"] = {"id": "reports"}
    api = open_api(history.path)
    answers = {path: (await api.get(path)).status_code for path in ("/rates/latest", "/rates/2026-03-05..")}
    assert answers == {"/rates/latest": 403, "/rates/2026-03-05..": 200}
    metadata["allow"] = {"id": "reports"}
    api = open_api(history.path)
    for path in ("/rates/latest", "/rates/2026-03-05..", "/rates/symbols", "/rates/"):
        response = await api.get(path)
        assert response.status_code == 403
        assert response.json()["error"]["code"] == 105
    assert (await api.get("/-/health")).status_code == 200


@pytest.mark.parametrize("path", ["/rates/2026-03-09/", "/rates/2026-03-05..2026-03-09/"])
async def test_a_request_that_waits_for_the_file_delays_no_other(
    history: History, open_api: OpenApi, path: str
) -> None:
    history.close()
    other = sqlite3.connect(history.path, isolation_level=None, check_same_thread=False)
    with closing(other):
        other.execute("PRAGMA journal_mode = DELETE")
        api = open_api(history.path)
        assert (await api.get("/-/health")).status_code == 200
        assert (await api.get("/rates/")).status_code == 200
        other.execute("BEGIN EXCLUSIVE")
        unlocked = threading.Timer(3, other.rollback)
        unlocked.start()
        waiting = asyncio.create_task(api.get(path))
        assert (await api.get("/static/pages.css")).status_code == 200
        assert unlocked.is_alive(), "the request for a static file has waited for the lock"
        assert not waiting.done()
        unlocked.cancel()
        unlocked.join()
        other.rollback()
        assert (await waiting).status_code == 200


async def test_work_that_takes_longer_than_expected_restarts_in_a_lane(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await api.get("/rates/2026-03-09/?base=USD")
    monkeypatch.setattr(reader, "IN_EVENT_LOOP", Limit(0))
    answer = await api.get("/rates/2026-03-09/?base=USD")
    assert (answer.status_code, answer.json()) == (200, expected.json())
