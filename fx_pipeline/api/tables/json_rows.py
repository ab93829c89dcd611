"""JSON of tables, rows and canned queries: Datasette's, with the API's errors, and a header if it is cut."""

from collections.abc import Iterable
from typing import Any

from datasette import Request, Response
from datasette.renderer import json_renderer
from datasette.utils import path_with_format
from datasette.utils.asgi import BadRequest, MultiParams

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.parameters import quoted
from fx_pipeline.api.failures import UNREADABLE

_NAMES = "_shape _nl _json _json_infinity _timelimit _ttl _dl _header _stream _hide_sql _show_sql"
OF_QUERIES = frozenset(_NAMES.split())
"""Datasette's parameters that have an effect on canned queries."""

SHAPES = ("arrays", "arrayfirst", "array", "object", "objects")


async def render(
    args: MultiParams, data: dict[str, Any], view_name: str, request: Request, datasette: FxDatasette
) -> Response:
    """Return the response, which names the source of the rates.

    Raise BadRequest if a canned query failed or a shape does not exist.
    """
    if data.get("error"):
        raise BadRequest(UNREADABLE)  # Datasette repeats SQLite's message, which quotes SQL
    if data.get("query_name"):
        check_query(args)
    shape = args.get("_shape", "arrays")
    if shape not in SHAPES:
        raise BadRequest(f"There is no _shape {quoted(shape)}. The shapes are {', '.join(SHAPES)}.")
    if shape == "object" and "primary_keys" not in data:
        raise BadRequest("_shape=object is only for tables: it needs the keys of the rows.")
    data |= await _source(datasette)
    is_cut, rows = data.get("truncated"), len(data.get("rows", ()))
    response = json_renderer(args, data, view_name)
    if is_cut:
        # A bare array cannot say so in its body.
        path = path_with_format(request=request, format="csv", replace_format="json")
        whole = datasette.urls.path(path)
        response.headers["x-truncated"] = f"{rows} rows"
        response.headers["link"] = f'<{whole}>; rel="alternate"; type="text/csv"'
    return response


async def _source(datasette: FxDatasette) -> dict[str, str]:
    """Return the members that Datasette gives its JSON for a source in its metadata, which cannot change."""
    name, url = await datasette.demonstration.source()
    return {"source": name, "source_url": url} if url else {"source": name}


def check_query(args: Iterable[str]) -> None:
    """Raise BadRequest for a parameter of Datasette that has no effect on a canned query."""
    for name in args:
        if name.startswith("_") and name not in OF_QUERIES:
            raise BadRequest(
                f"A query has no parameter {quoted(name)}. It always returns all rows, in its own order."
            )
