"""Parameters that Datasette's tables cannot use get an error: no 500, no SQL, no unrelated rows."""

import itertools
import json
import re
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History

LOOKUPS = (
    "arraycontains, arraynotcontains, contains, date, endswith, exact, glob, gt, gte, in, isblank, isnull, "
    "like, lt, lte, not, notblank, notin, notlike, notnull, startswith"
)
UNREADABLE = "This request cannot be read: a parameter or a key has an invalid form."


def not_a_number(text: str) -> str:
    return f"rate is a number, and {text!r} is not. Write digits, with a point before the decimals."


def no_place(text: str) -> str:
    return f"_next is {text!r}, which is not the start of any page."


def no_column(name: str) -> str:
    return f"There is no column {name!r}. The columns are date, currency, rate, fetch_id."


def not_of_a_query(name: str) -> str:
    return f"A query has no parameter {name!r}. It always returns all rows, in its own order."


def no_shape(name: str) -> str:
    return f"There is no _shape {name!r}. The shapes are arrays, arrayfirst, array, object, objects."


REFUSED = [
    ("/fx/rates.json?_next=xxx", no_place("xxx")),
    ("/fx/rates.json?_next=2026-03-05,2026-03-05", no_place("2026-03-05,2026-03-05")),
    ("/fx/days.json?_next=xxx", no_place("xxx")),
    ("/fx/rejected_rates.json?_sort=fetch_id&_next=x,1,2026-03-05,USD", no_place("x,1,2026-03-05,USD")),
    ("/fx/currencies.json?_next=a,b,c", not_of_a_query("_next")),
    ("/fx/currencies.json?_size=3", not_of_a_query("_size")),
    ("/fx/rates.json?rate__lt=1,5", not_a_number("1,5")),
    ("/fx/rates.json?rate__gt=1,5", not_a_number("1,5")),
    ("/fx/rates.csv?rate__gte=1,5", not_a_number("1,5")),
    ("/fx/rates.json?rate=1,5", not_a_number("1,5")),
    ("/fx/rates.json?rate__in=1.5,many", not_a_number("many")),
    (
        "/fx/rates.json?date__gt=01/02/2026",
        "date is a date, and '01/02/2026' is not. Write it as YYYY-MM-DD.",
    ),
    ("/fx/rates.json?date=2023-02-29", "date: 2023-02-29 does not exist: February 2023 has 28 days."),
    ("/fx/days.csv?date__gte=2026-13-01", "date: 2026-13-01 does not exist: months are 01 to 12."),
    ("/fx/rates.json?nothing=1", no_column("nothing")),
    ("/fx/rates.json?nothing__gt=1", no_column("nothing")),
    ("/fx/rates.json?__exact=1", no_column("")),
    ("/fx/rates.json?rate__above=1", f"There is no condition 'above'. The conditions are {LOOKUPS}."),
    ("/fx/rates.json?_search=dollar", "A table has no parameter '_search'."),
    ("/fx/rates.json?_fts_table=symbols&_search=x", "A table has no parameter '_fts_table'."),
    ("/fx/rates.json?_order=date", "A table has no parameter '_order'."),
    ("/fx/rates.json?_size=-1", "_size must be a positive integer"),
    ("/fx/rates.json?_sort=nothing", "Cannot sort table by nothing"),
    ("/fx/rates.json?_col=nothing", "_col=nothing - invalid columns"),
    ("/fx/rates.json?_shape=nothing", no_shape("nothing")),
    ("/fx/currencies.json?_shape=nothing", no_shape("nothing")),
    ("/fx/currencies.json?_shape=object", "_shape=object is only for tables: it needs the keys of the rows."),
    ("/fx/rates.json?date__in=[1,", UNREADABLE),
    ("/fx/rates.json?_facet=currency", "_facet= is not allowed"),
]


@pytest.mark.parametrize(("path", "info"), REFUSED, ids=[path for path, _ in REFUSED])
async def test_refuses_parameters_without_meaning(api: Api, path: str, info: str) -> None:
    response = await api.get(path)
    assert (response.status_code, response.json()) == (
        400,
        {
            "success": False,
            "status": 400,
            "message": info,
            "error": {"code": 400, "type": "bad_request", "info": info},
        },
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("rate__gt=1.5", {"IDR", "JPY"}),
        ("rate__lt=1e-4", {"BTC"}),
        ("rate__in=[1,184.125]", {"EUR", "JPY"}),
        ("currency__in=USD,GBP", {"USD", "GBP"}),
        ("currency__startswith=U", {"USD"}),
        ("date__gte=2026&rate=1", {"EUR"}),
        ("rate__notnull=1&currency=XAU", {"XAU"}),
        ("_filter_column=currency&_filter_op=exact&_filter_value=USD", {"USD"}),
    ],
)
async def test_filters_select_rows(api: Api, query: str, found: set[str]) -> None:
    address = f"/fx/rates.json?date=2026-03-09&_shape=objects&{query}"
    response = await api.client.get(address, follow_redirects=True)
    assert {row["currency"] for row in response.json()["rows"]} == found


