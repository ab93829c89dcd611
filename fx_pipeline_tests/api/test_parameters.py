"""Each operation accepts its own parameters, and refuses all others in any form."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fx_pipeline.api.contract.operations import OPERATIONS
from fx_pipeline.api.endpoints.parameters import HARMLESS, is_harmless
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.error_texts import GBP_PENCE
from fx_pipeline_tests.api.server import Server, serving

WANTED = "base, from, symbols, to, amount, as_of"
FORMS = "format, callback"
FRAME = "start_date=2026-03-06&end_date=2026-03-09"

CALLS = [
    ("/rates/latest?", f"{WANTED}, {FORMS}"),
    ("/rates/2026-03-09/?", f"{WANTED}, {FORMS}"),
    ("/rates/2026-03-06..2026-03-09/?", f"{WANTED}, {FORMS}"),
    ("/rates/2026-03-06..?", f"{WANTED}, {FORMS}"),
    (f"/rates/timeseries?{FRAME}&", f"start_date, end_date, {WANTED}, {FORMS}"),
    (f"/rates/fluctuation?{FRAME}&", f"start_date, end_date, base, symbols, as_of, {FORMS}"),
    ("/rates/convert?from=GBP&to=USD&amount=1&", f"from, to, amount, date, as_of, {FORMS}"),
    ("/rates/latest.csv?", f"{WANTED}, wide"),
    ("/rates/2026-03-09.csv?", f"{WANTED}, wide"),
    ("/rates/2026-03-06..2026-03-09.csv?", f"{WANTED}, wide"),
    ("/rates/symbols?", FORMS),
    ("/rates/currencies?", FORMS),
    ("/rates/?", FORMS),
    ("/rates/openapi.json?", FORMS),
]
"""Valid calls, and the parameters of each."""

UNKNOWN = [
    ("currencies=USD", "'currencies'"),
    ("symbols[]=USD", "'symbols[]'"),
    ("symbols%5B%5D=USD&symbols%5B%5D=GBP", "'symbols[]'"),
    ("base_currency=USD", "'base_currency'"),
    ("Base=USD", "'Base'"),
    ("SYMBOLS=USD", "'SYMBOLS'"),
    ("%20base=USD", "' base'"),
    ("amp;base=USD", None),
    ("symbol=USD&start_at=2026-03-06", "'symbol', 'start_at'"),
    ("unknown=", "'unknown'"),
    ("unknown", "'unknown'"),
    ("=USD", "''"),
    ("%FF=1", "'\ufffd'"),
    ("&".join(f"x{number}=1" for number in range(7)), "'x0', 'x1', 'x2', 'x3', 'x4' and 2 more"),
]


@pytest.mark.parametrize(("call", "known"), CALLS)
@pytest.mark.parametrize(("query", "shown"), UNKNOWN, ids=[query for query, _ in UNKNOWN])
async def test_refuses_unknown_parameters(
    api: Api, call: str, known: str, query: str, shown: str | None
) -> None:
    info = f"This endpoint has no parameter {shown}. It has: {known}."
    if shown is None:
        info = "Parameters are separated by &. A semicolon in a value is written %3B."
    response = await api.get(call + query)
    assert response.json()["error"] == {"code": 400, "type": "invalid_parameter", "info": info}
    assert (response.status_code, response.headers["cache-control"]) == (400, "no-store")


@pytest.mark.parametrize(("call", "known"), CALLS)
async def test_ignores_harmless_parameters(api: Api, call: str, known: str) -> None:
    plain = await api.get(call.rstrip("?&"))
    harmless = await api.get(f"{call}access_key=KEY&apikey=KEY&_=1700000000&utm_source=x&utm_campaign=y")
    assert (plain.status_code, harmless.status_code) == (200, 200)
    assert plain.content == harmless.content


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/rates/latest?date=2026-03-06", "date"),
        ("/rates/latest?start_date=2026-03-06", "start_date"),
        ("/rates/2026-03-06?date=2026-03-09", "date"),
        ("/rates/2026-03-06..?end_date=2026-03-08", "end_date"),
        (f"/rates/timeseries?{FRAME}&date=2026-03-09", "date"),
        (f"/rates/fluctuation?{FRAME}&amount=10", "amount"),
        (f"/rates/fluctuation?{FRAME}&from=USD", "from"),
        ("/rates/convert?from=GBP&to=USD&amount=1&symbols=JPY", "symbols"),
        ("/rates/convert?from=GBP&to=USD&amount=1&base=JPY", "base"),
        ("/rates/symbols?base=USD", "base"),
        ("/rates/latest.csv?callback=show", "callback"),
        ("/rates/latest.csv?format=1", "format"),
        ("/rates/latest?wide=1", "wide"),
        ("/rates/2026-03-06..?wide=0", "wide"),
        (f"/rates/timeseries?{FRAME}&wide=1", "wide"),
    ],
)
async def test_refuses_a_parameter_of_another_operation(api: Api, path: str, name: str) -> None:
    response = await api.get(path)
    assert response.status_code == 400
    assert response.json()["error"]["info"].startswith(f"This endpoint has no parameter {name!r}. It has: ")


CONFLICT = "but both mean the same. Send one of them."

REFUSED = [
    ("latest?base=GBp", 201, f"The base 'GBp' {GBP_PENCE}"),
    ("latest?from=GBp", 201, f"The base 'GBp' {GBP_PENCE}"),
    ("latest.csv?base=gBP", 201, f"The base 'gBP' {GBP_PENCE}"),
    ("2026-03-06?symbols=USD,GBp", 202, f"'GBp' among the symbols {GBP_PENCE}"),
    ("2026-03-06..?to=GBp", 202, f"'GBp' in 'to' {GBP_PENCE}"),
    (f"timeseries?{FRAME}&base=Gbp", 201, f"The base 'Gbp' {GBP_PENCE}"),
    (f"fluctuation?{FRAME}&symbols=GBp", 202, f"'GBp' among the symbols {GBP_PENCE}"),
    ("convert?from=GBp&to=USD&amount=100", 402, f"'from' is 'GBp', which {GBP_PENCE}"),
    ("convert?from=USD&to=GBp&amount=100", 402, f"'to' is 'GBp', which {GBP_PENCE}"),
    ("latest?base=USD&from=GBP", 201, f"'base' is 'USD' and 'from' is 'GBP', {CONFLICT}"),
    ("latest?from=GBP&base=USD&symbols=JPY", 201, f"'base' is 'USD' and 'from' is 'GBP', {CONFLICT}"),
    ("latest?symbols=USD,GBP&to=USD", 202, f"'symbols' is 'USD,GBP' and 'to' is 'USD', {CONFLICT}"),
    ("latest?symbols=USD,GBP&to=GBP,USD", 202, f"'symbols' is 'USD,GBP' and 'to' is 'GBP,USD', {CONFLICT}"),
    ("latest?from=USD&from=GBP", 201, "The parameter 'from' is given more than once."),
    ("latest?amount=1&amount=2", 403, "The parameter 'amount' is given more than once."),
    ("latest?base=USD&base=", 201, "The parameter 'base' is given more than once."),
    ("latest?from=EURO", 201, "The base 'EURO' is not a three-letter currency code."),
    ("latest?to=US", 202, "'US' in 'to' is not a three-letter currency code."),
    ("latest?symbols=USD%3BGBP", 202, "'USD;GBP' among the symbols is not a three-letter currency code."),
    ("latest?symbols=USD+GBP", 202, "'USD GBP' among the symbols is not a three-letter currency code."),
    ("latest?from=QQQ", 201, "Unknown currency: QQQ. See /rates/symbols for the available codes."),
    ("latest?to=QQQ", 202, "Unknown currency: QQQ. See /rates/symbols for the available codes."),
    *(
        (f"{path}amount={sent}", 403, f"The amount {shown} is not a number from 1E-18 to 1E+18.")
        for path in ("latest?", "2026-03-06.csv?", "2026-03-06..?symbols=USD&", f"timeseries?{FRAME}&")
        for sent, shown in (
            ("0", "'0'"),
            ("-5", "'-5'"),
            ("1,5", "'1,5'"),
            ("ten", "'ten'"),
            ("1e19", "'1e19'"),
        )
    ),
    ("latest?format=csv", 400, "The format 'csv' is neither 1 (indented) nor 0. CSV is at paths with .csv."),
    ("latest?format=1&format=0", 400, "The parameter 'format' is given more than once."),
    ("latest.csv?wide=yes", 400, "'wide' is 'yes', which is neither 1 (a column for each currency) nor 0."),
    ("2026-03-06...csv?wide=1&wide=0", 400, "The parameter 'wide' is given more than once."),
]


@pytest.mark.parametrize(("call", "code", "info"), REFUSED, ids=[call for call, *_ in REFUSED])
async def test_refuses_invalid_values(api: Api, call: str, code: int, info: str) -> None:
    response = await api.get(f"/rates/{call}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)
    assert response.json()["message"] == info


@pytest.mark.parametrize(
    "path",
    ["/?base=GBp", "/currency/GBp/", "/currency/USD/?base=GBp", "/fx/rates_by_date?base=GBp&date=2026-03-09"],
)
async def test_pages_refuse_codes_of_minor_units(api: Api, path: str) -> None:
    response = await api.get(path)
    assert response.status_code == 400
    assert "mixes upper and lower case" in response.text


def test_no_parameter_is_left_out_of_the_cache_key() -> None:
    """The cache ignores only harmless parameters."""
    declared = {name for operation in OPERATIONS for name in operation.query_names}
    assert {"base", "from", "symbols", "to", "amount", "as_of", "format", "callback"} < declared
    assert not [name for name in declared if is_harmless(name)]
    assert all(is_harmless(name) for name in (*HARMLESS, "utm_source"))
    assert not is_harmless("utm")


@pytest.fixture(scope="module")
def server(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(written, folder / "fx.db")
    with serving(folder / "fx.db", folder / "log") as server:
        yield server


def ask(server: Server, path: str, method: str = "GET", cookie: str = "") -> tuple[int, bytes]:
    """Return status and body of a request. The path is sent unchanged, as HTTP clients would not."""
    head = f"{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{cookie}\r\n"
    response = server.raw(head.encode("latin-1"))
    return int(response.split(b" ", 2)[1]), response.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("cookie", ["", "Cookie: ds_actor=x\r\n"])
@pytest.mark.parametrize(
    "path",
    [
        "/rates//",
        "/rates///",
        "/rates//latest",
        "/rates/latest//",
        "/rates/./latest",
        "/rates/../rates/latest",
        "/rates/latest/.",
        "/rates/latest/..",
        "/rates/%2e/latest",
        "/rates/%2Flatest",
        "/rates/latest%2F",
        "/rates/latest%2f/",
        "/rates/latest;base=USD",
        "/rates/latest%3Fbase=USD",
        "/rates/latest%20",
        "/rates/LATEST",
        "/rates/\\latest",
        "//rates/latest",
        "//rates//latest",
        "/./rates/latest",
        "/Rates/latest",
    ],
)
def test_refuses_paths_that_only_resemble_an_endpoint(server: Server, path: str, cookie: str) -> None:
    """Also while the real path is cached, and through Datasette's router."""
    assert ask(server, "/rates/latest")[0] == ask(server, "/rates/")[0] == 200
    assert ask(server, path, cookie=cookie)[0] == 404


def test_every_method_checks_parameters_in_the_same_way(server: Server) -> None:
    assert ask(server, "/rates/latest?currencies=USD", "HEAD") == (400, b"")
    assert ask(server, "/rates/latest?currencies=USD", "POST")[0] == 405
    assert ask(server, "/rates/latest?base=USD", "POST")[0] == 405
    assert ask(server, "/rates/latest?base=USD;symbols=GBP")[0] == 400
    assert ask(server, "/rates/latest?_=1;base=USD")[0] == 400
    assert ask(server, "/rates/latest?access_key=a;base=USD")[0] == 400
