"""A run is cancelled while it fetches: responses are stored, no further call is made, and nothing hangs."""

import datetime as dt
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.alerting.checks import check_faults
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runs import ended_runs, run_faults
from fx_pipeline.clock import utc_now
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.rates import date_range
from fx_pipeline.settings import Settings
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.child_processes import wait_while_running
from fx_pipeline_tests.command_line import messages, run_command, start_command
from fx_pipeline_tests.fixer.scripted_server import reply, scripted, together
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.storages import Storage
from fx_pipeline_tests.stored import assert_consistent, rows, stored_dates
from fx_pipeline_tests.waiting import wait_for

DATES = list(date_range(dt.date(2024, 1, 1), dt.date(2024, 3, 31)))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(latency=0.05) as sandbox:
        yield sandbox


def settings(sandbox: Sandbox) -> dict[str, str]:
    return {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "DAGSTER_HOME": "dagster"}


def fetches(database: Path) -> dict[str, int]:
    """Return how many fetches have each status.

    Leave out a fetch that was opened and abandoned before its call.
    """
    sql = "SELECT status, count(*) FROM fetches WHERE (status, calls) <> ('abandoned', 0) GROUP BY status"
    return dict(rows(database, sql))


def fetching_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fixer")]


def test_stores_every_response_after_the_caller_has_left(folder: Path, sandbox: Sandbox) -> None:
    database = folder / "fx.db"
    with (
        RateStore(database) as store,
        Ledger(database) as ledger,
        FixerClient(sandbox.url, "a-key") as client,
    ):
        outcomes = ingest(plan_calls(DATES), client, store, ledger, concurrency=4)
        assert isinstance(outcomes, Iterator)
        assert next(outcomes).stored
        outcomes.close()  # type: ignore[attr-defined]  # as Python does with an abandoned generator
        assert fetching_threads() == []
        calls = sandbox.stats()["total"]
    assert 4 <= calls < len(DATES)
    assert stored_dates(database) == {str(date) for date in DATES[-calls:]}
    assert fetches(database) == {"ok": calls}
    assert_consistent(database)


class InterruptedOnce(RateStore):
    """A store that gets Ctrl-C during its first commit. Python raises after the commit."""

    is_interrupted = False

    def record(self, answers: Sequence[Fetch], *, run_id: str | None = None) -> list[StoredDay]:
        stored = super().record(answers, run_id=run_id)
        if not self.is_interrupted:
            self.is_interrupted = True
            raise KeyboardInterrupt
        return stored


def test_stores_and_counts_once_what_an_interrupted_commit_wrote(folder: Path, sandbox: Sandbox) -> None:
    database = folder / "fx.db"
    with (
        InterruptedOnce(database) as store,
        Ledger(database) as ledger,
        FixerClient(sandbox.url, "a-key") as client,
        pytest.raises(KeyboardInterrupt),
    ):
        list(ingest(plan_calls(DATES), client, store, ledger, concurrency=4))
    calls = sandbox.stats()["total"]
    assert 4 <= calls < len(DATES)
    assert fetches(database) == {"ok": calls}
    assert stored_dates(database) == {str(date) for date in DATES[-calls:]}


@pytest.fixture
def sigint() -> Iterator[None]:
    """Let SIGINT raise KeyboardInterrupt, even if a shell ignores it for background jobs such as this one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
def test_an_interrupt_ends_the_wait_for_a_retry(folder: Path) -> None:
    """All four threads are asked to wait for 50 seconds, and then interrupted."""
    database = folder / "fx.db"
    answer = together(4, reply("", 429, Retry_After="50", Connection="close"))

    def interrupt() -> None:
        wait_for(lambda: len(server.requests) >= 4)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    with scripted(by_path=lambda _: answer()) as server:
        threading.Thread(target=interrupt).start()
        with (
            RateStore(database) as store,
            Ledger(database) as ledger,
            FixerClient(server.url, "a-key", backoff=50) as client,
            pytest.raises(KeyboardInterrupt),
        ):
            list(ingest(plan_calls(DATES), client, store, ledger, concurrency=4))
        assert fetching_threads() == []
        assert len(server.requests) == 4
    assert fetches(database) == {"too many requests in a short time (HTTP 429)": 4}
    with RateStore(database) as store:
        assert store.coverage().calls == 4


def faults_in(folder: Path) -> list[Fault]:
    """Return what the runs and checks show to the watcher."""
    with open_instance(folder / "dagster") as instance:
        ended = [*ended_runs(instance)]
        return [*run_faults(instance, ended, Settings(), utc_now()), *check_faults(instance, Settings())]


@pytest.mark.slow
def test_alerts_for_the_findings_of_a_cancelled_run(folder: Path, sandbox: Sandbox) -> None:
    january = run_command(folder, "ingest", "--from", "2024-01-01", "--to", "2024-01-31", **settings(sandbox))
    assert january.returncode == 0
    sandbox.change(faults={"off-by-100": 0.5, "empty": 0.4}, seed=1)

    def waits_for_its_next_attempt() -> bool:
        run = instance.get_runs(limit=1)[0]
        return bool(instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))

    with (
        start_command(
            folder, "ingest", "--from", "2024-02-01", "--to", "2024-02-10", **settings(sandbox)
        ) as command,
        open_instance(folder / "dagster") as instance,
    ):
        wait_while_running(command, waits_for_its_next_attempt)
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate()
    assert messages(errors).startswith("failed  The run was cancelled")
    [fault] = [fault for fault in faults_in(folder) if fault.kind == "garbage_values"]
    assert "Check jump: " in fault.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("storage", "signal_"),
    [("files", signal.SIGINT), ("files", signal.SIGTERM), ("postgres", signal.SIGINT)],
    indirect=["storage"],
)
def test_a_cancelled_command_ends_immediately_and_the_next_one_fetches_the_rest(
    folder: Path, sandbox: Sandbox, storage: Storage, signal_: signal.Signals
) -> None:
    sandbox.change(faults={"rate-limit": 0.3}, seed=1, retry_after=50)  # first for the twentieth request
    arguments = ["ingest", "--from", str(DATES[0]), "--to", str(DATES[-1])]
    database = folder / "data" / "fx.db"
    with start_command(folder, *arguments, **settings(sandbox), **storage) as command:
        wait_while_running(
            command, lambda: sandbox.stats()["endpoints"].get("historical", {}).get("rate-limit")
        )
        command.send_signal(signal_)
        calls = sandbox.stats()["total"]
        output, errors = command.communicate()
    assert command.returncode == 1
    with open_instance(folder / "dagster") as instance:
        [run] = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert run.tags["dagster/will_retry"] == "false"  # by the daemon
    assert errors.splitlines()[-1] == "failed  The run was cancelled. Days that it had stored are kept."
    assert output.endswith(" stored.\n")
    responses = sandbox.stats()["endpoints"]["historical"]["ok"]
    assert sandbox.stats()["total"] <= calls + 8  # calls in flight, and immediate first retries
    assert fetches(database)["ok"] == len(stored_dates(database)) == responses
    assert_consistent(database)
    assert faults_in(folder) == []

    sandbox.change(faults={})
    again = run_command(folder, *arguments, "--missing", **settings(sandbox), **storage)
    assert again.returncode == 0, again.stderr
    assert sandbox.stats()["endpoints"]["historical"]["ok"] == len(DATES)
    assert stored_dates(database) == {str(date) for date in DATES}
