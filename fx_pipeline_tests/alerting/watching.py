"""Looks of the watcher, at instants that a test chooses."""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from fx_pipeline.alerting.checks import check_faults
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runs import ended_runs, hung_runs, run_faults
from fx_pipeline.alerting.watch import Look, Watcher
from fx_pipeline.clock import utc_now
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.inbox import Inbox


class Watching:
    """A watcher whose clock a test moves. It sends to the address in the settings, if there is one.

    Its digest is not due for hours, whenever the test runs, unless `now` is chosen.
    """

    def __init__(self, instance: dg.DagsterInstance | None = None, now: dt.datetime | None = None) -> None:
        self.said: list[str] = []
        self.now = now or utc_now()
        settings = load_settings()
        if now is None and settings.digest_time is not None:
            later = self.now + dt.timedelta(hours=12)
            settings = settings.model_copy(update={"fx_digest": f"{later:%H:%M}"})
        self.watcher = Watcher(settings, self.said.append)
        self._instance = instance

    def faults(self) -> list[Fault]:
        """Return what the runs and checks of the instance show."""
        assert self._instance is not None
        settings = load_settings()
        return [
            *run_faults(self._instance, ended_runs(self._instance), settings, self.now),
            *hung_runs(self._instance, settings, self.now),
            *check_faults(self._instance, settings),
        ]

    def see(self, *faults: Fault, minutes: float = 2, summary: Sequence[str] = ()) -> None:
        """Look every 30 seconds for some minutes, and see only these faults."""
        for _ in range(int(minutes * 2)):
            self.now += dt.timedelta(seconds=30)
            self.watcher.report(Look(faults, (), summary), self.now)

    def look_at_runs(self, minutes: float = 2) -> None:
        """Look every 30 seconds for some minutes at the runs and checks of the instance."""
        self.see(*self.faults(), minutes=minutes)

    def look(self, minutes: float = 2) -> None:
        """Look every 30 seconds for some minutes at everything."""
        for _ in range(int(minutes * 2)):
            self.now += dt.timedelta(seconds=30)
            self.watcher.look(self.now)


def titles(inbox: Inbox) -> list[str]:
    """Return the titles of the received messages, without their common beginning."""
    return [str(message["title"]).removeprefix("fx-pipeline: ") for message in inbox.received]
