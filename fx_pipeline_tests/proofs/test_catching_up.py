"""A machine that was off for two weeks: one tick of the schedule, one run, and no day is missing."""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.defs.partitions import days
from fx_pipeline.rates import date_range
from fx_pipeline_tests.proofs.content import broken, stored_dates
from fx_pipeline_tests.proofs.daemon import running_daemon
from fx_pipeline_tests.sandbox_server import running_sandbox

TODAY = dt.datetime.now(dt.timezone.utc).replace(hour=0, minute=15, second=0, microsecond=0)
"""Five minutes after the schedule's time, of a day whose yesterday is over."""


def ticks(instance: dg.DagsterInstance) -> int:
    """How often the schedule of the rates has been evaluated."""
    states = instance.all_instigator_state()
    [state] = [state for state in states if state.name == "daily_rates"]
    return len(instance.get_ticks(state.instigator_origin_id, state.selector_id))


def days_before(now: dt.datetime, count: int) -> set[str]:
    yesterday = now.date() - dt.timedelta(days=1)
    return {str(date) for date in date_range(yesterday - dt.timedelta(days=count - 1), yesterday)}


@pytest.mark.slow
def test_after_two_weeks_one_tick_makes_the_days_whole(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    then, database = TODAY - dt.timedelta(days=14), folder / "fx.db"
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FX_DATABASE", str(database))
    with running_sandbox() as sandbox:
        monkeypatch.setenv("FIXER_BASE_URL", sandbox.url)
        with running_daemon(instance) as daemon:
            assert daemon.looks(then - dt.timedelta(minutes=10)) == []  # it has just been started
            assert len(daemon.looks(then)) == 1
            daemon.waits()
            assert stored_dates(database) == days_before(then, 31)
            assert ticks(instance) == 1
            [launched] = daemon.looks(TODAY)
            daemon.waits()
            assert ticks(instance) == 2
        assert sandbox.stats()["endpoints"]["historical"] == {"ok": 31 + 14}
    run = instance.get_run_by_id(launched.run_id)
    assert run is not None
    assert run.is_success
    window = days_before(TODAY, 31)
    assert stored_dates(database) == window | days_before(then, 31)
    assert list(broken(database)) == []
    shown = instance.get_status_by_partition(dg.AssetKey("rates"), sorted(window), days)
    assert shown == dict.fromkeys(window, dg.AssetPartitionStatus.MATERIALIZED)
