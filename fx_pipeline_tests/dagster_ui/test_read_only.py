"""A read-only Dagster UI: it shows everything and changes nothing."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
import requests
from playwright.sync_api import Browser

from fx_pipeline.dagster_internals.runs import job_origin
from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.dagster_ui.server import UI, serving_ui
from fx_pipeline_tests.dagster_ui.test_operator import operated
from fx_pipeline_tests.waiting import PATIENCE, wait_for

RATES = 'assetKey: {path: ["rates"]}'
MUTATIONS = {
    "launchRun": 'executionParams: {selector: {SELECTOR, jobName: "symbols_job"}, runConfigData: {}}',
    "deletePipelineRun": 'runId: "RUN"',
    "launchPartitionBackfill": """backfillParams: {
        assetSelection: [{path: ["rates"]}], partitionNames: ["2020-03-15"]
    }""",
    "startSchedule": 'scheduleSelector: {SELECTOR, scheduleName: "daily_rates"}',
    "stopRunningSchedule": 'id: "SCHEDULE"',
    "startSensor": 'sensorSelector: {SELECTOR, sensorName: "alerts"}',
    "stopSensor": 'id: "SENSOR"',
    "setSensorCursor": 'sensorSelector: {SELECTOR, sensorName: "alerts"}, cursor: "x"',
    "wipeAssets": f"assetPartitionRanges: [{{{RATES}}}]",
    "reportRunlessAssetEvents": f"eventParams: {{{RATES}, eventType: ASSET_MATERIALIZATION}}",
    "reloadWorkspace": "",
    "reloadRepositoryLocation": 'repositoryLocationName: "LOCATION"',
    "shutdownRepositoryLocation": 'repositoryLocationName: "LOCATION"',
    "addDynamicPartition": 'repositorySelector: {SELECTOR}, partitionsDefName: "x", partitionKey: "y"',
}
"""Mutations whose result can be an error, with their arguments."""
PLAIN = {
    "setConcurrencyLimit": 'concurrencyKey: "x", limit: 1',
    "deleteConcurrencyLimit": 'concurrencyKey: "x"',
    "freeConcurrencySlots": 'runId: "RUN"',
    "setAutoMaterializePaused": "paused: true",
}
"""Mutations that return a plain value, or an error of the whole request."""

NAMES = """{
    repositoriesOrError { ... on RepositoryConnection { nodes {
        name location { name }
        schedules { name scheduleState { id } }
    } } }
    runsOrError { ... on Runs { results { runId status } } }
}"""


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UI]:
    """Yield a read-only UI with a queued run. No daemon starts it."""
    with serving_ui(tmp_path_factory.mktemp("ui"), FX_DAGSTER_READ_ONLY="1") as ui:
        with open_instance(ui.home) as instance:
            job = defs.resolve_job_def("symbols_job")
            queued = dg.DagsterRunStatus.QUEUED
            instance.create_run_for_job(job, status=queued, remote_job_origin=job_origin(job))
        yield ui


@pytest.fixture(scope="module")
def names(ui: UI) -> dict[str, str]:
    """Return the names of what the mutations are about, once the code is loaded. Queries work."""
    found = wait_for(lambda: ask(ui, NAMES)["data"], lambda data: data["repositoriesOrError"].get("nodes"))
    [repository] = found["repositoriesOrError"]["nodes"]
    location = repository["location"]["name"]
    schedules = {one["name"]: one["scheduleState"]["id"] for one in repository["schedules"]}
    [run] = [run["runId"] for run in found["runsOrError"]["results"] if run["status"] == "QUEUED"]
    return {
        "SELECTOR": f'repositoryName: "{repository["name"]}", repositoryLocationName: "{location}"',
        "LOCATION": location,
        "SCHEDULE": schedules["daily_rates"],
        "SENSOR": schedules["daily_rates"],  # there is none
        "RUN": run,
    }


def ask(ui: UI, query: str) -> Any:
    """Send a GraphQL request, and return the whole response."""
    return requests.post(f"{ui.url}/graphql", json={"query": query}, timeout=PATIENCE).json()


def change(ui: UI, names: dict[str, str], mutation: str, arguments: str, result: str = "") -> Any:
    """Send a mutation that must change nothing, and return the whole response."""
    for placeholder, name in names.items():
        arguments = arguments.replace(placeholder, name)
    before = ui.state()
    response = ask(ui, f"mutation {{ {mutation}{f'({arguments})' if arguments else ''} {result} }}")
    assert ui.state() == before
    return response


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_refuses_a_mutation(ui: UI, names: dict[str, str], mutation: str) -> None:
    response = change(ui, names, mutation, MUTATIONS[mutation], "{ __typename }")
    assert response["data"][mutation]["__typename"] == "UnauthorizedError", response


def test_refuses_to_terminate_a_run(ui: UI, names: dict[str, str]) -> None:
    result = "{ ... on TerminateRunFailure { message } }"
    response = change(ui, names, "terminateRun", 'runId: "RUN"', result)
    message = "You do not have permission to terminate this run"
    assert response["data"]["terminateRun"] == {"message": message}


@pytest.mark.parametrize("mutation", PLAIN)
def test_refuses_a_mutation_without_a_result(ui: UI, names: dict[str, str], mutation: str) -> None:
    response = change(ui, names, mutation, PLAIN[mutation])
    assert response["errors"], response


@pytest.mark.parametrize("kind", ["materialization", "check", "observation"])
def test_refuses_a_report(ui: UI, kind: str) -> None:
    before = ui.state()
    document = {"partition": "2020-03-15", "check_name": "plausible", "passed": True}
    response = requests.post(f"{ui.url}/report_asset_{kind}/rates", json=document, timeout=PATIENCE)
    assert response.status_code == 401, response.text
    assert ui.state() == before


def test_the_fetch_page_says_that_it_is_read_only(ui: UI) -> None:
    before = ui.state()
    shown = requests.get(f"{ui.url}/fetch/?date=2020-03-15", timeout=PATIENCE)
    headers = {"Origin": ui.url}
    sent = requests.post(f"{ui.url}/fetch/", {"date": "2020-03-15"}, headers=headers, timeout=PATIENCE)
    for response in (shown, sent):
        assert response.status_code == 403
        assert "This Dagster UI is read-only." in response.text
        assert "fx-pipeline ingest --date 2020-03-15" in response.text
        assert "<button" not in response.text
    assert ui.state() == before


def test_the_pages_have_no_working_button(browser: Browser, ui: UI) -> None:
    with operated(browser) as operator:
        operator.page.goto(f"{ui.url}/assets/symbols")
        button = operator.page.get_by_role("button", name="Materialize").first
        button.wait_for()
        assert button.is_disabled()
        assert operator.refused == []
