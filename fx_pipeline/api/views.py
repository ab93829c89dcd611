"""The views that Datasette's router calls: a request in, a response out, whatever happens in between."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import unquote

from datasette.utils.asgi import Forbidden, Request, Response
from starlette.types import Receive, Scope, Send

from fx_pipeline.api import health
from fx_pipeline.api.app import FxDatasette
from fx_pipeline.api.endpoints import Ask, Endpoint, find
from fx_pipeline.api.errors import FUNCTION_ACCESS_RESTRICTED, INTERNAL_ERROR, ApiError
from fx_pipeline.api.http import Reply, error_reply, respond
from fx_pipeline.api.parameters import Parameters
from fx_pipeline.api.queries import Queries, run, run_for_anyone

logger = logging.getLogger(__name__)

AT_ONCE_RATES = 1_500
"""Up to so many rates are read and written down in two milliseconds."""


async def rates(request: Request, datasette: FxDatasette) -> Response:
    """Everything under ``/rates/``."""
    path = unquote(request.url_vars["path"] or "")
    return respond(request, await _reply(request, datasette, partial(find, path)))


async def mcp(scope: Scope, receive: Receive, send: Send, datasette: FxDatasette) -> None:
    """``/-/mcp``."""
    assistants = await asyncio.to_thread(import_module, "fx_pipeline.api.assistants")
    await assistants.answer(datasette, scope, receive, send)


async def is_healthy(request: Request, datasette: FxDatasette) -> Response:
    """``/-/health``."""
    return respond(request, await _readable(datasette, health.health))


async def is_fresh(request: Request, datasette: FxDatasette) -> Response:
    """``/-/health/freshness``."""
    today, max_age_days = datasette.clock().date(), datasette.fx_settings.fx_max_age_days
    work = partial(health.freshness, today=today, max_age_days=max_age_days)
    return respond(request, await _readable(datasette, work))


async def reply(
    datasette: FxDatasette,
    actor: dict[str, Any] | None,
    find_endpoint: Callable[[], tuple[Endpoint, Mapping[str, Any]]],
    query_string: str,
    *,
    asked: str,
) -> Reply:
    """What the API answers `actor`: the answer of an endpoint, or an error. `asked` names it in the log."""
    try:
        endpoint, parts = find_endpoint()
        parameters = Parameters.parse(query_string, datasette.clock())
        work = partial(_answer, endpoint, parts, parameters, datasette.fx_settings.fx_revision_days)
        # What was known at an instant may be long to find.
        at_once = "as_of" not in parameters.values and endpoint.rates(parameters, **parts) <= AT_ONCE_RATES
        return await run(datasette, actor, endpoint.queries, work, at_once=at_once)
    except ApiError as error:
        return error_reply(error.kind, error.info)
    except Forbidden:
        return error_reply(FUNCTION_ACCESS_RESTRICTED, "You do not have the right to read this.")
    except Exception:
        logger.exception("no answer to %s", asked)
        return error_reply(INTERNAL_ERROR, "Something went wrong here. It has been logged.")


async def _reply(
    request: Request, datasette: FxDatasette, find_endpoint: Callable[[], tuple[Endpoint, Mapping[str, Any]]]
) -> Reply:
    return await reply(datasette, request.actor, find_endpoint, request.query_string, asked=request.path)


def _answer(
    endpoint: Endpoint,
    parts: Mapping[str, Any],
    parameters: Parameters,
    revision_days: int,
    queries: Queries,
) -> Reply:
    return endpoint.answer(Ask(queries, parameters, revision_days), **parts)


async def _readable(datasette: FxDatasette, work: Callable[[Queries], Reply]) -> Reply:
    try:
        return await run_for_anyone(datasette, health.QUERIES, work)
    except sqlite3.Error as error:
        return health.unreadable(error)
