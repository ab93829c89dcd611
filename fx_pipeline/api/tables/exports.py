"""CSV exports of tables, rows and canned queries (RFC 4180): all rows of one state of the database, or a 400.

Datasette's own CSV stops after a page of 100 or 1,000 rows without saying so. It also writes texts that
start with "=" or "@" unchanged, and spreadsheets run these as formulas (OWASP: CSV Injection).
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

from datasette import NotFound, Request, Response
from datasette.utils import InvalidSql, path_from_row_pks, tilde_decode
from datasette.utils.asgi import BadRequest
from datasette.views.base import DatasetteError
from datasette.views.row import RowView
from datasette.views.table import TableView

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.days import MOST_RATES as MOST_ROWS
from fx_pipeline.api.failures import SQL_FAILED
from fx_pipeline.api.reading.queries import DATABASE, Queries
from fx_pipeline.api.reading.reader import Size
from fx_pipeline.api.replies import CSV, REVALIDATE, Reply, respond
from fx_pipeline.api.tables.json_rows import check_query
from fx_pipeline.rates import as_number
from fx_pipeline.sqlite import sqlite3

OF_ROWS = ("_size", "_labels", "_label", "_shape", "_nl", "_nocount", "_nofacet")
"""Parameters that say how Datasette shows rows, not which rows."""

_STREAM = f"_stream is not available. A CSV has all rows without it, up to {MOST_ROWS:,}."
_TOO_MANY = (
    f"This has more than {MOST_ROWS:,} rows, the limit of one CSV. Select fewer, for example with "
    "?date__gte=2026-01-01&date__lt=2027-01-01 or ?currency=USD, or request "
    "/rates/2026-01-01..2026-12-31.csv. With ?_size=1000, the rows come in pages: the Link header of each "
    "page has the address of the next one."
)
_LIMIT = re.compile(r" limit 2$")
_FORMULA = re.compile("(^|[;\t\r\n])(?=[\"']*[=+\\-@\uff1d\uff0b\uff0d\uff20])")
"""Where a spreadsheet would read a formula: at the start of a cell, or after a character that separates cells
in another country."""
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Row = Sequence[Any]


def link(url: str) -> str:
    """Return the link from a page of a table to its CSV with all rows, not only those from this page on."""
    path, _, query = url.partition("?")
    kept = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in (*OF_ROWS, "_next")]
    return f"{path}?{urlencode(kept)}" if kept else path


async def table_csv(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/fx/<table or canned query>.csv``."""
    if "_stream" in request.args:
        raise BadRequest(_STREAM)
    name = tilde_decode(request.url_vars["table"])
    query = await datasette.get_canned_query(DATABASE, name, request.actor)
    if query:
        return await _query_csv(request, datasette, query)
    if request.args.get("_size", "max") == "max":
        return await _whole_table_csv(request, datasette)
    data = await _data(TableView(datasette), request)
    return data if isinstance(data, Response) else _respond(request, datasette, data, data["rows"])


async def row_csv(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/fx/<table>/<key>.csv``."""
    data = await _data(RowView(datasette), request)
    return data if isinstance(data, Response) else _respond(request, datasette, data, data["rows"])


async def _query_csv(request: Request, datasette: FxDatasette, query: Mapping[str, Any]) -> Response:
    check_query(request.args)
    parameters = {name: request.args.get(name, "") for name in query["params"]}

    def read(queries: Queries) -> Response:
        columns, rows = queries.select(query["sql"], parameters)
        return _respond(request, datasette, {"columns": columns}, rows, queries.paced)

    return await datasette.reader.run(
        request.actor, (query["name"],), read, size=Size.LARGE, receive=request.receive
    )


async def _whole_table_csv(request: Request, datasette: FxDatasette) -> Response:
    """Read the table with the SQL that Datasette makes for its first row, with another limit."""
    kept = [
        pair for pair in parse_qsl(request.query_string, keep_blank_values=True) if pair[0] not in OF_ROWS
    ]
    query_string = urlencode([*kept, ("_size", "1"), ("_nocount", "1"), ("_nofacet", "1")])
    first_row = Request({**request.scope, "query_string": query_string.encode("latin-1")}, request.receive)
    data = await _data(TableView(datasette), first_row)
    if isinstance(data, Response):
        return data
    sql, changed = _LIMIT.subn(f" limit {MOST_ROWS + 1}", data["query"]["sql"])
    if changed != 1:
        raise RuntimeError("Datasette no longer ends its SQL with a limit.")

    def read(queries: Queries) -> Response:
        _, rows = queries.select(sql, data["query"]["params"])
        return _respond(request, datasette, {**data, "next_url": None}, rows, queries.paced)

    # Datasette has already checked the permission for the table.
    return await datasette.reader.run(request.actor, (), read, size=Size.LARGE, receive=request.receive)


async def _data(view: TableView | RowView, request: Request) -> dict[str, Any] | Response:
    """Return the data that Datasette shows of a table or a row. It has no public function for this."""
    try:
        answer = await view.data(request)
    except (sqlite3.OperationalError, InvalidSql) as error:
        raise DatasetteError(str(error), title=SQL_FAILED, status=400) from None
    return answer if isinstance(answer, Response) else dict(answer[0])


def _respond(
    request: Request,
    datasette: FxDatasette,
    data: Mapping[str, Any],
    rows: Iterable[Row],
    paced: Callable[[Iterable[Row]], Iterable[Row]] = iter,
) -> Response:
    columns = list(data["columns"])

    def cells(row: Row) -> list[object]:
        return [
            _blob_url(datasette, data, row, column) if isinstance(value, bytes) else cell(value)
            for column, value in zip(columns, row, strict=True)
        ]

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    if request.args.get("_header") != "off":
        writer.writerow(columns)
    for number, row in enumerate(paced(rows)):
        if number == MOST_ROWS:
            raise BadRequest(_TOO_MANY)
        writer.writerow(cells(row))
    response = respond(request, Reply(text.getvalue().encode(), REVALIDATE, CSV))
    if data.get("next_url"):
        response.headers["link"] = f'<{data["next_url"]}>; rel="next"'
    if request.args.get("_dl"):
        response.headers["content-disposition"] = f'attachment; filename="{request.url_vars["table"]}.csv"'
    return response


def cell(value: object) -> object:
    """Return a value for a CSV: a number as the API writes it, or a text that no spreadsheet runs."""
    if isinstance(value, float):
        return as_number(value)
    return _text(value) if isinstance(value, str) else value


@lru_cache(maxsize=20_000)
def _text(value: str) -> str:
    """Return a text for a CSV. Dates and codes repeat, so most are in the cache."""
    if NUMBER.fullmatch(value):
        return value
    text = _FORMULA.sub(r"\1'", value)
    return f"'{text}" if text.startswith(("\t", "\r")) else text


def _blob_url(datasette: FxDatasette, data: Mapping[str, Any], row: Row, column: str) -> str:
    """Return the address of the bytes of a cell. Only tables have such cells."""
    if "table" not in data:
        raise NotFound("This query returns bytes, which CSV cannot hold.")
    key = path_from_row_pks(dict(zip(data["columns"], row, strict=True)), data["primary_keys"], False)
    return str(datasette.urls.row_blob(DATABASE, data["table"], key, column))
