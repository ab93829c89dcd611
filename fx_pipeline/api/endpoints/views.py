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

from fx_pipeline.api.app import FxDatasette
from fx_pipeline.api.endpoints import health
from fx_pipeline.api.endpoints.endpoints import Ask
from fx_pipeline.api.endpoints.parameters import Parameters, Rendering
from fx_pipeline.api.endpoints.routes import Endpoint, find
from fx_pipeline.api.errors import FUNCTION_ACCESS_RESTRICTED, INTERNAL_ERROR, ApiError
from fx_pipeline.api.middleware.origins import why_foreign
from fx_pipeline.api.reading.lanes import TooLong
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import Size
from fx_pipeline.api.replies import Reply, error_reply, packed, rendered, respond

logger = logging.getLogger(__name__)

NO_SCRIPT = (
    "callback= is for pages of other sites, and for reads that need no token. Leave it out: every page may "
    "read this API by fetch()."
)
SMALL_RATES = 1_500
"""Up to this many rates are read and written in two milliseconds."""

MEDIUM_RATES = 6_000
"""Up to this many, a request is as much work as a page."""


async def rates(request: Request, datasette: FxDatasette) -> Response:
    """Everything under ``/rates/``."""
    path = unquote(request.url_vars["path"] or "")
    # A script is run with the rights of the page that asks: none of this site's own may need one.
    scripts = request.actor is None and request.headers.get("sec-fetch-site") != "same-origin"
    answer = await reply(
        datasette,
        request.actor,
        partial(find, path),
        request.query_string,
        asked=request.path,
        receive=request.receive,
        finish=partial(packed, request=request),
        scripts=scripts,
    )
    return respond(request, answer)


async def mcp(scope: Scope, receive: Receive, send: Send, datasette: FxDatasette) -> None:
    """``/-/mcp``, which refuses pages of other sites, as the protocol requires (Transports, security)."""
    if (why := why_foreign(datasette.hosts, scope)) is not None:
        refusal = respond(Request(scope, receive), error_reply(FUNCTION_ACCESS_RESTRICTED, why))
        await refusal.asgi_send(send)
        return
    assistants = await asyncio.to_thread(import_module, "fx_pipeline.api.mcp")
    await assistants.answer(datasette, scope, receive, send)


async def is_healthy(request: Request, datasette: FxDatasette) -> Response:
    """``/-/health``."""
    work = partial(
        health.health,
        closed=datasette.tokens.problem(),
        counts=datasette.counts,
        version=datasette.served.version(),
    )
    return respond(request, await _readable(request, datasette, work))


async def is_fresh(request: Request, datasette: FxDatasette) -> Response:
    """``/-/health/freshness``."""
    today, max_age_days = datasette.clock().date(), datasette.fx_settings.fx_max_age_days
    work = partial(health.freshness, today=today, max_age_days=max_age_days)
    return respond(request, await _readable(request, datasette, work))


async def reply(
    datasette: FxDatasette,
    actor: dict[str, Any] | None,
    find_endpoint: Callable[[], tuple[Endpoint, Mapping[str, Any]]],
    query_string: str,
    *,
    asked: str,
    receive: Receive | None,
    finish: Callable[[Reply], Reply] = lambda reply: reply,
    scripts: bool = False,
) -> Reply:
    """Return what the API answers `actor`: the answer of an endpoint, or an error.

    `asked` names it in the log. `finish` runs where the answer is made. The work stops when `receive` says
    that the client has disconnected. `scripts` says whether the answer may be a script.
    """
    rendering = Rendering()
    try:
        endpoint, parts = find_endpoint()
        parameters = Parameters.parse(query_string, datasette.clock())
        if query_string:
            parameters.require_known(endpoint.known(parts))
            if parameters.rendering().callback and not scripts:
                raise ApiError(FUNCTION_ACCESS_RESTRICTED, NO_SCRIPT)
            rendering = parameters.rendering()
        revision_days = datasette.fx_settings.fx_revision_days

        def work(queries: Queries) -> Reply:
            answer = endpoint.answer(Ask(queries, parameters, revision_days), **parts)
            return finish(rendered(answer, rendering))

        size = _size(endpoint.rates(parameters, **parts), has_instant="as_of" in parameters.values)
        return await datasette.reader.run(actor, endpoint.queries, work, size=size, receive=receive)
    except ApiError as error:
        return rendered(error_reply(error.kind, error.info), rendering)
    except Forbidden:
        return error_reply(FUNCTION_ACCESS_RESTRICTED, "You do not have the right to read this.")
    except Exception:
        logger.exception("no answer to %s", asked)
        return error_reply(INTERNAL_ERROR, "Something went wrong here. It has been logged.")


def _size(rates: int, *, has_instant: bool) -> Size:
    if rates <= SMALL_RATES:
        # It may take long to find what was known at an instant.
        return Size.MEDIUM if has_instant else Size.SMALL
    return Size.MEDIUM if rates <= MEDIUM_RATES and not has_instant else Size.LARGE


async def _readable(request: Request, datasette: FxDatasette, work: Callable[[Queries], Reply]) -> Reply:
    try:
        return await datasette.reader.run_unchecked(
            health.QUERIES, work, size=Size.PROBE, receive=request.receive
        )
    except (sqlite3.Error, TooLong, ApiError) as error:
        return health.unreadable(error)
