"""The views of the pages for people: a request in, a page out, under the same rules as the rates it shows.

Who may not see a canned query may not see the page that shows its rows.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from datasette import Forbidden, NotFound, Request, Response
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from fx_pipeline.api import failures
from fx_pipeline.api.app import CONFIG, FxDatasette
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import SERVER_BUSY, ApiError
from fx_pipeline.api.pages import docs, exposure, figures, rates
from fx_pipeline.api.pages.links import day_path
from fx_pipeline.api.pages.visit import Page, Visit
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.replies import NO_STORE, RETRY_SECONDS, REVALIDATE, Reply, respond
from fx_pipeline.rates import as_number, is_code, is_date

HTML = "text/html; charset=utf-8"

FILTERS: dict[str, Callable[..., object]] = {
    "rate": figures.shown_rate,
    "change": figures.shown_change,
    "direction": figures.direction,
    "date": figures.shown_date,
    "short_date": figures.shown_short_date,
    "weekday": figures.weekday,
    "timestamp": figures.shown_timestamp,
    "instant": figures.shown_instant,
    "heading": figures.shown_column,
    "number_columns": figures.number_columns,
    "line": figures.line,
    "prose": docs.prose,
    "as_sent": docs.as_sent,
}
"""What templates show figures with."""


async def home(request: Request, datasette: FxDatasette) -> Response:
    """``/``: the newest day."""
    work = partial(rates.home, max_age_days=datasette.fx_settings.fx_max_age_days)
    return await _answer(request, datasette, rates.SERIES, work)


async def day(request: Request, datasette: FxDatasette) -> Response:
    """The page of the canned query `rates_by_date`: one day, where it comes from, what was revised."""
    return await _answer(request, datasette, rates.DAY, rates.day)


async def currency(request: Request, datasette: FxDatasette) -> Response:
    """``/currency/<code>/``: the history of one currency against another."""
    work = partial(rates.currency, code=request.url_vars["code"])
    return await _answer(request, datasette, rates.CURRENCY, work)


async def coverage(request: Request, datasette: FxDatasette) -> Response:
    """``/coverage/``: which days are stored. Fetches and quota are for those who may see them."""
    settings = datasette.fx_settings
    month_start = datasette.clock().date().replace(day=1)

    def operations(queries: Queries) -> dict[str, Any]:
        return rates.operations(queries, month_start, settings.fixer_monthly_quota)

    try:
        seen = await datasette.reader.run(
            request.actor, rates.OPERATIONS, operations, receive=request.receive
        )
    except (Forbidden, ApiError):
        seen = None
    work = partial(
        rates.coverage,
        start=settings.fx_start_date,
        max_age_days=settings.fx_max_age_days,
        dagster_url=settings.dagster_url,
        operations=seen,
    )
    return await _answer(request, datasette, rates.COVERAGE, work)


async def api_docs(request: Request, datasette: FxDatasette) -> Response:
    """``/rates/docs/``: the API, for people."""
    work = partial(
        docs.page,
        origin=docs.origin(request),
        revision_days=datasette.fx_settings.fx_revision_days,
        max_age_days=datasette.fx_settings.fx_max_age_days,
    )
    return await _answer(request, datasette, docs.QUERIES, work, cache_control=NO_STORE)


async def public(request: Request, datasette: FxDatasette) -> Response:
    """``/public/``: who may see what of this instance, and why."""
    work = partial(exposure.page, is_open=datasette.is_open())
    return await _answer(request, datasette, (), work, cache_control=NO_STORE)


async def static(
    request: Request, datasette: FxDatasette, scope: Scope, receive: Receive, send: Send
) -> Response | None:
    """``/static/``: styles and scripts, with an ETag; asked for anew each time, as the pages are."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"].append((b"cache-control", REVALIDATE.encode()))
        await send(message)

    try:
        await _files({**scope, "path": "/" + request.url_vars["path"], "root_path": ""}, receive, sending)
    except HTTPException:
        # Not raised: Datasette would send a path with a percent sign elsewhere.
        return await failures.failed(datasette, request, NotFound("There is no such file."))
    return None


static._datasette_static = True  # type: ignore[attr-defined]  # how Datasette marks what is no secret
_files = StaticFiles(directory=CONFIG / "static")


def cell(value: object, column: str) -> str | None:
    """What stands in a cell of Datasette's tables: days and currencies as links to their pages.

    None leaves it to Datasette. A reference to another row is shown as its number alone: what it leads to may
    be closed.
    """
    if isinstance(value, dict):
        return str(value["value"])
    if isinstance(value, float):
        return repr(as_number(value))
    if isinstance(value, int) and column == "timestamp":
        return Markup('<span title="{}">{}</span>').format(value, figures.shown_timestamp(value))
    if isinstance(value, str) and column in ("date", "nearest_before", "nearest_after") and is_date(value):
        return Markup('<a href="{}">{}</a>').format(day_path(value), value)
    if isinstance(value, str) and column in ("currency", "code") and is_code(value):
        return Markup('<a href="/currency/{}/">{}</a>').format(value, value)
    return None


async def _answer(
    request: Request,
    datasette: FxDatasette,
    names: tuple[str, ...],
    work: Callable[[Visit], Page],
    *,
    cache_control: str = REVALIDATE,
) -> Response:
    try:
        parameters = Parameters.parse(request.query_string, datasette.clock())
        page = await datasette.reader.run(
            request.actor,
            names,
            lambda queries: work(Visit(queries, parameters)),
            receive=request.receive,
        )
    except ApiError as error:
        page = Page("error.html", {"error": error.info, "status": error.kind.status}, error.kind.status)
    if page.elsewhere:
        return Response.redirect(page.elsewhere)
    html = await datasette.render_template(
        page.template, {"dagster_url": datasette.fx_settings.dagster_url, **page.context}, request=request
    )
    retry_after = RETRY_SECONDS if page.status == SERVER_BUSY.status else None
    return respond(request, Reply(html.encode(), cache_control, HTML, page.status, retry_after))