ORDERS = [
    ("rates", ""),
    *(
        ("rates", f"&_sort{way}={name}")
        for way in ("", "_desc")
        for name in ("date", "currency", "rate", "fetch_id")
    ),
    ("rates", "&_sort_desc=date&currency__not=GBP"),
    ("days", ""),
    ("days", "&_sort_desc=currencies"),
    ("revisions", ""),
    ("revisions", "&_sort=superseded_by"),
    ("rejected_rates", ""),
    ("rejected_rates", "&_sort=value"),
    ("rejected_rates", "&_sort_desc=value"),
]


@pytest.mark.parametrize(("table", "order"), ORDERS)
async def test_pages_together_hold_each_row_once(api: Api, history: History, table: str, order: str) -> None:
    """Each row once, in the order of the whole table."""
    history.db.table("rejected_rates").insert_all(
        {
            "fetch_id": place % 3 + 1,
            "date": f"2026-03-0{place}",
            "currency": "€",
            "value": value,
            "reason": "bad",
        }
        for place, value in enumerate(("", "0", "-1", "€", "\U0010fffe", "nan", "=1"), 1)
    )
    whole = (await api.get(f"/fx/{table}.json?_size=max{order}")).json()["rows"]
    rows, path = [], f"/fx/{table}.json?_size=2{order}"
    while path:
        page = (await api.get(path)).json()
        rows += page["rows"]
        path = page["next_url"]
    assert rows == whole
    stored = [tuple(row.values()) for row in history.db.table(table).rows]
    chosen = [row for row in stored if "GBP" not in order or "GBP" not in row]
    assert sorted(map(tuple, rows)) == sorted(chosen)


NAMES = [
    "_size", "_next", "_sort", "_sort_desc", "_sort_by_desc", "_col", "_nocol", "_shape", "_nl",
    "_json", "_json_infinity", "_labels", "_label", "_nocount", "_nofacet", "_nosuggest", "_timelimit",
    "_ttl", "_where", "_through", "_dl", "_header", "_stream", "_blob_column", "_blob_hash", "_facet",
    "_facet_date", "_facet_array", "_facet_size", "_filter_column", "_filter_column_1", "_filter_op",
    "_filter_value", "_search", "_search_date", "_searchmode", "_fts_table", "_fts_pk", "_extras",
    "_trace", "_format", "_hide_sql", "_show_sql", "sql", "date", "currency", "rate", "fetch_id",
    "date__gt", "rate__lt", "rate__in", "rate__date", "date__arraycontains", "rate__contains",
    "currency__glob", "currency__like", "rate__isnull", "__exact", "x__exact", "rate__x", "x", "as_of",
    "start_date", "symbols", "month_start", "\x00", "'", '"', "]", "a b", ":p0", "?",
]  # fmt: skip
VALUES = [
    "", "1", "-1", "xxx", "a,b,c", "2026-03-05,USD", "$null", "'", '"', "]", "[1,", "{", '{"a":1}', "%",
    "\x00", "\ud7ff", "99999999999999999999", "1e999", "max", "rate", "currency",
]  # fmt: skip

SUBJECTS = [
    "/fx/rates", "/fx/rates.json", "/fx/rates.csv", "/fx/days.json", "/fx/symbols", "/fx/symbols.json",
    "/fx/symbols.csv", "/fx/revisions", "/fx/rejected_rates.json", "/fx/rates_by_date.json",
    "/fx/rates_by_range.json", "/fx/rate_history", "/fx/rate_history.csv", "/fx/stored_days.json",
    "/fx/coverage", "/fx/rates/2026-03-06,USD", "/fx/rates/2026-03-06,USD.json",
    "/fx/rates/2026-03-06,USD.csv", "/fx/days/x.json", "/fx/rates/1", "/fx/nothing/1",
    "/fx/nothing.json", "/fx/rates.blob", "/fx", "/.json", "/", "/fx/rates_by_date",
    "/currency/USD", "/rates/latest", "/nothing", "/_internal.json",
]  # fmt: skip

