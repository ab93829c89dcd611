"""Backfills as the UI makes them, run by Dagster's own processes: partly failed, made good, cancelled."""

import datetime as dt
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import pytest
import requests

from fx_pipeline.commands.runs import open_instance
from fx_pipeline.defs.partitions import days
from fx_pipeline.rates import date_range
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.processes.running_up import BACKFILL, LAUNCH, Up, up
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.proofs.secrets import ALERTS, KEY, Secrets
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

REEXECUTE = """mutation Reexecute($run: String!) {
    launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: FROM_FAILURE}) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    }
}"""

TERMINATE = """mutation Terminate($run: String!) {
    terminateRun(runId: $run) { __typename ... on PythonError { message } }
}"""


def dates(first: str, count: int) -> list[str]:
    start = dt.date.fromisoformat(first)
    return [str(date) for date in date_range(start, start + dt.timedelta(days=count - 1))]


def launch(running: Up, chosen: Sequence[str]) -> str:
    """Start a backfill of these dates as the UI's dialog does; its id."""
    launched = running.graphql(
        LAUNCH,
        backfillParams={
            "tags": [{"key": "dagster/from_ui", "value": "true"}],
            "assetSelection": [{"path": ["rates"]}],
            "partitionNames": list(chosen),
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    return str(launched["backfillId"])


def end_of(running: Up, backfill: str) -> str:
    """Wait for a backfill; how it ended."""

    def status() -> str:
        return str(running.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"])

    running.wait("end of the backfill", lambda: status() not in ("REQUESTED", "COMPLETING", "FAILING"))
    return status()


class Home:
    """What Dagster knows, read from its own files beside its running processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data" / "dagster"

    def shown(self, chosen: Sequence[str]) -> dict[str, set[str]]:
        """The dates by the status that the UI shows."""
        with open_instance(self.folder) as instance:
            statuses = instance.get_status_by_partition(dg.AssetKey("rates"), chosen, days) or {}
        shown: dict[str, set[str]] = {}
        for date, status in statuses.items():
            shown.setdefault(status.value if status else "missing", set()).add(date)
        return shown

    def runs(self, backfill: str) -> list[dg.DagsterRun]:
        with open_instance(self.folder) as instance:
            return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})))

    def all_runs(self) -> list[dg.DagsterRun]:
        with open_instance(self.folder) as instance:
            return list(instance.get_runs())

    def processes(self, run_id: str) -> set[int]:
        """The ids that Dagster has written down of the processes of a run."""
        with open_instance(self.folder) as instance:
            events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        return {int(pid) for event in events for pid in re.findall(r"pid: ([0-9]+)", event.message)}

    def said_by_alerts(self) -> str:
        """What the ticks of the sensor that sends alerts came to."""
        with open_instance(self.folder) as instance:
            [state] = [one for one in instance.all_instigator_state() if one.instigator_name == "alerts"]
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        return "\n".join(tick.skip_reason or "" for tick in ticks)

    def run(self, run_id: str) -> dg.DagsterRun:
        with open_instance(self.folder) as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run


EACH_SECOND = """
import sys
if any(argument.endswith("dagster-daemon") for argument in sys.orig_argv):
    import dagster._daemon.controller
    dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
"""
"""Makes Dagster's daemon look for backfills, and at what has become of them, each second, not each 30."""

RANGE_START = "dagster/asset_partition_range_start"
MATERIALIZED, FAILED = dg.AssetPartitionStatus.MATERIALIZED.value, dg.AssetPartitionStatus.FAILED.value


@pytest.mark.slow
def test_dates_fail_alone_only_they_are_asked_again_and_a_cancelled_run_ends_at_once(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(EACH_SECOND, encoding="utf-8")
    settings = {"FIXER_ACCESS_KEY": KEY, "FX_ALERT_URLS": ALERTS, "PYTHONPATH": str(tmp_path)}
    with running_sandbox() as sandbox, up(folder, FIXER_BASE_URL=sandbox.url, **settings) as running:
        running.wait_until_ready()
        token = run_command(folder, "token", "create", "reader").stdout.strip()
        home, database = Home(folder), folder / "data" / "fx.db"
        chosen = dates("2023-01-01", 120)
        left = partly_fails(running, sandbox, home, database, chosen)
        left = goes_on_from_a_failed_run(running, sandbox, home, chosen, left)
        asks_for_the_others_alone(running, sandbox, home, chosen, left)
        ends_when_cancelled(running, sandbox, home, database)
        uses(running, token, database)
        running.wait("alert that nobody takes", lambda: "was not accepted" in home.said_by_alerts())
        assert list(broken(database)) == []
        assert running.interrupt() == 0
    # Dagster's files and logs, what every process has printed, the databases: all of it is below the folder.
    assert list(Secrets(token).traces(folder)) == []


def uses(running: Up, token: str, database: Path) -> None:
    """Ask the API with a token, in each way that it can be carried, for what is there and what is not."""
    [date, *_] = sorted(stored_dates(database))
    for path, status in ((f"/rates/{date}/", 200), ("/rates/1998-01-01/", 404), ("/nothing", 404)):
        url = running.url("API", path)
        in_query = requests.get(url, params={"access_key": token}, timeout=30)
        in_header = requests.get(url, headers={"apikey": token}, timeout=30)
        assert (in_query.status_code, in_header.status_code) == (status, status)
    assert running.get(f"/rates/{date}/").status_code == 401


def partly_fails(
    running: Up, sandbox: Sandbox, home: Home, database: Path, chosen: Sequence[str]
) -> set[str]:
    """A backfill of which about one date in ten fails three times, and so for good; those dates."""
    sandbox.change(faults={"wrong-date": 0.45})
    backfill = launch(running, chosen)
    assert end_of(running, backfill) == "COMPLETED_FAILED"
    assert [run.status for run in home.runs(backfill)] == [dg.DagsterRunStatus.FAILURE] * 2
    left = set(chosen) - stored_dates(database)
    print(f"{len(left)} of {len(chosen)} dates left")
    assert 0 < len(left) < 40
    assert home.shown(chosen) == {MATERIALIZED: set(chosen) - left, FAILED: left}
    assert list(broken(database)) == []
    sandbox.change(faults={})
    return left


def goes_on_from_a_failed_run(
    running: Up, sandbox: Sandbox, home: Home, chosen: Sequence[str], left: set[str]
) -> set[str]:
    """ "Re-execute from failure" of the run of the first hundred dates; the dates that are left then."""
    before = sandbox.asked_dates()
    [failed] = [run for run in home.all_runs() if run.tags.get(RANGE_START) == chosen[0]]
    answer = running.graphql(REEXECUTE, run=failed.run_id)["launchRunReexecution"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    again = answer["run"]["runId"]
    running.wait("end of the run", lambda: home.run(again).is_finished)
    assert home.run(again).is_success
    its = left & set(chosen[:100])
    assert sandbox.asked_dates() - before == Counter(its)
    assert home.shown(chosen) == {MATERIALIZED: set(chosen) - left | its, FAILED: left - its}
    return left - its


def asks_for_the_others_alone(
    running: Up, sandbox: Sandbox, home: Home, chosen: Sequence[str], left: set[str]
) -> None:
    """A backfill of what is shown as missing and failed."""
    before = sandbox.asked_dates()
    backfill = launch(running, sorted(left))
    assert end_of(running, backfill) == "COMPLETED_SUCCESS"
    print(f"{len(left)} dates by {len(home.runs(backfill))} runs")
    assert sandbox.asked_dates() - before == Counter(left)
    assert home.shown(chosen) == {MATERIALIZED: set(chosen)}


def ends_when_cancelled(running: Up, sandbox: Sandbox, home: Home, database: Path) -> None:
    """A run that is terminated while it fetches, and while others of its calls wait to be repeated."""
    chosen = dates("2021-01-01", 90)
    sandbox.change(latency=0.2, faults={"rate-limit": 0.3}, retry_after=50)
    calls = sandbox.stats()["total"]
    launch(running, chosen)
    running.wait("calls", lambda: sandbox.stats()["total"] >= calls + 12)
    [run] = [run for run in home.all_runs() if run.tags.get(RANGE_START) == chosen[0]]
    assert home.processes(run.run_id) & running.processes()
    calls = sandbox.stats()["total"]
    assert running.graphql(TERMINATE, run=run.run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    running.wait("end of the run", lambda: home.run(run.run_id).is_finished)
    running.wait("end of its process", lambda: not home.processes(run.run_id) & running.processes())
    assert home.run(run.run_id).status is dg.DagsterRunStatus.CANCELED
    assert sandbox.stats()["total"] <= calls + 8  # those under way, and what is asked again without a wait
    stored = stored_dates(database) & set(chosen)
    print(f"{len(stored)} of {len(chosen)} dates stored when it was cancelled")
    assert stored
    assert home.shown(chosen).get(MATERIALIZED, set()) <= stored
    sandbox.change(latency=0, faults={})
