"""The views of the pages: each turns a request into a rendered page.

A visitor who may not view a canned query may not view the pages that need it.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from datasette import Forbidden, Request, Response

from fx_pipeline.api import failures
from fx_pipeline.api.datasette import FxDatasette
from fx_pipeline.api.endpoints.inputs import PAGE_COST
from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import SERVER_BUSY, ApiError
from fx_pipeline.api.pages import coverage as coverage_page
from fx_pipeline.api.pages import currency as currency_page
from fx_pipeline.api.pages import day as day_page
from fx_pipeline.api.pages import docs
from fx_pipeline.api.pages import home as home_page
from fx_pipeline.api.pages import public as public_page
from fx_pipeline.api.pages.page import Page, PageRequest
from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.api.reading.reader import Size
from fx_pipeline.api.replies import NO_STORE, RETRY_SECONDS, REVALIDATE, Reply, respond
from fx_pipeline.api.views import MEDIUM_COST
from fx_pipeline.dagster_names import fetch_url, partitions_url
from fx_pipeline.serving.hosts import leads_somewhere

HTML = "text/html; charset=utf-8"


async def home(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/``: the latest day."""
    work = partial(home_page.page, max_age_days=datasette.fx_settings.fx_max_age_days)
    return await _respond(request, datasette, home_page.QUERIES, work, known=home_page.PARAMETERS)


async def day(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/fx/rates_by_date``, the page of the canned query: one day."""
    work = partial(day_page.page, fetch_url=partial(fetch_url, datasette.fx_settings))
    # CannedQueries has refused unknown parameters.
    return await _respond(request, datasette, day_page.QUERIES, work, known=None)


async def currency(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/currency/<code>/``: the history of one currency."""
    work = partial(currency_page.page, code=request.url_vars["code"])
    return await _respond(
        request,
        datasette,
        currency_page.QUERIES,
        work,
        known=currency_page.PARAMETERS,
        cost=currency_page.cost,
    )


async def coverage(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/coverage/``: which days are stored, and for token holders the fetches and the quota."""
    settings = datasette.fx_settings
    work = partial(
        coverage_page.page,
        max_age_days=settings.fx_max_age_days,
        backfill_url=partial(partitions_url, settings),
        operations=await _operations(request, datasette),
    )
    return await _respond(request, datasette, coverage_page.QUERIES, work, known=coverage_page.PARAMETERS)


async def api_docs(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/rates/docs/``: the documentation of the API."""
    origin = f"{docs.origin(request)}{datasette.prefix}"
    work = partial(docs.page, origin=origin, context_of=datasette.context)
    return await _respond(request, datasette, docs.QUERIES, work, cache_control=NO_STORE)


async def public(request: Request, datasette: FxDatasette) -> Response:
    """Answer ``/public/``: what is public, and why."""
    work = partial(public_page.page, is_open=datasette.is_open())
    return await _respond(request, datasette, (), work, cache_control=NO_STORE)


async def _operations(request: Request, datasette: FxDatasette) -> dict[str, Any] | None:
    month_start = datasette.clock().date().replace(day=1)
    quota = datasette.fx_settings.fixer_monthly_quota

    def read(queries: Queries) -> dict[str, Any]:
        return coverage_page.operations(queries, month_start, quota)

    try:
        return await datasette.reader.run(
            request.actor, coverage_page.PRIVATE_QUERIES, read, receive=request.receive
        )
    except (Forbidden, ApiError):
        return None


async def _respond(
    request: Request,
    datasette: FxDatasette,
    names: tuple[str, ...],
    work: Callable[[PageRequest], Page],
    *,
    known: Collection[str] | None = (),
    cost: Callable[[Parameters], int] = lambda _: PAGE_COST,
    cache_control: str = REVALIDATE,
) -> Response:
    settings = datasette.fx_settings
    host = request.headers.get("host", "")
    dagster_url = settings.dagster_url if leads_somewhere(settings.dagster_url, host) else None
    can_launch = dagster_url is not None and not settings.fx_dagster_read_only
    try:
        parameters = Parameters.parse(request.query_string, datasette.clock())
        if known is not None:
            parameters.require_known(known, what="page")
        page = await datasette.reader.run(
            request.actor,
            names,
            lambda queries: work(
                PageRequest(queries, parameters, settings.fx_start_date, dagster_url, can_launch)
            ),
            size=Size.LARGE if cost(parameters) > MEDIUM_COST else Size.MEDIUM,
            receive=request.receive,
        )
    except ApiError as error:
        context = {"error": error.info, "heading": failures.heading(error.kind)}
        page = Page("error.html", context, error.kind.status)
    if page.elsewhere:
        return Response.redirect(f"{datasette.prefix}{page.elsewhere}")
    links = {
        "dagster_url": dagster_url,
        "can_launch": can_launch,
        "partitions_url": partitions_url(settings),
    }
    html = await datasette.render_template(page.template, {**links, **page.context}, request=request)
    retry_after = RETRY_SECONDS if page.status == SERVER_BUSY.status else None
    return respond(request, Reply(html.encode(), cache_control, HTML, page.status, retry_after))
