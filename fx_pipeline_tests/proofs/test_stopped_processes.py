"""Processes that end, stop or crash: each is alerted once within ten minutes, and once when that is over."""

import datetime as dt
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fx_pipeline.alerting.watch import Watcher
from fx_pipeline.api.server import BETWEEN_LOOKS
from fx_pipeline.clock import utc_now
from fx_pipeline.crashes import MANY
from fx_pipeline.dagster_internals.testing import record_heartbeat
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.api.server import serving
from fx_pipeline_tests.child_processes import processes_with
from fx_pipeline_tests.command_line import PROGRAM, environment, run_command
from fx_pipeline_tests.inbox import Inbox, open_inbox
from fx_pipeline_tests.object_store import running_store
from fx_pipeline_tests.proofs.reports import KEY, LOOK, Reports, check_no_secret, settings_of
from fx_pipeline_tests.replication.replicating import replicating
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.waiting import PATIENCE, wait_for

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]


class Machine:
    """The processes of an installation, and the watcher, which looks at instants that the test chooses."""

    def __init__(self, folder: Path, sandbox: Sandbox, inbox: Inbox, settings: dict[str, str]) -> None:
        self.folder = folder
        self.database = folder / "fx.db"
        self.sandbox = sandbox
        self.inbox = inbox
        self.settings = settings
        self.said: list[str] = []
        self.has_daemon = True
        self._instance: dg.DagsterInstance = open_instance(folder / "dagster")
        self._watcher = Watcher(load_settings(), self.said.append)
        self._now = utc_now()

    def close(self) -> None:
        self._watcher.close()
        self._instance.dispose()

    def return_to_the_present(self) -> None:
        """Let the watcher look at the present again."""
        self._now = utc_now()

    def advance(self, *, every: dt.timedelta = LOOK, **time: float) -> None:
        """Let time pass for the watcher. Record the heartbeats of the daemon if the test does not run it."""
        for _ in range(int(dt.timedelta(**time) / every)):
            self._now += every
            if self.has_daemon:
                record_heartbeat(self._instance, self._now)
            self._watcher.look(self._now)

    def alerts(self) -> list[dict[str, Any]]:
        return [message for message in self.inbox.received if message["type"] != "info"]

    def run(self, *arguments: str) -> None:
        """Run a command, which succeeds."""
        done = run_command(self.folder, *arguments, **self.settings)
        assert done.returncode == 0, done.stderr

    @contextmanager
    def daemon(self) -> Iterator["subprocess.Popen[bytes]"]:
        """Run Dagster's daemon with its code server. Kill both at the end."""
        started = time.time()
        mark = f"{self.folder} daemon"
        with subprocess.Popen(
            [*PROGRAM, "daemon"],
            cwd=self.folder,
            env=environment(**self.settings, FX_TESTS_ROLE=mark),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                wait_for(lambda: self._has_begun(started), pause=0.2)
                yield process
            finally:
                process.kill()
                process.wait()
                for pid in processes_with(f"FX_TESTS_ROLE={mark}"):
                    os.kill(pid, signal.SIGKILL)

    def _has_begun(self, started: float) -> bool:
        """Return whether each thread of the daemon has sent a heartbeat, and it knows the schedules."""
        beats = self._instance.get_daemon_heartbeats()
        begun = {kind for kind, beat in beats.items() if beat.timestamp > started}
        return begun >= {*self._instance.get_required_daemon_types()} and bool(
            self._instance.all_instigator_state()
        )


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Yield an installation with the last ten days."""
    with running_sandbox(key=KEY) as sandbox, open_inbox() as inbox:
        settings = settings_of(tmp_path, sandbox, inbox)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        machine = Machine(tmp_path, sandbox, inbox, settings)
        try:
            machine.run("ingest")
            yield machine
        finally:
            machine.close()
        check_no_secret(inbox.received, machine.said)


def test_each_process_that_stops_is_reported(machine: Machine) -> None:
    reports = Reports(machine)
    for stop in (daemon_stops, run_hangs, replica_stalls, worker_crashes):
        machine.return_to_the_present()
        stop(machine, reports)


def daemon_stops(machine: Machine, reports: Reports) -> None:
    machine.has_daemon = False
    with machine.daemon() as daemon:
        machine.advance(minutes=3)
        assert reports.new() == []
        machine.return_to_the_present()
        daemon.send_signal(signal.SIGSTOP)
        assert "its last heartbeat was at" in reports.begin("daemon_dead")
    with machine.daemon():
        machine.return_to_the_present()
        reports.end(quiet=False)
    machine.has_daemon = True
    reports.silence()


def run_hangs(machine: Machine, reports: Reports) -> None:
    before = machine.sandbox.stats()["total"]
    machine.sandbox.hold()
    with subprocess.Popen(
        [*PROGRAM, "ingest", "--date", "2024-01-02"],
        cwd=machine.folder,
        env=environment(**machine.settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        try:
            wait_for(lambda: machine.sandbox.stats()["total"] > before)
            run.send_signal(signal.SIGSTOP)
            assert "has reported nothing for 7 minutes." in reports.begin("run_hung")
            machine.sandbox.release()
            run.send_signal(signal.SIGCONT)
            assert run.wait(PATIENCE) == 0
        finally:
            run.kill()
    reports.end()


def worker_crashes(machine: Machine, reports: Reports) -> None:
    file = machine.database.with_name("fx.db-crashes")

    def crashes() -> int:
        return len(file.read_text().splitlines()) if file.exists() else 0

    with serving(machine.database, machine.folder / "serve.log", workers=2) as server:
        known: set[int] = set()
        workers = server.wait_for_workers(2)
        time.sleep(2 * BETWEEN_LOOKS)  # nothing shows that both have been seen
        for crash in range(1, MANY + 1):
            os.kill((workers - known).pop(), signal.SIGKILL)
            # A crash is noted when the worker that replaces it is seen, which can be killed from then on.
            wait_for(crashes, lambda count: count == crash)  # noqa: B023  # called in this round only
            known, workers = workers, server.wait_for_workers(2 + crash)
        assert "api worker has crashed 3 times" in reports.begin("crash_loop", lasts=False)
        reports.end(minutes=17)


def replica_stalls(machine: Machine, reports: Reports) -> None:
    with running_store(machine.folder / "store") as store, ExitStack() as stack:
        for name, value in store.credentials.items():
            stack.enter_context(pytest.MonkeyPatch.context()).setenv(name, value)
        running = stack.enter_context(replicating(machine.database, store.url()))
        running.wait_for_status("ok")
        machine.advance(minutes=2)
        store.stop()
        machine.run("ingest", "--date", "2024-01-03")
        running.wait_for_status("failing")
        assert "the newest commits have not been in the replica" in reports.begin("replica_stalled")
        running.wait_for_litestream().kill()
        store.start()
        running.wait_for_status("ok")
        reports.end()
