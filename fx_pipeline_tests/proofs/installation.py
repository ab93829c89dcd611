"""An installation whose clock a test moves: its schedules, its runs, its watcher, and what they send.

All are in this process, whose clock is moved. It executes what the schedules request, on a real instance.
"""

import datetime as dt
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import time_machine
from sqlalchemy.exc import OperationalError

from fx_pipeline.alerting.watch import Watcher
from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.tags import SCHEDULE_TAG
from fx_pipeline.dagster_internals.testing import launch_scheduled_runs, record_heartbeat
from fx_pipeline.definitions import defs
from fx_pipeline.defs.resources import DatabaseResource, FixerResource, without_config
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.defs.rates_run import QUIET, run_range
from fx_pipeline_tests.disks import small_disk
from fx_pipeline_tests.inbox import Inbox, open_inbox
from fx_pipeline_tests.proofs.reports import KEY, LOOK, settings_of
from fx_pipeline_tests.proofs.runs import ImpatientFixer
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.test_heartbeat import Service, running_service

SHORTLY = dt.timedelta(minutes=2)
"""How long the watcher looks every 30 seconds after a run, even if time passes in longer steps."""

DUE = {(hour, minute) for hour in (0, 1, 3, 6) for minute in (10, 20)} | {(4, 40), (5, 10), (6, 40)}
"""When schedules are due, hour and minute."""

ROOM = "1g"
"""The size of the installation's disk."""


class Installation:
    """An installation in a folder. Its clock and its settings hold within `running`."""

    watcher: Watcher

    def __init__(
        self,
        folder: Path,
        instance: dg.DagsterInstance,
        sandbox: Sandbox,
        inbox: Inbox,
        service: Service,
        settings: Mapping[str, str],
        *,
        own_disk: bool,
    ) -> None:
        self.folder = folder
        self.database = folder / "fx.db"
        self.sandbox = sandbox
        self.inbox = inbox
        self.service = service
        self.settings = settings
        self.own_disk = own_disk
        self.provider = sandbox.url
        """The address that the runs use as Fixer's."""
        self.said: list[str] = []
        self._instance = instance
        self._definitions = dg.Definitions(
            assets=defs.assets,
            asset_checks=defs.asset_checks,
            jobs=defs.jobs,
            schedules=defs.schedules,
            resources=self._resources(),
            executor=dg.in_process_executor,
        )
        self._definitions.get_repository_def()  # while its instance is open
        self._travel: Any = None
        self._clock: Any = None
        self._now = utc_now()

    @contextmanager
    def running(self, monkeypatch: pytest.MonkeyPatch, now: dt.datetime | None = None) -> Iterator[None]:
        """Set the settings and the clock for the block: to `now`, by default when the last block ended."""
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)
        before = Path.cwd()
        os.chdir(self.folder)
        monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
        self._travel = time_machine.travel(now or self._now, tick=False)
        self._clock = self._travel.start()
        self.watcher = Watcher(load_settings(), self.said.append)
        try:
            yield
        finally:
            self.watcher.close()
            self._now = utc_now()
            self._travel.stop()
            os.chdir(before)  # the disk can be unmounted

    def advance(self, *, every: dt.timedelta = LOOK, **time: float) -> None:
        """Let time pass: execute the runs of the schedules that become due, and look."""
        self.advance_to(utc_now() + dt.timedelta(**time), every=every)

    def advance_to(
        self, end: dt.datetime, *, every: dt.timedelta = LOOK, after_a_run: dt.timedelta = SHORTLY
    ) -> None:
        """Let time pass up to an instant. For a while after each run, look every 30 seconds."""
        often = utc_now()
        while (now := utc_now()) < end:
            due = _next_due(now)
            self._clock.move_to(min(now + (LOOK if now < often else every), end, due))
            with suppress(OperationalError, dg.DagsterError):  # the disk is full: no run can be created
                if utc_now() == due and self._run_due():
                    often = due + after_a_run
            self.look()

    def skip_to(self, hour: int) -> None:
        """Set the clock to the next time that it is this hour, as after a machine was off."""
        now = utc_now()
        then = now.replace(hour=hour, minute=0, second=0)
        self._clock.move_to(then if then > now else then + dt.timedelta(days=1))
        self.advance(minutes=2)

    def look(self) -> None:
        """Let the daemon send its heartbeat and the watcher look, now."""
        self._beat()
        self.watcher.look(utc_now())

    def _beat(self) -> None:
        with suppress(OperationalError):  # the disk is full
            record_heartbeat(self._instance, utc_now())

    def set_clock(self, now: dt.datetime) -> None:
        """Set the machine's clock."""
        self._clock.move_to(now)

    def used_mb(self) -> int:
        """Return how much of the disk is used."""
        return shutil.disk_usage(self.folder).used // 2**20 + 1

    def _run_due(self) -> bool:
        """Execute the runs that the schedules request now. Return whether one was executed."""
        now, executed = utc_now(), False
        for schedule in self._definitions.get_repository_def().schedule_defs:
            if _is_due(str(schedule.cron_schedule), now):
                context = dg.build_schedule_context(instance=self._instance, scheduled_execution_time=now)
                for request in schedule.evaluate_tick(context).run_requests or ():
                    job = self._definitions.resolve_job_def(schedule.job_name)
                    if request.asset_check_keys:
                        job = job.get_subset(
                            asset_selection=set(), asset_check_selection={*request.asset_check_keys}
                        )
                    job.execute_in_process(
                        instance=self._instance,
                        tags={**request.tags, SCHEDULE_TAG: schedule.name},
                        run_config={**request.run_config, **QUIET},
                        raise_on_error=False,
                    )
                    executed = True
        return executed

    def _resources(self) -> dict[str, object]:
        """Return the product's resources, but the provider has the present address."""

        def fixer(context: dg.InitResourceContext) -> Iterator[FixerResource]:
            settings = load_settings()
            resource = ImpatientFixer(
                base_url=self.provider,
                base=settings.fx_base,
                symbols=settings.fx_symbols,
                concurrency=settings.fixer_concurrency,
                retries=1,
            )
            yield resource
            resource.close()

        return {
            "fixer": dg.ResourceDefinition(fixer),
            "database": without_config(DatabaseResource(path=str(self.database))),
        }

    def ingest(self, days: int, *, missing: bool = True) -> None:
        """Do what `fx-pipeline ingest --days N --missing` does, which the runbook names as a remedy."""
        today = utc_now().date()
        first, last = (str(today - dt.timedelta(days=ago)) for ago in (days, 1))
        result = run_range(self._instance, self._resources(), first, last, skip_stored=missing)
        assert result.success

    def alerts(self) -> list[dict[str, Any]]:
        """Return the messages that are not digests."""
        return [message for message in self.inbox.received if message["type"] != "info"]

    def statuses(self, job: str) -> list[str]:
        """Return how the runs of a job ended, newest first."""
        return [run.status.value for run in self._instance.get_runs(dg.RunsFilter(job_name=job))]