SIGNS_OF_SQL = [
    "select ", "no such ", "near ", "syntax error", "incomplete input", "unrecognized", "traceback", "sqlite",
    "mismatch", "binding", "interrupted", ".py", "malformed", "ambiguous", " from ",
]  # fmt: skip


async def look(api: Api, path: str) -> None:
    """Send the request, and check the response."""
    response = await api.get(path)
    assert response.status_code in (200, 301, 302, 400, 403, 404), path
    if response.status_code >= 400:
        said = response.text.partition('<main id="content"')[2] or response.text
        assert [sign for sign in SIGNS_OF_SQL if sign in said.lower()] == [], path
    elif response.headers.get("content-type", "").startswith("application/json"):
        document = response.json()
        assert not isinstance(document, dict) or not document.get("error"), path


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_survives_any_parameter_with_any_value(api: Api, subject: str) -> None:
    for place, name in enumerate(NAMES):
        # A few values with each name. Across all pages, every value is tried with most names.
        for value in itertools.islice(VALUES, (place + len(subject)) % 8, None, 8):
            await look(api, f"{subject}?{quote(name)}={quote(value)}")


pairs = st.tuples(st.sampled_from(NAMES) | st.text(max_size=8), st.sampled_from(VALUES) | st.text(max_size=8))


@settings(
    max_examples=150,
    deadline=None,
    # All examples share one read-only API.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(subject=st.sampled_from(SUBJECTS), query=st.lists(pairs, min_size=1, max_size=4))
async def test_survives_any_combination_of_parameters(
    api: Api, subject: str, query: list[tuple[str, str]]
) -> None:
    written = "&".join(
        f"{quote(name, errors='replace')}={quote(value, errors='replace')}" for name, value in query
    )
    response = await api.get(f"{subject}?{written}")
    assert response.status_code < 500
    if response.status_code >= 400 and response.headers["content-type"].startswith("application/json"):
        assert json.loads(response.text)["success"] is False


@pytest.mark.parametrize(
    "path", ["/fx/rates", "/fx/rates.json", "/fx/rates.csv", "/fx/rates_by_range", "/fx/rates_by_range.json"]
)
async def test_a_slow_query_gets_an_error_without_sql(api: Api, history: History, path: str) -> None:
    history.db.table("rates").insert_all(
        {"date": f"2001-{day:04}", "currency": "AAA", "rate": day, "fetch_id": 1} for day in range(1, 2000)
    )
    sort = "" if "range" in path else "_sort=rate&"
    response = await api.get(f"{path}?{sort}_timelimit=-1")
    assert response.status_code == 400
    said = response.text.partition('<main id="content"')[2] or response.text
    assert "This takes too long. Request fewer rows." in said
    assert "select" not in said.lower()


LONG = [
    "a" * 300,
    "a/" * 3000,
    "%2F" * 1000,
    "%00",
    "..%2f" * 200,
    "a" * 300 + ".json",
    "~2F" * 300,
    "%ff" * 100,
]


PLACES = [
    "/static/{}", "/-/static/{}", "/-/static-plugins/{}", "/-/static-plugins/x/{}", "/-/{}", "/-/health/{}",
    "/{}", "/{}.db", "/fx/{}", "/fx/{}.csv", "/fx/rates/{}", "/fx/rates/{}.csv", "/fx/rates_by_date/{}",
    "/currency/{}", "/rates/{}",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", LONG, ids=[part[:10] for part in LONG])
async def test_survives_long_and_odd_paths(api: Api, place: str, part: str) -> None:
    response = await api.get(place.format(part))
    assert response.status_code in (301, 302, 400, 401, 403, 404)
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/fx/rejected_rates", "No rows."),
        ("/fx/rates?currency=CHF", "No rows where currency = &#34;CHF&#34;."),
        ("/fx/rates?rate__gt=1e9&_sort=rate", "No rows where rate &gt; 1e9."),
        ("/fx/rates?_next=1998-01-01,1998-01-01,USD", "No rows on this page."),
    ],
)
async def test_a_page_without_rows_says_so_once(api: Api, path: str, said: str) -> None:
    page = (await api.get(path)).text
    main = page[page.index("<main") : page.index("</main>")]
    assert re.findall(r"<p[^>]*>([^<]*rows?\b[^<]*)", main, re.IGNORECASE) == [said]
