"""The documentation page ``/rates/docs/``: each operation with a request to copy and its current response.

Its forms send requests. A script shows the responses in the page; without it, the browser opens them.
"""

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from datasette import Request
from markupsafe import Markup, escape

from fx_pipeline.api.contract.about import stored_data
from fx_pipeline.api.contract.groups import LATEST_ERRORS
from fx_pipeline.api.contract.openapi import document, parameter_object
from fx_pipeline.api.contract.parameters import DAY
from fx_pipeline.api.endpoints.operation import Context, Operation, Stored
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import KINDS, ApiError, ErrorKind
from fx_pipeline.api.pages.page import Page, PageRequest
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import Reply, error_reply

QUERIES = (
    "rates_by_date",
    "rates_by_range",
    "rate_history",
    "latest_date",
    "stored_days",
    "currencies",
    "content_changes",
)
"""The canned queries that the page needs."""

SHOWN_LINES = 24
"""Lines of a response that the page shows."""

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Call:
    """An operation with an example request and the response to it."""

    operation: Operation[Any]
    parameters: list[Mapping[str, Any]]
    fields: list[Mapping[str, Any]]
    target: str
    response: str
    is_cut: bool
    can_be_filled_in: bool
    errors: tuple[ErrorKind, ...]


def origin(request: Request) -> str:
    """Return the scheme and host of the request. An invalid host is replaced, because the page repeats it."""
    host = request.headers.get("host", "")
    return f"{request.scheme}://{host if _HOST.fullmatch(host) else '127.0.0.1'}"


def page(request: PageRequest, *, origin: str, context_of: Callable[[Queries, dt.datetime], Context]) -> Page:
    """Return the page. It must not be cached: its requests have the host that this client used."""
    context = context_of(request.queries, request.parameters.now)
    stored = stored_data(context)
    return Page(
        "rates_docs.html",
        {
            "section": "api",
            "calls": [
                _call(operation, context, stored)
                for operation in context.operations
                if not operation.has_own_view
            ],
            "errors": sorted(set(KINDS)),
            "info": document(context.operations, stored)["info"],
            "names": request.names(),
            "newest": stored.newest,
            "today": request.today.isoformat(),
            "last_day": request.yesterday.isoformat(),
            "origin": origin,
        },
    )


def _call(operation: Operation[Any], context: Context, stored: Stored) -> Call:
    in_path = {
        parameter.name: as_sent(parameter.example(stored))
        for parameter in operation.parameters
        if parameter.place == "path"
    }
    query = {
        parameter.name: as_sent(parameter.example(stored))
        for parameter in operation.parameters
        if parameter.place == "query" and (parameter.required or parameter.name in ("base", "symbols"))
    }
    target = operation.path.format_map(in_path)
    if query:
        target = f"{target}?{urlencode(query, safe=',')}"
    lines = _lines(_answer(operation, context, in_path, query))
    return Call(
        operation=operation,
        parameters=[parameter_object(parameter, stored) for parameter in operation.parameters],
        fields=[parameter_object(parameter, stored) for parameter in operation.essential],
        target=target,
        response="\n".join(lines[:SHOWN_LINES]),
        is_cut=len(lines) > SHOWN_LINES,
        can_be_filled_in=bool(operation.parameters) and not in_path,
        errors=errors_of(operation),
    )


def errors_of(operation: Operation[Any]) -> tuple[ErrorKind, ...]:
    """Return the possible errors of a request.

    The OpenAPI document has more errors for a single day, because its path accepts a range, too.
    """
    group = LATEST_ERRORS if DAY in operation.parameters else operation.errors
    return group.kinds if group else ()


def _answer(
    operation: Operation[Any], context: Context, path: Mapping[str, str], query: Mapping[str, str]
) -> Reply:
    parameters = Parameters({name: [text] for name, text in query.items()}, context.now)
    try:
        return operation.answer(context, operation.parse(parameters, **path))
    except ApiError as error:
        return error_reply(error.kind, error.info)


def _lines(reply: Reply) -> list[str]:
    if reply.content_type.startswith("text/csv"):
        return reply.body.decode().splitlines()
    return json.dumps(json.loads(reply.body), indent=2, ensure_ascii=False).splitlines()


def as_sent(example: object) -> str:
    """Return an example of a parameter in the form of a query string."""
    return ",".join(example) if isinstance(example, list) else str(example)


def prose(text: str) -> Markup:
    """Return text as HTML, with text between backticks as code."""
    # As a plain string: until Python 3.11, `sub` on Markup escapes the tags that it inserts.
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped before
