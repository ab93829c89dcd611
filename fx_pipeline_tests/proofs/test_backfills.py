"""Backfills as the UI starts them, run by Dagster's own processes: partly failed, repeated, cancelled."""

import os
import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest
import requests

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.processes.running_up import BACKFILL, LAUNCH, Up, each_second, up
from fx_pipeline_tests.proofs.conftest import MEMORY
from fx_pipeline_tests.proofs.runs import FAILED, MATERIALIZED, shown_in_ui
from fx_pipeline_tests.proofs.secrets import ALERTS, KEY, Secrets
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates
from fx_pipeline_tests.waiting import PATIENCE

pytestmark = pytest.mark.slow

REEXECUTE = """mutation Reexecute($run: String!) {
    launchRunReexecution(reexecutionParams: {parentRunId: $run, strategy: ALL_STEPS}) {
        __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    }
}"""

REEXECUTE_BACKFILL = """mutation Retry($backfill: String!) {
    reexecutePartitionBackfill(reexecutionParams: {parentRunId: $backfill, strategy: ALL_STEPS}) {
        __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
    }
}"""

TERMINATE = """mutation Terminate($run: String!) {
    terminateRun(runId: $run) { __typename ... on PythonError { message } }
}"""

RANGE_START = "dagster/asset_partition_range_start"


