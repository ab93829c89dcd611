"""Runs of one day: launched by Dagster's own GraphQL API, and followed in its instance."""

import datetime as dt
from enum import Enum
from typing import Any, NamedTuple

import dagster as dg
import httpx
from starlette.types import ASGIApp

from fx_pipeline.dagster_internals.tags import FROM_UI_TAG, PARTITION_TAG
from fx_pipeline.dagster_names import prefixed
from fx_pipeline.defs.failures import CANCELLED, stored_reason
from fx_pipeline.settings import load_settings

JOB = prefixed(load_settings(), "rates_job")

NOT_LOADED = "Dagster has not loaded the code of fx-pipeline. Try again in a few seconds."

REPOSITORIES = """query Repositories {
    repositoriesOrError {
        ... on RepositoryConnection { nodes { name location { name } jobs { name } } }
        ... on PythonError { message }
    }
}"""

LAUNCH = """mutation LaunchPipelineExecution($executionParams: ExecutionParams!) {
    launchPipelineExecution(executionParams: $executionParams) {
        ... on LaunchRunSuccess { run { runId } }
        ... on Error { message }
        ... on RunConfigValidationInvalid { errors { message } }
    }
}"""


class LaunchError(Exception):
    """Why Dagster did not launch a run. The message is for the operator."""


class State(Enum):
    """The state of a run, in the words of the page."""

    WAITING = "The run is waiting for Dagster to start it."
    STARTING = "The run is starting."
    RUNNING = "The run is fetching the rates."
    STORED = "The rates are stored."
    FAILED = "The run failed."

    @property
    def is_last(self) -> bool:
        """Whether the run has ended."""
        return self in (State.STORED, State.FAILED)


_STATES = {
    dg.DagsterRunStatus.STARTING: State.STARTING,
    dg.DagsterRunStatus.STARTED: State.RUNNING,
    dg.DagsterRunStatus.CANCELING: State.RUNNING,
    dg.DagsterRunStatus.SUCCESS: State.STORED,
    dg.DagsterRunStatus.FAILURE: State.FAILED,
    dg.DagsterRunStatus.CANCELED: State.FAILED,
}
_IN_PROGRESS = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


class Progress(NamedTuple):
    """The run of a day: its id, the day, its state, and why it failed."""

    run_id: str
    date: dt.date
    state: State
    reason: str = ""


class DayRuns:
    """Launches and follows runs of one day, through the web application `dagster` and its `instance`."""

    def __init__(self, dagster: ASGIApp, instance: dg.DagsterInstance) -> None:
        self._dagster = dagster
        self._instance = instance

    def in_progress(self, date: dt.date) -> str | None:
        """Return the id of a run of this day that has not ended."""
        wanted = dg.RunsFilter(job_name=JOB, tags={PARTITION_TAG: str(date)}, statuses=_IN_PROGRESS)
        runs = self._instance.get_runs(wanted, limit=1)
        return runs[0].run_id if runs else None

    async def launch(self, date: dt.date) -> str:
        """Launch a run as the UI does, and return its id. Raise LaunchError if Dagster refuses."""
        repositories = await self._ask(REPOSITORIES)
        selectors = [
            {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}
            for node in repositories["repositoriesOrError"].get("nodes", ())
            if JOB in (job["name"] for job in node["jobs"])
        ]
        if not selectors:
            raise LaunchError(repositories["repositoriesOrError"].get("message", NOT_LOADED))
        tags = {PARTITION_TAG: str(date), FROM_UI_TAG: "true"}
        parameters = {
            "selector": {**selectors[0], "jobName": JOB},
            "runConfigData": {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = (await self._ask(LAUNCH, executionParams=parameters))["launchPipelineExecution"]
        if "run" not in answer:
            messages = [answer.get("message"), *(error["message"] for error in answer.get("errors", ()))]
            raise LaunchError(" ".join(filter(None, messages)))
        return str(answer["run"]["runId"])

    def progress(self, run_id: str) -> Progress | None:
        """Return the state of a run; None if there is no such run of one day."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or PARTITION_TAG not in run.tags:
            return None
        date = dt.date.fromisoformat(run.tags[PARTITION_TAG])
        state = _STATES.get(run.status, State.WAITING)
        if state is not State.FAILED:
            return Progress(run_id, date, state)
        cancelled = run.status is dg.DagsterRunStatus.CANCELED
        return Progress(
            run_id, date, state, CANCELLED if cancelled else stored_reason(self._instance, run_id)
        )

    async def _ask(self, query: str, **variables: Any) -> Any:
        transport = httpx.ASGITransport(app=self._dagster)
        async with httpx.AsyncClient(transport=transport, base_url="http://dagster") as client:
            response = await client.post("/graphql", json={"query": query, "variables": variables})
        document = response.json()
        if errors := document.get("errors"):
            raise LaunchError(" ".join(error["message"] for error in errors))
        return document["data"]
