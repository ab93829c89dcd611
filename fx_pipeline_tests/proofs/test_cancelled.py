"""A run is cancelled while it fetches: what was answered is stored, nothing more is asked, nothing hangs."""

import datetime as dt
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.alerts import Alert
from fx_pipeline.commands.runs import open_instance
from fx_pipeline.defs.sensors import ENDS, Ended, alert_of
from fx_pipeline.fetch import Fetch
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.ingestion.ingest import ingest
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import date_range
from fx_pipeline.settings import Settings
from fx_pipeline.store.days import StoredDay
from fx_pipeline.store.ledger import Ledger
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.command_line import PROGRAM, environment, messages, run_command
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

DATES = list(date_range(dt.date(2024, 1, 1), dt.date(2024, 3, 31)))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(latency=0.05) as sandbox:
        yield sandbox


def fetches(database: Path) -> dict[str, int]:
    """How many questions that were asked have each status; one may just have been opened and is abandoned."""
    query = "SELECT status, count(*) FROM fetches WHERE (status, calls) <> ('abandoned', 0) GROUP BY status"
    with closing(sqlite3.connect(database)) as connection:
        return dict(connection.execute(query))


def fetching_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("fixer")]


def test_what_was_answered_is_stored_though_nobody_waits_for_it(folder: Path, sandbox: Sandbox) -> None:
    database = folder / "fx.db"
    with (
        RateStore(database) as store,
        Ledger(database) as ledger,
        FixerClient(sandbox.url, "a-key") as client,
    ):
        outcomes = ingest(plan_calls(DATES), client, store, ledger, concurrency=4)
        assert isinstance(outcomes, Iterator)
        assert next(outcomes).stored
        outcomes.close()  # type: ignore[attr-defined]  # as Python does with a generator that is left
        assert fetching_threads() == []
        calls = sandbox.stats()["total"]
    assert 4 <= calls < len(DATES)
    assert stored_dates(database) == {str(date) for date in DATES[-calls:]}
    assert fetches(database) == {"ok": calls}
    assert list(broken(database)) == []


class InterruptedOnce(RateStore):
    """A store during whose first commit somebody presses Ctrl-C: Python says so when it is done."""

    pressed = False

    def record(self, answers: Sequence[Fetch], *, run_id: str | None = None) -> list[StoredDay]:
        stored = super().record(answers, run_id=run_id)
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt
        return stored


def test_what_was_just_being_stored_is_not_stored_and_counted_twice(folder: Path, sandbox: Sandbox) -> None:
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


def test_no_repetition_is_waited_for(folder: Path, sandbox: Sandbox) -> None:
    sandbox.change(faults={"rate-limit": 1.0}, retry_after=50)
    database = folder / "fx.db"

    def interrupt() -> None:
        before = 0
        while before < 1 or before != sandbox.stats()["total"]:  # until all of them wait
            before = sandbox.stats()["total"]
            time.sleep(0.5)
        calls.append(before)
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    calls: list[int] = []
    threading.Thread(target=interrupt).start()
    with (
        RateStore(database) as store,
        Ledger(database) as ledger,
        FixerClient(sandbox.url, "a-key", backoff=50) as client,
        pytest.raises(KeyboardInterrupt),
    ):
        list(ingest(plan_calls(DATES), client, store, ledger, concurrency=4))
    assert fetching_threads() == []
    assert [sandbox.stats()["total"]] == calls
    assert fetches(database).keys() == {"too many requests at once (HTTP 429)"}
    with RateStore(database) as store:
        assert [store.coverage().calls] == calls


def end_of(home: Path) -> Alert | None:
    """What is told of the last run, each of whose ends the daemon sees."""
    with open_instance(home) as instance:
        run = instance.get_runs(limit=1)[0]
        told = [
            alert_of(instance, Ended(run.run_id, kind is dg.DagsterEventType.RUN_FAILURE, 0), Settings())
            for kind in ENDS
            if instance.all_logs(run.run_id, of_type=kind)
        ]
    assert told
    alerts = [alert for alert in told if alert]
    assert len(alerts) <= 1
    return alerts[0] if alerts else None


def test_what_a_cancelled_run_had_found_is_told(folder: Path, sandbox: Sandbox) -> None:
    settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "DAGSTER_HOME": "dagster"}
    before = run_command(folder, "ingest", "--from", "2024-01-01", "--to", "2024-01-31", **settings)
    assert before.returncode == 0
    sandbox.change(faults={"off-by-100": 0.5, "empty": 0.4}, seed=1)
    with (
        subprocess.Popen(
            [*PROGRAM, "ingest", "--from", "2024-02-01", "--to", "2024-02-10"],
            cwd=folder,
            env=environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command,
        open_instance(folder / "dagster") as instance,
    ):
        while not waits(instance.get_runs(limit=1)[0].run_id, instance):
            assert command.poll() is None
            time.sleep(0.1)
        command.send_signal(signal.SIGINT)
        _, errors = command.communicate()
    assert messages(errors).startswith("failed  The run was cancelled")
    alert = end_of(folder / "dagster")
    assert alert is not None
    assert alert.title.startswith("fx-pipeline: check failed: ")
    assert "jump" in alert.title


def waits(run_id: str, instance: dg.DagsterInstance) -> bool:
    """Whether a run waits for its next attempt."""
    return bool(instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY))


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_at_once_and_the_next_one_does_the_rest(
    folder: Path, sandbox: Sandbox, signal_: signal.Signals
) -> None:
    sandbox.change(faults={"rate-limit": 0.3}, seed=1, retry_after=50)  # first for the twentieth request
    settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": "a-key", "DAGSTER_HOME": "dagster"}
    command = ["ingest", "--from", str(DATES[0]), "--to", str(DATES[-1])]
    database = folder / "data" / "fx.db"
    with subprocess.Popen(
        [*PROGRAM, *command],
        cwd=folder,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        while not sandbox.stats()["endpoints"].get("historical", {}).get("rate-limit"):
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal_)
        calls = sandbox.stats()["total"]
        output, errors = run.communicate()
    assert run.returncode == 1
    with open_instance(folder / "dagster") as instance:
        [ended] = instance.get_runs()
    assert ended.status is dg.DagsterRunStatus.CANCELED
    assert ended.tags["dagster/will_retry"] == "false"  # by the daemon
    assert errors.splitlines()[-1] == "failed  The run was cancelled. Days that it had stored are kept."
    assert output.endswith(" stored.\n")
    answered = sandbox.stats()["endpoints"]["historical"]["ok"]
    assert sandbox.stats()["total"] <= calls + 8  # those under way, and what is asked again without a wait
    assert fetches(database)["ok"] == len(stored_dates(database)) == answered
    assert list(broken(database)) == []

    assert end_of(folder / "dagster") is None

    sandbox.change(faults={})
    again = run_command(folder, *command, "--missing", **settings)
    assert again.returncode == 0, again.stderr
    assert sandbox.stats()["endpoints"]["historical"]["ok"] == len(DATES)
    assert stored_dates(database) == {str(date) for date in DATES}