@dataclass(frozen=True)
class Product:
    """A running `up` and its provider. Dagster's state is read from the files next to its processes."""

    running: Up
    sandbox: Sandbox
    folder: Path
    token: str

    @property
    def home(self) -> Path:
        return self.folder / "data" / "dagster"

    @property
    def database(self) -> Path:
        return self.folder / "data" / "fx.db"

    def launch(self, dates: Iterable[str]) -> str:
        """Start a backfill as the dialog "Materialize" does, and return its id."""
        launched = self.running.graphql(
            LAUNCH,
            backfillParams={
                "tags": [{"key": "dagster/from_ui", "value": "true"}],
                "assetSelection": [{"path": ["rates"]}],
                "partitionNames": list(dates),
            },
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def wait_for_backfill(self, backfill: str) -> str:
        """Wait until a backfill has ended, and return its status."""

        def status() -> str:
            return str(self.running.graphql(BACKFILL, id=backfill)["partitionBackfillOrError"]["status"])

        self.running.wait(
            "end of the backfill", lambda: status() not in ("REQUESTED", "COMPLETING", "FAILING")
        )
        return status()

    def shown(self, dates: Iterable[str]) -> dict[str, set[str]]:
        """Return the dates by the status that the UI shows."""
        with open_instance(self.home) as instance:
            return shown_in_ui(instance, dates)

    def runs(self, backfill: str) -> list[dg.DagsterRun]:
        with open_instance(self.home) as instance:
            return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})))

    def run(self, run_id: str) -> dg.DagsterRun:
        with open_instance(self.home) as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def run_from(self, first: str) -> dg.DagsterRun:
        """Return the run whose range begins with this date."""
        with open_instance(self.home) as instance:
            [run] = instance.get_runs(dg.RunsFilter(tags={RANGE_START: first}))
        return run

    def processes_of(self, run_id: str) -> set[int]:
        """Return those processes of a run, as Dagster has logged them, that are alive."""
        with open_instance(self.home) as instance:
            events = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        logged = {int(pid) for event in events for pid in re.findall(r"pid: ([0-9]+)", event.message)}
        return logged & self.running.processes()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Run `up` with a key, an alert address that refuses connections, and an API token.

    When it has stopped, no secret may be in any file: Dagster's files and logs, the output of every process
    and the databases are all below its folder.
    """
    patches = each_second(tmp_path_factory.mktemp("patches"))
    settings = {"FIXER_ACCESS_KEY": KEY, "FX_ALERT_URLS": ALERTS, **patches}
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name, running_sandbox() as sandbox:
        folder = Path(name)
        with up(folder, FIXER_BASE_URL=sandbox.url, **settings) as running:
            running.wait_until_ready()
            token = run_command(folder, "token", "create", "reader").stdout.strip()
            yield Product(running, sandbox, folder, token)
            assert_consistent(folder / "data" / "fx.db")
            assert running.interrupt() == 0
        assert list(Secrets(token).traces(folder)) == []


def test_only_failed_dates_are_fetched_again(product: Product) -> None:
    chosen = dates_between("2023-01-01", "2023-04-30")
    # About one date in ten gets a wrong response in all three attempts.
    product.sandbox.change(faults={"wrong-date": 0.45})
    backfill = product.launch(chosen)
    assert product.wait_for_backfill(backfill) == "COMPLETED_FAILED"
    product.sandbox.change(faults={})
    assert [run.status for run in product.runs(backfill)] == [dg.DagsterRunStatus.FAILURE] * 2
    failed = set(chosen) - stored_dates(product.database)
    print(f"{len(failed)} of {len(chosen)} dates failed")
    assert 0 < len(failed) < 40
    assert product.shown(chosen) == {MATERIALIZED: set(chosen) - failed, FAILED: failed}
    assert_consistent(product.database)

    # "Re-execute all", for the run of the first hundred dates.
    before = product.sandbox.asked_dates()
    repeated = failed & set(chosen[:100])
    answer = product.running.graphql(REEXECUTE, run=product.run_from(chosen[0]).run_id)
    assert answer["launchRunReexecution"]["__typename"] == "LaunchRunSuccess", answer
    again = answer["launchRunReexecution"]["run"]["runId"]
    product.running.wait("end of the run", lambda: product.run(again).is_finished)
    assert product.run(again).is_success
    assert product.sandbox.asked_dates() - before == Counter(repeated)
    failed -= repeated
    assert product.shown(chosen) == {MATERIALIZED: set(chosen) - failed, FAILED: failed}

    # The whole backfill again: it also skips what the re-executed run has stored.
    before = product.sandbox.asked_dates()
    answer = product.running.graphql(REEXECUTE_BACKFILL, backfill=backfill)["reexecutePartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    assert product.wait_for_backfill(answer["backfillId"]) == "COMPLETED_SUCCESS"
    assert product.sandbox.asked_dates() - before == Counter(failed)
    assert product.shown(chosen) == {MATERIALIZED: set(chosen)}

    watched = product.database.with_name("fx.db-alerts.json")
    product.running.wait("the watcher", watched.exists)


def test_a_cancelled_run_ends_immediately(product: Product) -> None:
    """It ends while it fetches, and while other calls wait to be retried."""
    sandbox, running = product.sandbox, product.running
    chosen = dates_between("2021-01-01", "2021-03-31")
    sandbox.change(latency=0.2, faults={"rate-limit": 0.3}, retry_after=50)
    calls = sandbox.stats()["total"]
    product.launch(chosen)
    running.wait("calls", lambda: sandbox.stats()["total"] >= calls + 12)
    run = product.run_from(chosen[0])
    assert product.processes_of(run.run_id)
    calls = sandbox.stats()["total"]
    assert running.graphql(TERMINATE, run=run.run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    running.wait("end of the run", lambda: product.run(run.run_id).is_finished)
    running.wait("end of its process", lambda: not product.processes_of(run.run_id))
    sandbox.change(latency=0, faults={})
    assert product.run(run.run_id).status is dg.DagsterRunStatus.CANCELED
    assert sandbox.stats()["total"] <= calls + 8  # calls in flight, and immediate first retries
    stored = stored_dates(product.database) & set(chosen)
    print(f"{len(stored)} of {len(chosen)} dates were stored when the run was cancelled")
    assert stored
    assert product.shown(chosen).get(MATERIALIZED, set()) <= stored


def test_a_killed_code_server_ends_no_run_and_fails_none_that_waits(product: Product) -> None:
    """A started run continues in its own process. One in the queue waits for the next code server."""
    sandbox, running = product.sandbox, product.running
    chosen = dates_between("2020-01-01", "2020-05-31")
    sandbox.hold()
    calls = sandbox.stats()["total"]
    backfill = product.launch(chosen[:100])
    running.wait("calls", lambda: sandbox.stats()["total"] >= calls + 4)
    [server] = running.pids("grpc")
    os.kill(server, signal.SIGKILL)
    later = product.launch(chosen[100:])
    running.wait("another code server", lambda: running.pids("grpc") not in ([], [server]))
    sandbox.release()
    assert product.wait_for_backfill(backfill) == "COMPLETED_SUCCESS"
    assert product.wait_for_backfill(later) == "COMPLETED_SUCCESS"
    assert product.shown(chosen) == {MATERIALIZED: set(chosen)}
    assert [len(product.runs(one)) for one in (backfill, later)] == [1, 1]


def test_the_api_needs_a_token(product: Product) -> None:
    date = min(stored_dates(product.database))
    for path, status in ((f"/rates/{date}/", 200), ("/rates/1998-01-01/", 404), ("/nothing", 404)):
        url = product.running.url("API", path)
        in_query = requests.get(url, params={"access_key": product.token}, timeout=PATIENCE)
        in_header = requests.get(url, headers={"apikey": product.token}, timeout=PATIENCE)
        assert (in_query.status_code, in_header.status_code) == (status, status)
    assert product.running.get(f"/rates/{date}/").status_code == 401
