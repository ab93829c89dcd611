"""The asset checks of all stored days on a real Dagster instance."""

import datetime as dt
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.clock import instant_text
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import NEWS
from fx_pipeline.rates import DayRates, date_range
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.defs.check_names import DAILY_CHECKS, RUN_CHECKS, TABLE_CHECKS
from fx_pipeline_tests.defs.rates_run import (
    execute_checks,
    materialize_rates,
    results,
    run_rates,
    run_table_checks,
    verdicts,
)
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.sandbox_server import Sandbox


def store_days(days: dict[int, dict[str, float]]) -> None:
    """Store rates by days before today (UTC): 1 is yesterday. Want all days from the first on."""
    today = dt.datetime.now(dt.timezone.utc).date()
    with RateStore(Path("fx.db")) as store:
        store.want([today - dt.timedelta(days=ago) for ago in range(1, max(days) + 1)])
        for ago, rates in days.items():
            date = today - dt.timedelta(days=ago)
            day = DayRates(date=date, base="EUR", timestamp=0, rates=rates)
            store.record([fetch_of(day)])


CALM = {"USD": 1.1, "GBP": 0.8, "JPY": 160.0, "CHF": 0.95, "AUD": 1.6}


def calm(ago: int) -> dict[str, float]:
    """Return rates that move a little each day."""
    return {code: rate * (1 + (ago * 7919 % 11) / 3000) for code, rate in CALM.items()} | {"EUR": 1.0}


def test_a_complete_fresh_table_passes_every_check(instance: dg.DagsterInstance) -> None:
    store_days({ago: calm(ago) for ago in range(1, 61)})
    run = run_table_checks(instance)
    assert verdicts(run) == dict.fromkeys(DAILY_CHECKS, "passed")


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ({ago: calm(ago) for ago in range(4, 61)}, {"freshness": "ERROR"}),
        ({ago: calm(ago) for ago in range(3, 61)}, {}),
        ({ago: calm(ago) for ago in range(1, 61) if ago != 7}, {"gaps": "ERROR"}),
        ({ago: calm(ago) for ago in range(1, 61) if ago != 50}, {"gaps": "WARN"}),
        (
            {ago: calm(ago) | ({"JPY": 16000.0} if ago == 9 else {}) for ago in range(1, 61)},
            {"recent_jump": "WARN"},
        ),
        (
            {
                ago: {code: rate for code, rate in calm(ago).items() if (ago, code) != (9, "JPY")}
                for ago in range(1, 61)
            },
            {"recent_complete": "WARN"},
        ),
        (
            {ago: calm(max(ago, 20)) for ago in range(1, 100)},
            {"content_age": "ERROR", "stale_run": "ERROR"},
        ),
        (
            {ago: calm(ago) | {"USD": calm(max(ago, 20))["USD"]} for ago in range(1, 100)},
            {"stale_run": "ERROR"},
        ),
    ],
)
def test_each_problem_of_the_table_fails_one_check(
    instance: dg.DagsterInstance, days: dict[int, dict[str, float]], expected: dict[str, str]
) -> None:
    store_days(days)
    run = run_table_checks(instance)
    assert run.success
    assert verdicts(run) == dict.fromkeys(DAILY_CHECKS, "passed") | expected


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("fetched_at", "dated in the future"),
        ("asked_at", "the clock of this machine was 400 days ahead of the provider's at the newest fetch"),
    ],
)
def test_a_clock_that_was_ahead_fails_a_check(instance: dg.DagsterInstance, column: str, said: str) -> None:
    store_days({ago: calm(ago) for ago in range(1, 61)})
    later = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=400)
    with closing(sqlite3.connect("fx.db")) as connection, connection:
        newest = "(SELECT max(id) FROM fetches)"
        connection.execute(
            f"UPDATE fetches SET {column} = ? WHERE id = {newest}",  # noqa: S608
            [instant_text(later)],
        )
    result = execute_checks(instance, "clock")
    assert verdicts(result) == {"clock": "ERROR"}
    [evaluation] = result.get_asset_check_evaluations()
    assert said in str(evaluation.description)


