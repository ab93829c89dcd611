"""The page ``/fetch/``, in front of the Dagster UI: fetches one day at the push of a button.

The API's page of a missing day links to it. The API itself is read-only and cannot launch runs. The page says
what will be fetched and what it costs. Its button launches a run, which the page follows. When the day is
stored, the page leads back to the day's page in the API. It works without JavaScript.

The guard checks these requests as it checks those to Dagster.
"""

import datetime as dt
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import dagster as dg
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fx_pipeline.api.endpoints.parameters import Parameters
from fx_pipeline.api.errors import ApiError
from fx_pipeline.api.pages.fetchable import why_not_fetchable
from fx_pipeline.api.pages.figures import shown_date, weekday
from fx_pipeline.api.pages.links import day_path
from fx_pipeline.clock import Clock, utc_now
from fx_pipeline.commands.database import read_quota
from fx_pipeline.dagster_names import FETCH_PATH
from fx_pipeline.dagster_ui.launching import DayRuns, LaunchError, State
from fx_pipeline.rates import parse_date
from fx_pipeline.serving.hosts import leads_somewhere
from fx_pipeline.settings import PROJECT, Settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.ledger import Quota

_OWN = Path(__file__).parent / "pages"
_SHARED = PROJECT / "datasette_config" / "static"
_FILES = {
    "fetch.js": _OWN / "fetch.js",
    "pages.css": _SHARED / "pages.css",
    "icon.svg": _SHARED / "icon.svg",
}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not no-referrer: browsers would then hide the origin of the form, and the guard would refuse it.
    "Referrer-Policy": "same-origin",
}


class Span(NamedTuple):
    """The first and the last day that can be fetched."""

    first: dt.date
    last: dt.date