def _is_due(cron: str, at: dt.datetime) -> bool:
    """Return whether a schedule that is due each day at some hours is due at this minute."""
    minute, hours, *_ = cron.split()
    return at.minute == int(minute) and at.hour in map(int, hours.split(","))


def _next_due(now: dt.datetime) -> dt.datetime:
    """Return the next instant at which a schedule is due."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    instants = [
        midnight + dt.timedelta(days=ahead, hours=hour, minutes=minute)
        for ahead in (0, 1)
        for hour, minute in DUE
    ]
    return min(instant for instant in instants if instant > now)


@contextmanager
def installed(folder: Path, start: dt.datetime, *, days: int = 90, **settings: str) -> Iterator[Installation]:
    """Yield an installation in `folder` that has the days before `start`."""
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        own_disk = stack.enter_context(small_disk(folder, ROOM))
        sandbox = stack.enter_context(running_sandbox(key=KEY))
        inbox = stack.enter_context(open_inbox())
        service = stack.enter_context(running_service())
        settings = {
            **settings_of(folder, sandbox, inbox),
            "FX_HEARTBEAT_URL": service.url,
            **settings,
        }
        for name, value in settings.items():
            patch.setenv(name, value)
        instance = stack.enter_context(open_instance(folder / "dagster"))
        with loaded_workspace(instance) as workspace:
            launch_scheduled_runs(workspace, start)  # the first only notes when the schedules began
        made = Installation(folder, instance, sandbox, inbox, service, settings, own_disk=own_disk)
        with pytest.MonkeyPatch.context() as block, made.running(block, start):
            made.ingest(days)
            made.advance(minutes=5)
            assert made.inbox.received == [], made.inbox.received
        os.environ.pop("DAGSTER_HOME", None)
        yield made
