"""A morning of Dagster's daemon: what an outage ends is tried again, and only the last failure is alerted."""

import datetime as dt
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from starlette.testclient import TestClient

from fx_pipeline.dagster_internals import web_application
from fx_pipeline.rates import date_range
from fx_pipeline_tests.defs.test_sensors import Inbox, open_inbox, tick
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.proofs.daemon import Daemon, running_daemon
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

TODAY = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=15, second=0, microsecond=0)
"""Five minutes after the first try of a morning."""

HOURS = (0, 1, 3, 6)


def before_today(days: int) -> str:
    return str(TODAY.date() - dt.timedelta(days=days))


class Morning:
    """The daemon, its provider, and the address that its alerts go to."""

    def __init__(self, daemon: Daemon, sandbox: Sandbox, inbox: Inbox) -> None:
        self.daemon = daemon
        self.sandbox = sandbox
        self.inbox = inbox
        self.cursor: str | None = None

    def tries(self, hour: int, *, days_ago: int = 0) -> list[str]:
        """Let the daemon look at this hour's tick and the sensor at what came of it. The runs' statuses."""
        now = TODAY.replace(hour=hour) - dt.timedelta(days=days_ago)
        launched = self.daemon.looks(now)
        self.daemon.waits()
        _, self.cursor = tick(self.daemon.instance, self.cursor)
        runs = [self.daemon.instance.get_run_by_id(run.run_id) for run in launched]
        return [run.status.value for run in runs if run]

    def asked(self, hour: int) -> tuple[list[str], Counter[str]]:
        """The same, and which dates the provider was asked for."""
        before = self.sandbox.asked_dates()
        return self.tries(hour), self.sandbox.asked_dates() - before


