"""What reads Dagster's storage: the pages of the UI, as recorded in Chromium, the start, and our commands."""

import datetime as dt
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import uvicorn
from playwright.sync_api import Page, Request
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from fx_pipeline.clock import utc_now
from fx_pipeline.commands.dagster_state import dagster_state
from fx_pipeline.dagster_internals.servers import web_application
from fx_pipeline.dagster_internals.testing import run_daemon_once
from fx_pipeline.dagster_ui.launching import DayRuns
from fx_pipeline.processes.dagster_home import open_instance, prepare
from fx_pipeline.serving.listening import bound
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.pages.browser import DESKTOP, chromium, running_browser
from fx_pipeline_tests.waiting import PATIENCE, wait_for

Queries = Sequence[Mapping[str, Any]]
"""GraphQL queries with their variables."""

PAGES: Mapping[str, tuple[str, Collection[str]]] = {
    "assets": ("/assets", {"AssetRecordsQuery", "LocationWorkspaceQuery"}),
    "asset": ("/assets/rates", {"AssetOverviewMetadataEventsQuery", "AssetGraphLiveQuery"}),
    "partitions": ("/assets/rates?view=partitions", {"PartitionHealthQuery", "AssetGraphLiveQuery"}),
    "events": ("/assets/rates?view=events", {"RecentAssetEventsQuery", "AssetGraphLiveQuery"}),
    "checks": ("/assets/rates?view=checks", {"AssetCheckDetailsQuery", "AssetGraphLiveQuery"}),
    "runs": ("/runs", {"RunsFeedRootQuery", "RunFeedTabsCountQuery", "DaemonNotRunningAlertQuery"}),
    "timeline": ("/overview/activity/timeline", {"CompletedRunTimelineQuery", "OngoingRunTimelineQuery"}),
    "automation": ("/automation", {"SingleScheduleQuery"}),
    "schedule": ("/locations/fx_pipeline/schedules/daily_rates", {"TickHistoryQuery", "ScheduleRootQuery"}),
    "job": ("/locations/fx_pipeline/jobs/rates_job", {"LatestRunTagQuery", "JobMetadataQuery"}),
    "daemons": ("/deployment/daemons", {"InstanceHealthQuery"}),
}
"""Pages of the UI: the path, and the queries that make it complete."""

DAY = dt.date(2019, 12, 31)
"""A day that our own page in the UI may be asked to fetch."""


def recorded(instance: dg.DagsterInstance) -> dict[str, Queries]:
    """Return the queries that each page sends. Skip the test without Chromium."""
    executable = chromium()
    found: dict[str, Queries] = {}
    with (
        loaded_workspace(instance) as workspace,
        _serving(web_application(workspace)) as url,
        running_browser(executable) as browser,
    ):
        for name, (path, operations) in PAGES.items():
            context = browser.new_context(viewport=DESKTOP, base_url=url)
            context.set_default_timeout(PATIENCE * 1000)
            found[name] = _sent(context.new_page(), path, operations)
            context.close()
    return found


def _sent(page: Page, path: str, operations: Collection[str]) -> Queries:
    """Open a page and return the queries that it sends, until it has sent these operations."""
    sent: list[Any] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            sent.append(request.post_data_json)

    def missing() -> set[str]:
        page.wait_for_timeout(50)  # meanwhile, Playwright reports requests
        return {*operations} - {query["operationName"] for query in sent}

    page.on("request", note)
    page.goto(path)
    wait_for(missing, lambda names: not names)
    page.wait_for_load_state("networkidle")
    return sent


@contextmanager
def _serving(application: ASGIApp) -> Iterator[str]:
    """Serve an application in a thread during a block. Yield its URL."""
    with bound("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def reading(
    instance: dg.DagsterInstance, pages: Mapping[str, Queries]
) -> Iterator[dict[str, Callable[[], object]]]:
    """Yield functions that read the storage, by name: the start, our commands, and the recorded pages."""
    home = Path(instance.root_directory)
    with loaded_workspace(instance) as workspace:
        app = web_application(workspace)
        with TestClient(app) as client:

            def send(queries: Queries) -> None:
                for query in queries:
                    answer = client.post("/graphql", json=query).json()
                    assert "errors" not in answer, (query["operationName"], answer)

            yield {
                "opening the instance": lambda: open_instance(home).dispose(),
                "the first thing `up` does": lambda: prepare(home, for_up=True),
                "the daemon's first round": lambda: run_daemon_once(workspace, utc_now()),
                "`status`": lambda: dagster_state(home),
                **{f"page: {name}": partial(send, queries) for name, queries in pages.items()},
                "page: fetch a day": lambda: DayRuns(app, instance).in_progress(DAY),
            }
