"""The API's page for people, ``/rates/docs/``: each operation with a call to copy and what it answers now.

It loads nothing but style sheets, and runs no script.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from datasette.utils.asgi import Request
from markupsafe import Markup, escape

from fx_pipeline.api.contract.openapi import document, parameters
from fx_pipeline.api.contract.operations import ERRORS, KINDS, OPERATIONS, Operation
from fx_pipeline.api.endpoints import health
from fx_pipeline.api.endpoints.endpoints import Ask, stored
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.endpoints.routes import find
from fx_pipeline.api.errors import ApiError, Kind
from fx_pipeline.api.pages.visit import Page, Visit
from fx_pipeline.api.replies import Reply, error_reply

QUERIES = ("rates_by_date", "rates_by_range", "rate_history", "day_fetches", *health.QUERIES)
"""The canned queries that the page is made from."""

SHOWN_LINES = 24
"""Lines of an answer that the page shows."""

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?")
_PARAMETER_IN_PATH = re.compile(r"\{(\w+)\}")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Call:
    """An operation with the request that shows it, and the answer to that."""

    operation: Operation
    parameters: list[Mapping[str, Any]]
    fields: list[Mapping[str, Any]]
    target: str
    answer: str
    is_cut: bool
    can_be_filled_in: bool
    errors: tuple[Kind, ...]


def origin(request: Request) -> str:
    """Scheme and host under which the visitor reaches this server, as far as the request can be trusted."""
    host = request.headers.get("host", "")
    return f"{request.scheme}://{host if _HOST.fullmatch(host) else '127.0.0.1'}"


def page(visit: Visit, *, origin: str, revision_days: int, max_age_days: int) -> Page:
    """The page. It is not to be kept: its calls are addressed as this visitor addressed it."""
    ask = Ask(visit.queries, visit.parameters, revision_days)
    has = stored(ask)
    known = parameters(has)
    shown = [operation for operation in OPERATIONS if operation.answer != "Html"]
    return Page(
        "rates_docs.html",
        {
            "section": "api",
            "calls": [_call(operation, known, ask, max_age_days) for operation in shown],
            "errors": sorted(set(KINDS)),
            "info": document(has)["info"],
            "names": visit.names(),
            "newest": has.newest,
            "origin": origin,
            "made_up": visit.is_made_up(),
        },
    )


def _call(operation: Operation, known: Mapping[str, Any], ask: Ask, max_age_days: int) -> Call:
    asked = [known[name] for name in operation.parameters]
    in_path = {parameter["name"]: parameter["example"] for parameter in asked if parameter["in"] == "path"}
    query = {
        parameter["name"]: as_sent(parameter["example"])
        for parameter in asked
        if parameter["in"] == "query"
        and (parameter.get("required") or parameter["name"] in ("base", "symbols"))
    }
    target = _PARAMETER_IN_PATH.sub(lambda found: in_path[found[1]], operation.path)
    if query:
        target = f"{target}?{urlencode(query, safe=',')}"
    lines = _shown(_answer(target, ask, max_age_days))
    return Call(
        operation=operation,
        parameters=asked,
        fields=[known[name] for name in operation.essential],
        target=target,
        answer="\n".join(lines[:SHOWN_LINES]),
        is_cut=len(lines) > SHOWN_LINES,
        can_be_filled_in=bool(asked) and not in_path,
        errors=errors_of(operation),
    )


def errors_of(operation: Operation) -> tuple[Kind, ...]:
    """What a question can fail with that is asked as its path is meant: of one day, as of the newest.

    The document for programs has more there: a range in the place of a day fails as a range does.
    """
    return ERRORS.get("Latest" if "day" in operation.parameters else operation.errors or "", ())


def _answer(target: str, ask: Ask, max_age_days: int) -> Reply:
    path, _, query = target.partition("?")
    if path == "/-/health":
        return health.health(ask.queries)
    if path == "/-/health/freshness":
        return health.freshness(ask.queries, today=ask.parameters.now.date(), max_age_days=max_age_days)
    try:
        endpoint, parts = find(path.removeprefix("/rates/").removesuffix("/"))
        parameters = Parameters.parse(query, ask.parameters.now)
        return endpoint.answer(Ask(ask.queries, parameters, ask.revision_days), **parts)
    except ApiError as error:
        return error_reply(error.kind, error.info)


def _shown(reply: Reply) -> list[str]:
    if reply.content_type.startswith("text/csv"):
        return reply.body.decode().splitlines()
    return json.dumps(json.loads(reply.body), indent=2, ensure_ascii=False).splitlines()


def as_sent(example: object) -> str:
    """An example of a parameter as a request has it."""
    return ",".join(example) if isinstance(example, list) else str(example)


def prose(text: str) -> Markup:
    """Text in HTML: escaped, with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", escape(text)))  # noqa: S704  # escaped first
