"""A morning of Dagster's daemon: runs that an outage ended are repeated, and each fault is alerted once."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.testclient import TestClient

from fx_pipeline.dagster_internals.servers import web_application
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.alerting.watching import Watching, titles
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.inbox import Inbox, open_inbox
from fx_pipeline_tests.proofs.daemon import FIRST_TRY, Daemon, running_daemon
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

HOURS = (0, 1, 3, 6)


def before_today(days: int) -> str:
    return str(FIRST_TRY.date() - dt.timedelta(days=days))


class Morning:
    """A daemon, its provider, and the address that receives its alerts."""

    def __init__(self, daemon: Daemon, sandbox: Sandbox, inbox: Inbox) -> None:
        self.daemon = daemon
        self.sandbox = sandbox
        self.inbox = inbox
        self.watching = Watching(daemon.instance)

    def try_at(self, hour: int, *, days_ago: int = 0) -> list[str]:
        """Evaluate the schedules at this hour, then watch for alerts. Return the statuses of the runs."""
        now = FIRST_TRY.replace(hour=hour) - dt.timedelta(days=days_ago)
        launched = self.daemon.evaluate_schedules(now)
        self.daemon.wait_for_runs()
        self.watching.look_at_runs()
        runs = [self.daemon.instance.get_run_by_id(run.run_id) for run in launched]
        return [run.status.value for run in runs if run]

    def try_and_count(self, hour: int) -> tuple[list[str], Counter[str]]:
        """Do the same. Return also how often the provider was asked for each date."""
        before = self.sandbox.asked_dates()
        return self.try_at(hour), self.sandbox.asked_dates() - before


@contextmanager
def beginning(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Iterator[Morning]:
    """Yield the morning after a good one. The window has 3 days, and 5 days are searched for gaps."""
    with ExitStack() as stack:
        sandbox = stack.enter_context(running_sandbox(key="good"))
        inbox = stack.enter_context(open_inbox())
        settings = {
            "FIXER_ACCESS_KEY": "good",
            "FIXER_BASE_URL": sandbox.url,
            "FX_DATABASE": str(folder / "fx.db"),
            "FX_CATCH_UP_DAYS": "5",
            "FX_ALERT_URLS": inbox.url,
            **settings,
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        with RateStore(folder / "fx.db") as store:
            store.want([dt.date.fromisoformat(before_today(days)) for days in range(1, 7)])
        daemon = stack.enter_context(running_daemon(instance))
        morning = Morning(daemon, sandbox, inbox)
        # The daemon's first look at a schedule only notes when it began.
        daemon.evaluate_schedules(FIRST_TRY - dt.timedelta(days=1, minutes=10))
        assert morning.try_at(0, days_ago=1) == ["SUCCESS"]
        assert morning.try_at(6, days_ago=1) == []  # only the names of the currencies are fetched
        assert stored_dates(folder / "fx.db") == {before_today(days) for days in range(2, 7)}
        set_back_to_yesterday(folder / "fx.db")
        yield morning


def set_back_to_yesterday(database: Path) -> None:
    """Date all fetches to yesterday, the morning that they stand for."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE fetches SET fetched_at = ? || substr(fetched_at, 11) WHERE endpoint = 'historical'",
            [before_today(1)],
        )


def delay_yesterday(sandbox: Sandbox) -> None:
    """Let the provider have no rates of yesterday yet."""
    sandbox.change(today=lambda: FIRST_TRY.date() - dt.timedelta(days=2), out_of_range_code=106)


@pytest.mark.slow
def test_retries_a_late_day_until_it_comes_without_an_alert(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch, FX_REVISION_DAYS="0") as morning:
        delay_yesterday(morning.sandbox)
        assert morning.try_at(0) == ["FAILURE"]
        assert morning.try_at(1) == ["FAILURE"]
        assert morning.sandbox.stats()["endpoints"]["historical"] == {"106": 2, "ok": 5}
        morning.sandbox.change(today=None)
        assert morning.try_and_count(3) == (["SUCCESS"], Counter([before_today(1)]))
        assert morning.try_and_count(6) == ([], Counter())
        assert morning.inbox.received == []
    assert before_today(1) in stored_dates(folder / "fx.db")
    assert_consistent(folder / "fx.db")


@pytest.mark.slow
def test_sends_one_alert_after_the_last_failed_try(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch, FX_REVISION_DAYS="0") as morning:
        delay_yesterday(morning.sandbox)
        alerts = []
        for hour in HOURS:
            assert morning.try_at(hour) == ["FAILURE"]
            alerts.append(len(morning.inbox.received))
        assert alerts == [0, 0, 0, 1]
        [message] = morning.inbox.received
        assert message["title"] == "fx-pipeline: a run failed (rates)"
        reason, last, _advice, _row, _links = message["message"].split("\n\n")
        refused = "there are no rates for this request (106 no_rates_available)"
        assert reason == f"rates_job: 1 date: {refused}: {before_today(1)}"
        assert last == "This was the last try of the morning. The next one is after midnight (UTC)."


