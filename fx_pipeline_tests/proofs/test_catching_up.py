"""A machine that was off for two weeks: one tick of the schedule and one run fetch every missing day."""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.rates import date_range
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.proofs.daemon import FIRST_TRY, running_daemon
from fx_pipeline_tests.proofs.runs import MATERIALIZED, shown_in_ui
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.storages import on_both_storages
from fx_pipeline_tests.stored import assert_consistent, stored_dates


def ticks(instance: dg.DagsterInstance) -> int:
    """Return how often `daily_rates` has been evaluated."""
    states = instance.all_instigator_state()
    [state] = [state for state in states if state.name == "daily_rates"]
    return len(instance.get_ticks(state.instigator_origin_id, state.selector_id))


def days_before(now: dt.datetime, count: int) -> set[str]:
    yesterday = now.date() - dt.timedelta(days=1)
    return {str(date) for date in date_range(yesterday - dt.timedelta(days=count - 1), yesterday)}


@pytest.mark.slow
@on_both_storages
def test_one_tick_fetches_two_missing_weeks(
    folder: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    switched_off, database = FIRST_TRY - dt.timedelta(days=14), folder / "fx.db"
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FX_DATABASE", str(database))
    with running_sandbox() as sandbox:
        monkeypatch.setenv("FIXER_BASE_URL", sandbox.url)
        with running_daemon(instance) as daemon:
            # The daemon's first look at a schedule only notes when it began.
            assert daemon.evaluate_schedules(switched_off - dt.timedelta(minutes=10)) == []
            assert len(daemon.evaluate_schedules(switched_off)) == 1
            daemon.wait_for_runs()
            assert stored_dates(database) == days_before(switched_off, 3)
            assert ticks(instance) == 1
            # The run's clock shows today. On that night, the day that it fetched was the newest.
            with RateStore(database, now=lambda: switched_off) as store:
                store.want(set(map(dt.date.fromisoformat, days_before(switched_off, 3))))
            [launched] = daemon.evaluate_schedules(FIRST_TRY)
            daemon.wait_for_runs()
            assert ticks(instance) == 2
        assert sandbox.stats()["endpoints"]["historical"] == {"ok": 3 + 14}
    run = instance.get_run_by_id(launched.run_id)
    assert run is not None
    assert run.is_success
    fetched = days_before(FIRST_TRY, 3 + 14)
    assert stored_dates(database) == fetched
    assert_consistent(database)
    assert shown_in_ui(instance, fetched) == {MATERIALIZED: fetched}
