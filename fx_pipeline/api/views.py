"""The views of the API, which Datasette's router calls: parse, estimate the cost, read, respond."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

from datasette import Forbidden, Request, Response
from starlette.types import Receive, Scope, Send

from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints import health
from fx_pipeline.api.endpoints.inputs import NoInput
from fx_pipeline.api.endpoints.operation import Operation
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import FUNCTION_ACCESS_RESTRICTED, INTERNAL_ERROR, UNEXPECTED, ApiError
from fx_pipeline.api.metrics import stored
from fx_pipeline.api.middleware.origins import why_foreign
from fx_pipeline.api.reading.lanes import TooLong
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import Size
from fx_pipeline.api.replies import NO_STORE, Rendering, Reply, error_reply, packed, rendered, respond
from fx_pipeline.sqlite import sqlite3

logger = logging.getLogger(__name__)

NO_SCRIPT = (
    "callback= is only for pages of other sites, and only without a token. Leave it out: any page can "
    "read this API with fetch()."
)
NO_METRICS = (
    "Metrics are only for token holders: `fx-pipeline token create` makes a token. Without one, set "
    "FX_METRICS_PORT: the server then has them on that port, which clients do not reach."
)
SMALL_COST = 1_500
"""Up to this many rates are read and written in two milliseconds."""

MEDIUM_COST = 6_000
"""Up to this many, a request is as much work as a page."""


async def rates(request: Request, datasette: FxDatasette) -> Response:
    """Answer any request under ``/rates/``."""
    rendering = Rendering()
    try:
        path = request.scope["path"].removeprefix("/rates").removeprefix("/")
        operation, parts = datasette.routes.find(path)
        parameters = Parameters.parse(request.query_string, datasette.clock())
        rendering = _rendering(operation, parameters, request)
        reply = await read(
            datasette,
            request.actor,
            operation,
            parameters,
            parts,
            label=request.path,
            receive=request.receive,
            finish=lambda reply: packed(rendered(reply, rendering), request),
        )
    except ApiError as error:
        reply = rendered(error_reply(error.kind, error.info), rendering)
    return respond(request, reply)


async def mcp(scope: Scope, receive: Receive, send: Send, datasette: FxDatasette) -> None:
    """Answer ``/-/mcp``. Refuse pages of other sites, as the protocol requires (Transports, security)."""
    if (why := why_foreign(datasette.hosts, scope)) is not None:
        refusal = respond(Request(scope, receive), error_reply(FUNCTION_ACCESS_RESTRICTED, why))
        await refusal.asgi_send(send)
        return
    module = await asyncio.to_thread(import_module, "fx_pipeline.api.mcp")
    await module.answer(datasette, scope, receive, send)


def health_view(operation: Operation[NoInput]) -> Callable[[Request, FxDatasette], Awaitable[Response]]:
    """Return the view of a health check. It needs no token, and waits for no other request."""

    async def view(request: Request, datasette: FxDatasette) -> Response:
        facts = {"version": datasette.served.version(), "closed": datasette.tokens.problem()}
        now = datasette.clock()

        def answer(queries: Queries) -> Reply:
            return operation.answer(datasette.context(queries, now, **facts), NoInput())

        try:
            reply = await datasette.reader.run_unchecked(
                operation.queries, answer, size=Size.PROBE, receive=request.receive
            )
        except (sqlite3.Error, TooLong, ApiError) as error:
            reply = health.unreadable(error)
        return respond(request, reply)

    return view


async def metrics(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/-/metrics``. It needs a token even if the rates need none."""
    if request.actor is None:
        return respond(request, error_reply(FUNCTION_ACCESS_RESTRICTED, NO_METRICS))
    now, settings = datasette.clock(), datasette.fx_settings
    version = datasette.served.version()

    def read_gauges(queries: Queries) -> list[stored.Gauge]:
        age = datasette.counts.content_age(queries, version)
        return stored.of_database(queries, now, settings, age)

    try:
        gauges = await datasette.reader.run(
            request.actor, stored.QUERIES, read_gauges, receive=request.receive
        )
    except (sqlite3.Error, ApiError):  # the reason is in the log
        gauges = None

    def reply() -> Reply:
        from fx_pipeline.api.metrics import exposition  # noqa: PLC0415  # only a scrape loads it

        body = exposition.document(datasette.counters.totals(), stored.gauges(gauges, now, settings))
        return Reply(body, NO_STORE, exposition.CONTENT_TYPE)

    return respond(request, await asyncio.to_thread(reply))


async def read(
    datasette: FxDatasette,
    actor: dict[str, Any] | None,
    operation: Operation[Any],
    parameters: Parameters,
    parts: Mapping[str, str],
    *,
    label: str,
    receive: Receive | None,
    finish: Callable[[Reply], Reply] = lambda reply: reply,
) -> Reply:
    """Return the reply of an operation to `actor`. Raise ApiError for a mistake of the client.

    `label` names the request in the log. `finish` runs in the same thread as the operation. The work stops
    when `receive` says that the client has disconnected.
    """
    try:
        parsed = operation.parse(parameters, **parts)
        size = _size(operation.cost(parsed), has_instant="as_of" in parameters.values)

        def answer(queries: Queries) -> Reply:
            return finish(operation.answer(datasette.context(queries, parameters.now), parsed))

        return await datasette.reader.run(actor, operation.queries, answer, size=size, receive=receive)
    except ApiError:
        raise
    except Forbidden:
        return error_reply(FUNCTION_ACCESS_RESTRICTED, "You do not have permission to read this.")
    except Exception:
        logger.exception("no response to %s", label)
        return error_reply(INTERNAL_ERROR, UNEXPECTED)


def _rendering(operation: Operation[Any], parameters: Parameters, request: Request) -> Rendering:
    """Return the form of the response. Raise ApiError for a parameter that the operation does not have."""
    if not parameters.values:
        return Rendering()
    parameters.require_known(operation.query_names)
    rendering = parameters.rendering()
    # A script runs with the rights of the page that loads it: no page of this site may need one.
    is_own = request.actor is not None or request.headers.get("sec-fetch-site") == "same-origin"
    if rendering.callback and is_own:
        raise ApiError(FUNCTION_ACCESS_RESTRICTED, NO_SCRIPT)
    return rendering


def _size(cost: int, *, has_instant: bool) -> Size:
    if cost <= SMALL_COST:
        # It may take long to find what was known at an instant.
        return Size.MEDIUM if has_instant else Size.SMALL
    return Size.MEDIUM if cost <= MEDIUM_COST and not has_instant else Size.LARGE