def test_a_provider_whose_rates_stand_still_is_found_after_two_business_days(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, "2024-05-27", "2024-06-06")
    sandbox.change(frozen_since=dt.date(2024, 6, 6))  # a Thursday
    said = []
    for first, last in (("2024-06-07", "2024-06-09"), ("2024-06-10", "2024-06-10")):
        run_rates(instance, sandbox, first, last)
        [check] = execute_checks(instance, "content_age").get_asset_check_evaluations()
        said.append((check.passed, check.severity.value, check.metadata.get(NEWS)))
    assert said == [(False, "WARN", None), (False, "ERROR", dg.MetadataValue.json(["2024-06-06"]))]
    assert check.description == (
        "2024-06-06: the provider sent the same rates again for 2 business days; the most before was 0. "
        "Ask the provider, and refetch the later days when its rates change again."
    )


def test_days_that_no_run_was_asked_for_are_no_gap(instance: dg.DagsterInstance) -> None:
    with RateStore(Path("fx.db")) as store:
        for year in (2010, 2012):
            days = list(date_range(dt.date(year, 1, 1), dt.date(year, 1, 5)))
            store.want(days)
            fetches = [DayRates(date=date, base="EUR", timestamp=0, rates=calm(date.day)) for date in days]
            store.record([fetch_of(day) for day in fetches if day.date != dt.date(2012, 1, 3)])
    [evaluation] = execute_checks(instance, "gaps").get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.description) == (False, "2012-01-03: 2012-01-03 is missing.")


def test_one_check_of_the_table_can_be_executed(instance: dg.DagsterInstance) -> None:
    store_days({ago: calm(ago) for ago in range(4, 61)})
    assert verdicts(execute_checks(instance, "freshness")) == {"freshness": "ERROR"}


def test_within_a_backfill_missing_days_are_only_warnings(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    store_days({ago: calm(ago) for ago in range(9, 61) if ago != 20})
    run = materialize_rates(instance, sandbox, "2024-01-11", "2024-01-12")
    table = {name: verdicts(run)[name] for name in TABLE_CHECKS}
    assert table == dict.fromkeys(TABLE_CHECKS, "passed") | {"freshness": "WARN", "gaps": "WARN"}
    outside = verdicts(run_table_checks(instance))
    assert {name: outside[name] for name in ("freshness", "gaps")} == {
        "freshness": "ERROR",
        "gaps": "ERROR",
    }


def test_the_table_is_checked_after_the_last_retry(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    sandbox.change(faults={"empty": 0.4}, seed=2)
    run = materialize_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    kinds = [event.event_type for event in run.all_events]
    assert dg.DagsterEventType.STEP_RESTARTED in kinds
    *_, last = (at for at, kind in enumerate(kinds) if kind is dg.DagsterEventType.ASSET_MATERIALIZATION)
    after = kinds[last:].count(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    assert after == len(RUN_CHECKS) + len(TABLE_CHECKS)


def test_the_table_is_checked_even_if_no_date_could_be_fetched(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    store_days({ago: calm(ago) for ago in range(1, 61)})
    sandbox.change(key="another")
    run = materialize_rates(instance, sandbox, "2024-01-11", "2024-01-12")
    assert not run.success
    table = {name: verdicts(run).get(name) for name in TABLE_CHECKS}
    assert table == dict.fromkeys(TABLE_CHECKS, "passed") | {"gaps": "WARN"}


def test_an_empty_table_is_not_fresh(instance: dg.DagsterInstance) -> None:
    RateStore(Path("fx.db")).close()
    run = run_table_checks(instance)
    assert verdicts(run) == dict.fromkeys(DAILY_CHECKS, "passed") | {"freshness": "ERROR"}
    assert results(run)["freshness"].description == "no day is stored."


def test_the_daily_schedule_runs_the_checks_of_the_table() -> None:
    schedule = defs.resolve_schedule_def("daily_checks")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("40 6 * * *", "UTC")
    assert schedule.job_name == "checks_job"