@pytest.mark.slow
def test_alerts_immediately_if_no_retry_can_succeed(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        morning.sandbox.change(key="another")
        assert [morning.try_at(hour) for hour in HOURS] == [["FAILURE"], [], [], []]
        [message] = morning.inbox.received
        assert message["title"] == "fx-pipeline: the key is refused"
        assert "the access key is missing or unknown" in message["message"]


@pytest.mark.slow
def test_the_next_try_after_an_outage_fetches_the_whole_window(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        window = [before_today(days) for days in (1, 2, 3)]
        morning.sandbox.change(faults={"server-error": 1.0})
        assert morning.try_at(0) == ["FAILURE"]
        assert titles(morning.inbox) == ["the provider is down"]
        morning.sandbox.change(faults={})
        good = morning.sandbox.stats()["endpoints"]["historical"]["ok"]
        assert morning.try_at(1) == ["SUCCESS"]
        assert morning.sandbox.stats()["endpoints"]["historical"]["ok"] == good + len(window)
        assert morning.try_and_count(3) == ([], Counter())
        assert titles(morning.inbox) == ["the provider is down", "resolved: the provider is down"]


@pytest.mark.slow
def test_a_machine_that_was_off_at_night_fetches_the_day_with_the_last_try(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        assert morning.try_and_count(9) == (["SUCCESS"], Counter(before_today(days) for days in (1, 2, 3)))
    assert before_today(1) in stored_dates(folder / "fx.db")


DRY_RUN = """mutation DryRun($schedule: ScheduleSelector!, $at: Float) {
    scheduleDryRun(selectorData: $schedule, timestamp: $at) {
        __typename
        ... on DryRunInstigationTick { evaluationResult {
            skipReason error { message } runRequests { runConfigYaml tags { key value } }
        } }
        ... on PythonError { message }
    }
}"""

LAUNCH = """mutation Launch($run: ExecutionParams!) { launchPipelineExecution(executionParams: $run) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
} }"""

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "fx_pipeline"}


class Webserver:
    """Dagster's webserver over the daemon's workspace, and queries like those of the UI."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def preview(self, schedule: str, at: dt.datetime) -> Any:
        """Return what the schedule would do at this instant ("Preview tick result")."""
        answer = self.ask(DRY_RUN, schedule={**REPOSITORY, "scheduleName": schedule}, at=at.timestamp())[
            "scheduleDryRun"
        ]
        assert answer["__typename"] == "DryRunInstigationTick", answer
        result = answer["evaluationResult"]
        assert result["error"] is None, result
        return result

    def launch(self, tags: list[dict[str, str]], config: str = "{}") -> str:
        """Launch a run as the preview or the launchpad does, and return its id."""
        answer = self.ask(
            LAUNCH,
            run={
                "selector": {**REPOSITORY, "jobName": "rates_job"},
                "mode": "default",
                "runConfigData": config,
                "executionMetadata": {"tags": tags},
            },
        )["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])


@pytest.mark.slow
def test_runs_from_the_ui_never_fetch_a_day_that_is_not_over_and_send_no_alert(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        app = web_application(morning.daemon.workspace)
        with TestClient(app) as client:
            webserver = Webserver(client)
            tomorrow = FIRST_TRY.replace(minute=10) + dt.timedelta(days=1)
            [request] = webserver.preview("daily_rates", tomorrow)["runRequests"]
            last = {tag["key"]: tag["value"] for tag in request["tags"]}["dagster/asset_partition_range_end"]
            assert last == before_today(1)
            webserver.launch(request["tags"], request["runConfigYaml"])
            today = str(FIRST_TRY.date())
            for first in (before_today(2), today):
                webserver.launch(
                    [
                        {"key": "dagster/asset_partition_range_start", "value": first},
                        {"key": "dagster/asset_partition_range_end", "value": today},
                    ]
                )
            webserver.launch([{"key": "dagster/partition", "value": today}])
            morning.daemon.launch_queued_runs()
            morning.daemon.wait_for_runs()
        morning.watching.look_at_runs()
        statuses = [run.status for run in instance.get_runs(dg.RunsFilter(job_name="rates_job"))]
        assert set(statuses) == {dg.DagsterRunStatus.SUCCESS}
        assert len(statuses) == 5
        assert morning.inbox.received == []
        assert max(morning.sandbox.asked_dates()) == before_today(1)
    assert stored_dates(folder / "fx.db") == set(dates_between(before_today(6), before_today(1)))