@contextmanager
def beginning(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> Iterator[Morning]:
    """A morning after one on which all was well: 3 days are in the window, 5 are searched for gaps."""
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
        daemon = stack.enter_context(running_daemon(instance))
        morning = Morning(daemon, sandbox, inbox)
        daemon.looks(TODAY - dt.timedelta(days=1, minutes=10))  # it has just been started
        assert morning.tries(0, days_ago=1) == ["SUCCESS"]
        assert morning.tries(6, days_ago=1) == []  # but the names of the currencies are read
        assert stored_dates(folder / "fx.db") == {before_today(days) for days in range(2, 7)}
        set_back_to_yesterday(folder / "fx.db")
        yield morning


def set_back_to_yesterday(database: Path) -> None:
    """Let what was fetched by the clock of this test have been fetched on the morning that it stands for."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE fetches SET fetched_at = ? || substr(fetched_at, 11) WHERE endpoint = 'historical'",
            [before_today(1)],
        )


def is_late(sandbox: Sandbox) -> None:
    """The provider has no rates of yesterday yet."""
    sandbox.change(today=lambda: TODAY.date() - dt.timedelta(days=2), out_of_range_code=106)


@pytest.mark.slow
def test_the_day_is_tried_again_until_it_comes_and_nobody_is_alerted(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch, FX_REVISION_DAYS="0") as morning:
        is_late(morning.sandbox)
        assert morning.tries(0) == ["FAILURE"]
        assert morning.tries(1) == ["FAILURE"]
        assert morning.sandbox.stats()["endpoints"]["historical"] == {"106": 2, "ok": 5}
        morning.sandbox.change(today=None)
        assert morning.asked(3) == (["SUCCESS"], Counter([before_today(1)]))
        assert morning.asked(6) == ([], Counter())
        assert morning.inbox.received == []
    assert before_today(1) in stored_dates(folder / "fx.db")
    assert list(broken(folder / "fx.db")) == []


@pytest.mark.slow
def test_when_the_last_try_has_failed_one_alert_says_so(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch, FX_REVISION_DAYS="0") as morning:
        is_late(morning.sandbox)
        alerts = []
        for hour in HOURS:
            assert morning.tries(hour) == ["FAILURE"]
            alerts.append(len(morning.inbox.received))
        assert alerts == [0, 0, 0, 1]
        [message] = morning.inbox.received
        assert message["title"] == "fx-pipeline: rates_job failed"
        reason, last, _ = message["message"].split("\n\n")
        assert reason == f"1 date: there are no rates for this (106 no_rates_available): {before_today(1)}"
        assert last == "This was the last try of the morning. The next one is after midnight (UTC)."


@pytest.mark.slow
def test_what_no_try_can_mend_is_alerted_immediately_and_not_tried_again(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        morning.sandbox.change(key="another")
        assert [morning.tries(hour) for hour in HOURS] == [["FAILURE"], [], [], []]
        [message] = morning.inbox.received
        assert message["title"] == "fx-pipeline: rates_job failed"
        assert "the access key is missing or unknown" in message["message"]


@pytest.mark.slow
def test_after_an_outage_the_next_try_does_what_the_first_was_to_do(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        window = [before_today(days) for days in (1, 2, 3)]
        morning.sandbox.change(faults={"server-error": 1.0})
        assert morning.tries(0) == ["FAILURE"]
        assert morning.inbox.received == []
        morning.sandbox.change(faults={})
        good = morning.sandbox.stats()["endpoints"]["historical"]["ok"]
        assert morning.tries(1) == ["SUCCESS"]
        assert morning.sandbox.stats()["endpoints"]["historical"]["ok"] == good + len(window)
        assert morning.asked(3) == ([], Counter())
        assert morning.inbox.received == []


@pytest.mark.slow
def test_a_machine_that_was_off_in_the_night_fetches_the_day_by_the_last_try(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        assert morning.asked(9) == (["SUCCESS"], Counter(before_today(days) for days in (1, 2, 3)))
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
    """Dagster's webserver over the daemon's workspace, asked as the UI asks it."""

    def __init__(self, client: TestClient) -> None:
        self._client = client

    def ask(self, query: str, **variables: Any) -> Any:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def preview(self, schedule: str, at: dt.datetime) -> Any:
        """ "Preview tick result": what the schedule would do at this instant."""
        answer = self.ask(DRY_RUN, schedule={**REPOSITORY, "scheduleName": schedule}, at=at.timestamp())[
            "scheduleDryRun"
        ]
        assert answer["__typename"] == "DryRunInstigationTick", answer
        result = answer["evaluationResult"]
        assert result["error"] is None, result
        return result

    def launch(self, tags: list[dict[str, str]], config: str = "{}") -> str:
        """ "Launch", there or in the launchpad."""
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
def test_what_the_ui_launches_asks_for_no_day_that_is_not_over_and_alerts_nobody(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beginning(folder, instance, monkeypatch) as morning:
        app = web_application(morning.daemon.workspace)
        with TestClient(app) as client:
            webserver = Webserver(client)
            tomorrow = TODAY.replace(minute=10) + dt.timedelta(days=1)
            [request] = webserver.preview("daily_rates", tomorrow)["runRequests"]
            last = {tag["key"]: tag["value"] for tag in request["tags"]}["dagster/asset_partition_range_end"]
            assert last == before_today(1)
            webserver.launch(request["tags"], request["runConfigYaml"])
            today = str(TODAY.date())
            for first in (before_today(2), today):
                webserver.launch(
                    [
                        {"key": "dagster/asset_partition_range_start", "value": first},
                        {"key": "dagster/asset_partition_range_end", "value": today},
                    ]
                )
            webserver.launch([{"key": "dagster/partition", "value": today}])
            morning.daemon.launches()
            morning.daemon.waits()
        _, morning.cursor = tick(instance, morning.cursor)
        statuses = [run.status for run in instance.get_runs(dg.RunsFilter(job_name="rates_job"))]
        assert set(statuses) == {dg.DagsterRunStatus.SUCCESS}
        assert len(statuses) == 5
        assert morning.inbox.received == []
        assert max(morning.sandbox.asked_dates()) == before_today(1)
    everything = date_range(dt.date.fromisoformat(before_today(6)), dt.date.fromisoformat(before_today(1)))
    assert stored_dates(folder / "fx.db") == {str(date) for date in everything}
