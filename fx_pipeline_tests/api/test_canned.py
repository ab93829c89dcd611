"""Parameters of canned queries: unknown names, dates that do not exist, and what the API refuses too."""

import pytest

from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.error_texts import GBP_PENCE as PENCE
from fx_pipeline_tests.api.metadata import QUERIES

FEBRUARY = "2023-02-29 does not exist: February 2023 has 28 days."
REVERSED = "The end 2026-03-05 is before the start 2026-03-06."
FUTURE = "2026-03-11 is in the future: today is 2026-03-10 (UTC)."
FORM = "is not a date of the form YYYY-MM-DD."
REFUSED = [
    ("rates_by_date", "date=2023-02-29", f"date: {FEBRUARY}"),
    ("rates_by_date", "date=2024-1-1", f"date: '2024-1-1' {FORM}"),
    ("rates_by_date", "date=2026-03-06&as_of=2023-02-29", f"as_of: {FEBRUARY}"),
    ("rates_by_date", "as_of=2023-02-29T12:00:00Z", f"as_of: {FEBRUARY}"),
    (
        "rates_by_date",
        "as_of=2026-03-07T25:00",
        "as_of: '2026-03-07T25:00' is neither a date nor a time ",
    ),
    ("rates_by_date", "as_of=yesterday", f"as_of: 'yesterday' {FORM}"),
    ("rates_by_date", "as_of=2461108", f"as_of: '2461108' {FORM}"),
    ("rates_by_date", "as_of=now", f"as_of: 'now' {FORM}"),
    ("rates_by_range", "start_date=2023-02-29", f"start_date: {FEBRUARY}"),
    ("rates_by_range", "start_date=2026-03-05&end_date=2026-02-30", "end_date: 2026-02-30 does not exist: "),
    ("rate_history", "symbols=USD&end_date=2026", f"end_date: '2026' {FORM}"),
    ("rate_history", "symbols=USD,GBp", f"'GBp' among the symbols {PENCE}"),
    ("rate_history", "symbol=USD", "This endpoint has no parameter 'symbol'. It has: symbols, start_date, "),
    *(
        (
            "rate_history",
            f"symbols=USD,{sent}",
            f"{shown} among the symbols is not a three-letter currency code",
        )
        for sent, shown in (("%22", "'\"'"), ("%5C", r"'\\'"), ("'", '"\'"'), ("%00", r"'\x00'"))
    ),
    ("stored_days", "end_date=2023-02-29", f"end_date: {FEBRUARY}"),
    ("coverage", "start_date=2023-02-29", f"start_date: {FEBRUARY}"),
    ("day_fetches", "date=2023-02-29", f"date: {FEBRUARY}"),
    ("day_revisions", "date=2023-02-29", f"date: {FEBRUARY}"),
    ("currency_revisions", "currency=GBp", f"'GBp' {PENCE}"),
    ("rates_by_date", "base=USD", "This endpoint has no parameter 'base'. It has: date, as_of."),
    ("rates~5Fby~5Fdate", "date=2023-02-29", f"date: {FEBRUARY}"),
    ("rates%5Fby_date", "date=2023-02-29", f"date: {FEBRUARY}"),
    *(
        (query, f"start_date=2026-03-06&end_date=2026-03-05{rest}", REVERSED)
        for query, rest in (
            ("rates_by_range", ""),
            ("rate_history", "&symbols=USD"),
            ("stored_days", ""),
            ("coverage", ""),
        )
    ),
    *(
        (query, "date=2026-03-11", f"date: {FUTURE}")
        for query in ("rates_by_date", "day_fetches", "day_revisions")
    ),
    ("rates_by_range", "start_date=2026-03-11", f"start_date: {FUTURE}"),
    ("rates_by_range", "end_date=2026-03-11", f"end_date: {FUTURE}"),
    ("rate_history", "symbols=QQQ", "Unknown currency: QQQ. "),
    ("rate_history", "symbols=usd,%20JPY,QQQ,ZWL", "Unknown currency: QQQ, ZWL. "),
    ("currency_revisions", "currency=ZWL", "Unknown currency: ZWL. "),
    ("rate_history", "symbols=USD&symbols=GBP", "The parameter 'symbols' is given more than once."),
    ("day_fetches", "date=2026-03-06&date=2026-03-08", "The parameter 'date' is given more than once."),
    ("latest_date", "date=2023-02-28", "This endpoint has no parameter 'date'. It has none."),
]


@pytest.mark.parametrize(("query", "parameters", "info"), REFUSED)
@pytest.mark.parametrize("extension", ["json", "csv"])
async def test_refuses_parameters_that_a_query_would_misread(
    api: Api, query: str, parameters: str, info: str, extension: str
) -> None:
    response = await api.get(f"/fx/{query}.{extension}?{parameters}")
    assert response.status_code == 400
    assert response.json()["message"].startswith(info)


@pytest.mark.parametrize(("query", "parameters", "info"), REFUSED)
async def test_the_page_of_a_query_refuses_them_too(api: Api, query: str, parameters: str, info: str) -> None:
    if parameters.startswith("base="):
        return  # this page has it
    response = await api.get(f"/fx/{query}?{parameters}")
    assert response.status_code == 400
    assert response.headers["content-type"].startswith("text/html")
    shown = info.replace("This endpoint", "This page")
    assert shown.partition("'")[0].partition(" mixes")[0] in response.text


@pytest.mark.parametrize("query", sorted(QUERIES))
async def test_ignores_empty_parameters(api: Api, query: str) -> None:
    """The form of the page sends them. Names with a leading underscore are Datasette's."""
    empty = "&".join(f"{name}=" for name in QUERIES[query]["params"])
    plain = await api.get(f"/fx/{query}.json?_shape=array")
    sent = await api.get(f"/fx/{query}.json?{empty}&_shape=array&utm_source=x")
    assert (sent.status_code, sent.content) == (plain.status_code, plain.content)


async def test_the_page_of_a_day_accepts_a_base(api: Api) -> None:
    assert (await api.get("/fx/rates_by_date?date=2026-03-09&base=USD")).status_code == 200
    assert (await api.get("/fx/rates_by_date?date=2026-03-09&symbols=USD")).status_code == 400


async def test_leaves_the_filters_of_tables_unchanged(api: Api) -> None:
    assert (await api.get("/fx/rates.json?currency=USD&date__gte=2026-03-06")).status_code == 200