class FetchPages:
    """An ASGI application that answers under ``/fetch/``, and passes everything else to Dagster's."""

    def __init__(
        self,
        dagster: ASGIApp,
        instance: dg.DagsterInstance,
        settings: Settings,
        clock: Clock = utc_now,
        *,
        is_sandbox: bool,
    ) -> None:
        self._dagster = dagster
        self._runs = DayRuns(dagster, instance)
        self._settings = settings
        self._clock = clock
        self._is_sandbox = is_sandbox
        environment = Environment(
            loader=FileSystemLoader(_OWN), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        environment.filters.update(date=shown_date, weekday=weekday)
        self._template = environment.get_template("fetch.html")
        self._own = Starlette(
            routes=[
                Route(FETCH_PATH.rstrip("/"), self._show),
                Route(FETCH_PATH, self._show),
                Route(FETCH_PATH, self._launch, methods=["POST"]),
                Route(f"{FETCH_PATH}status", self._status),
                *(
                    Route(f"{FETCH_PATH}{name}", partial(_send_file, file=file), methods=["GET"])
                    for name, file in _FILES.items()
                ),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        is_own = scope["type"] == "http" and f"{scope['path']}/".startswith(FETCH_PATH)
        await (self._own if is_own else self._dagster)(scope, receive, send)

    async def _show(self, request: Request) -> Response:
        try:
            parameters = Parameters.parse(request.url.query, self._clock())
            parameters.require_known(("date", "run"), what="page")
            date, run_id = parameters.text("date"), parameters.text("run")
        except ApiError as error:
            return self._page(request, HTTPStatus.BAD_REQUEST, problem=error.info)
        if run_id:
            return await self._follow(request, run_id)
        if self._settings.fx_dagster_read_only:
            return self._refuse(request, date)
        return await self._offer(request, date)

    async def _launch(self, request: Request) -> Response:
        try:
            form = Parameters.parse((await request.body()).decode(errors="replace"), self._clock())
            text = form.text("date")
        except ApiError as error:
            return self._page(request, HTTPStatus.BAD_REQUEST, problem=error.info)
        if self._settings.fx_dagster_read_only:
            return self._refuse(request, text)
        date, problem = self._read(text)
        if date is None:
            return await self._offer(request, text, problem)
        try:
            run_id = await run_in_threadpool(self._runs.in_progress, date) or await self._runs.launch(date)
        except LaunchError as error:
            return await self._offer(request, text, str(error), HTTPStatus.SERVICE_UNAVAILABLE)
        return RedirectResponse(
            f"{self._settings.dagster_prefix}{FETCH_PATH}?{urlencode({'run': run_id})}", HTTPStatus.SEE_OTHER
        )

    async def _status(self, request: Request) -> Response:
        """Return the state of a run, for the script of the page."""
        progress = await run_in_threadpool(self._runs.progress, request.query_params.get("run", ""))
        if progress is None:
            return JSONResponse({}, HTTPStatus.NOT_FOUND)
        document = {"text": progress.state.value, "ended": progress.state.is_last}
        return JSONResponse(document, headers=_HEADERS)

    async def _follow(self, request: Request, run_id: str) -> Response:
        progress = await run_in_threadpool(self._runs.progress, run_id)
        if progress is None:
            return self._page(request, HTTPStatus.NOT_FOUND, problem="There is no such run of one day.")
        api = self._api_url(request)
        if progress.state is State.STORED and api:
            return RedirectResponse(f"{api}{day_path(str(progress.date))}", HTTPStatus.SEE_OTHER)
        return self._page(request, date=str(progress.date), progress=progress)

    async def _offer(
        self, request: Request, text: str, problem: str = "", status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> Response:
        """Return the page with the button; without a day, the page that asks for one."""
        date, why_not = self._read(text) if text else (None, "")
        if problem or why_not:
            return self._page(request, status, problem=problem or why_not, date=str(date) if date else "")
        if date is None:
            return self._page(request)
        return self._page(request, date=str(date), quota=await run_in_threadpool(self._quota))

    def _refuse(self, request: Request, text: str) -> Response:
        """Return the page of a read-only UI: how to fetch the day without it."""
        date, _ = self._read(text)
        command = f"fx-pipeline ingest --date {date}" if date else "fx-pipeline ingest"
        problem = (
            f"This Dagster UI is read-only. The operator of this service can fetch days with `{command}`."
        )
        return self._page(request, HTTPStatus.FORBIDDEN, problem=problem, date=str(date) if date else "")

    def _page(self, request: Request, status: HTTPStatus = HTTPStatus.OK, **context: object) -> Response:
        html = self._template.render(
            span=self._span(),
            api=self._api_url(request),
            is_sandbox=self._is_sandbox,
            prefix=self._settings.dagster_prefix,
            read_only=self._settings.fx_dagster_read_only,
            day_path=day_path,
            **context,
        )
        return HTMLResponse(html, status, _HEADERS)

    def _span(self) -> Span:
        return Span(self._settings.fx_start_date, self._clock().date() - dt.timedelta(days=1))

    def _read(self, text: str) -> tuple[dt.date | None, str]:
        """Return the day in `text`, or why it cannot be fetched."""
        try:
            date = parse_date(text)
        except ValueError:
            return None, "Enter a date such as 2020-03-15."
        problem = why_not_fetchable(date, self._settings.fx_start_date, self._clock().date())
        return (None, problem) if problem else (date, "")

    def _quota(self) -> Quota | None:
        # Opening a missing database would create it.
        if self._settings.fixer_monthly_quota is None or not self._settings.fx_database.exists():
            return None
        try:
            return read_quota(self._settings)
        except StoreError:
            return None  # the run will say why

    def _api_url(self, request: Request) -> str | None:
        """Return the address of the API, if it leads somewhere for this visitor."""
        url = self._settings.api_url
        return url if leads_somewhere(url, request.headers.get("host", "")) else None


async def _send_file(_: Request, file: Path) -> Response:
    return FileResponse(file, headers={"Cache-Control": "no-cache"})
