"""The assets on a real Dagster instance, against a running sandbox."""

import datetime as dt
import json
import zlib
from contextlib import closing
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline.defs.schedules import daily_rates
from fx_pipeline.rates import date_range
from fx_pipeline.settings import load_settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.defs.rates_run import QUIET, resources
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.storages import on_both_storages

RATES = dg.AssetKey("rates")


def run(
    instance: dg.DagsterInstance, sandbox: Sandbox, first: str, last: str, config: dg.RunConfig | None = None
) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config=config or rates_config(),
        raise_on_error=False,
        resources={
            "fixer": FixerResource(base_url=sandbox.url, base="EUR", symbols=[], concurrency=2),
            "database": DatabaseResource(path="fx.db"),
        },
    )


def materialised(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.get_materialized_partitions(RATES))


def stored() -> set[str]:
    connection = sqlite3.connect("fx.db")
    try:
        return {date for (date,) in connection.execute("SELECT date FROM days")}
    finally:
        connection.close()


@on_both_storages
def test_a_run_over_a_range_reports_each_date_with_its_counts(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    result = run(instance, sandbox, "2024-01-01", "2024-01-05")
    assert result.success
    assert materialised(instance) == stored() == {f"2024-01-0{day}" for day in range(1, 6)}
    events = result.asset_materializations_for_node("rates")
    connection = sqlite3.connect("fx.db")
    [(fetch_id,)] = connection.execute("SELECT fetch_id FROM days WHERE date = ?", [events[0].partition])
    connection.close()
    shown = {name: value.value for name, value in events[0].metadata.items()}
    moves = {"largest_move_percent", "largest_moves"}  # only if the day before was stored earlier
    assert {name: value for name, value in shown.items() if name not in moves} == {
        "inserted": 31,
        "updated": 0,
        "unchanged": 0,
        "rejected": 0,
        "fetch": fetch_id,
        "api": f"http://127.0.0.1:8001/rates/{events[0].partition}/",
    }


def test_a_date_shows_its_largest_moves_and_the_calls_left(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", "1000")
    monkeypatch.setenv("FX_API_URL", "https://rates.example.com/")
    run(instance, sandbox, "2024-01-02", "2024-01-02")
    [event] = run(instance, sandbox, "2024-01-03", "2024-01-03").asset_materializations_for_node("rates")
    connection = sqlite3.connect("fx.db")
    [(code, before, now)] = connection.execute(
        """
        SELECT now.currency, before.rate, now.rate FROM rates AS now JOIN rates AS before USING (currency)
        WHERE now.date = '2024-01-03' AND before.date = '2024-01-02'
        ORDER BY abs(now.rate / before.rate - 1) DESC LIMIT 1
        """
    )
    connection.close()
    assert event.metadata["largest_move_percent"].value == round(abs(now / before - 1) * 100, 4)
    table = event.metadata["largest_moves"].value
    assert isinstance(table, str)
    assert table.splitlines()[2] == f"| {code} | {before:g} | {now:g} | {now / before - 1:+.2%} |"
    assert len(table.splitlines()) == 2 + 5
    assert event.metadata["quota_left"].value == 998
    assert event.metadata["api"].value == "https://rates.example.com/rates/2024-01-03/"


def test_running_the_same_date_twice_changes_nothing(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    run(instance, sandbox, "2024-01-01", "2024-01-01")
    [event] = run(instance, sandbox, "2024-01-01", "2024-01-01").asset_materializations_for_node("rates")
    counts = [event.metadata[name].value for name in ("inserted", "updated", "unchanged")]
    assert counts == [0, 0, 31]


def test_a_changed_value_is_counted_and_its_old_value_is_stored(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run(instance, sandbox, "2024-01-02", "2024-01-02")
    sandbox.change(faults={"revision": 1.0})
    [event] = run(instance, sandbox, "2024-01-02", "2024-01-02").asset_materializations_for_node("rates")
    updated = event.metadata["updated"].value
    assert isinstance(updated, int)
    assert updated > 0
    connection = sqlite3.connect("fx.db")
    assert connection.execute("SELECT count(*), max(superseded_by) FROM revisions").fetchone() == (updated, 4)
    connection.close()


@on_both_storages
def test_failed_dates_are_listed_and_not_materialized(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 6))  # later dates are in its future
    run(instance, sandbox, "2024-01-01", "2024-01-03")
    assert run(instance, sandbox, "2024-01-04", "2024-01-05").success
    result = run(instance, sandbox, "2024-01-07", "2024-01-09")
    assert not result.success
    assert materialised(instance) == stored() == {f"2024-01-0{day}" for day in range(1, 6)}
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description == (
        "3 dates: the date is not accepted (302 invalid_date): 2024-01-07 to 2024-01-09"
    )


def test_a_wrong_key_fails_immediately_without_a_retry(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(key="the-good-one")
    result = run(instance, sandbox, "2024-01-01", "2024-03-31")
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert sandbox.stats()["total"] <= 4
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert failure.user_failure_data.description is not None
    assert failure.user_failure_data.description.endswith(
        "Set FIXER_ACCESS_KEY to the key shown in your Fixer account, and FIXER_BASE_URL to its host."
        "\nNot fetched: 2024-01-01 to 2024-03-31"
    )


def test_skip_stored_fetches_only_missing_and_revisable_dates(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run(instance, sandbox, "2024-01-02", "2024-01-03")
    run(instance, sandbox, "2024-01-05", "2024-01-09")
    before = sandbox.stats()["total"]
    config = rates_config(skip_stored=True, refetch_from="2024-01-09")
    result = run(instance, sandbox, "2024-01-01", "2024-01-10", config)
    assert result.success
    assert sandbox.stats()["total"] - before == 4  # the 1st, 4th and 10th, and the 9th again
    assert stored() == materialised(instance) == {f"2024-01-{day:02}" for day in range(1, 11)}


def test_the_names_of_the_currencies_are_stored(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    result = defs.resolve_job_def("symbols_job").execute_in_process(
        instance=instance,
        resources={
            "fixer": FixerResource(base_url=sandbox.url, base="EUR", symbols=[], concurrency=1),
            "database": DatabaseResource(path="fx.db"),
        },
    )
    assert result.success
    connection = sqlite3.connect("fx.db")
    assert connection.execute("SELECT name FROM symbols WHERE code = 'USD'").fetchone() is not None
    connection.close()


def test_refused_names_store_the_reason_and_the_response(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(key="the-good-one")
    result = defs.resolve_job_def("symbols_job").execute_in_process(
        instance=instance, run_config=QUIET, raise_on_error=False, resources=resources(sandbox.url)
    )
    assert "Set FIXER_ACCESS_KEY to the key shown" in why(result)
    with closing(sqlite3.connect("fx.db")) as connection:
        [(endpoint, status, calls, body)] = connection.execute(
            "SELECT endpoint, status, calls, body FROM fetches"
        )
    assert (endpoint, calls) == ("symbols", 1)
    assert status == "the access key is missing or unknown (101 invalid_access_key)"
    assert json.loads(zlib.decompress(body))["error"]["code"] == 101


def why(result: dg.ExecuteInProcessResult) -> str:
    """Return the description of a run's failure."""
    assert not result.success
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.description or ""


@pytest.mark.parametrize(
    ("base", "of_fixer", "says"),
    [
        (
            "USD",
            False,
            "fx.db holds rates with base EUR, not USD: set FX_BASE back to EUR, or FX_DATABASE to",
        ),
        ("EUR", True, "fx.db holds rates from the sandbox. Rates from "),
    ],
)
def test_a_database_with_another_base_or_provider_fails_the_run_before_any_call(
    instance: dg.DagsterInstance, sandbox: Sandbox, base: str, of_fixer: bool, says: str
) -> None:
    run(instance, sandbox, "2024-01-02", "2024-01-03")
    asked = sandbox.stats()["total"]
    url = load_settings().provider_url if of_fixer else sandbox.url
    for job, tags in (("rates_job", range_tags("2024-01-04", "2024-01-05")), ("symbols_job", {})):
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance,
            tags=tags,
            run_config=QUIET,
            raise_on_error=False,
            resources={
                "fixer": FixerResource(base_url=url, base=base, symbols=[], concurrency=1),
                "database": DatabaseResource(path="fx.db"),
            },
        )
        assert not [event for event in result.all_events if event.is_step_up_for_retry]
        assert why(result).startswith(says)
    assert sandbox.stats()["total"] == asked
    with closing(sqlite3.connect("fx.db")) as connection:
        assert connection.execute("SELECT count(*) FROM fetches").fetchone() == (2,)


@pytest.mark.parametrize(
    ("revision_days", "catch_up_days", "expected"),
    [
        (2, 31, ("2024-03-11", "2024-03-30", "2024-03-28")),
        (2, 10, ("2024-03-21", "2024-03-30", "2024-03-28")),
        (0, 0, ("2024-03-30", "2024-03-30", "2024-03-30")),
        (5, 3, ("2024-03-25", "2024-03-30", "2024-03-25")),
    ],
)
def test_the_daily_schedule_covers_yesterday_the_revision_window_and_wanted_days(
    monkeypatch: pytest.MonkeyPatch, revision_days: int, catch_up_days: int, expected: tuple[str, str, str]
) -> None:
    monkeypatch.setenv("FX_REVISION_DAYS", str(revision_days))
    monkeypatch.setenv("FX_CATCH_UP_DAYS", str(catch_up_days))
    monkeypatch.setenv("FX_DATABASE", "fx.db")
    with RateStore(Path("fx.db"), now=lambda: dt.datetime(2024, 3, 21, tzinfo=dt.timezone.utc)) as store:
        store.want(list(date_range(dt.date(2024, 3, 11), dt.date(2024, 3, 20))))
    context = dg.build_schedule_context(
        scheduled_execution_time=dt.datetime(2024, 3, 31, 0, 10, tzinfo=dt.timezone.utc)
    )
    request = daily_rates(context)
    assert isinstance(request, dg.RunRequest)
    first, last, refetch_from = expected
    assert {name: request.tags[name] for name in range_tags(first, last)} == range_tags(first, last)
    assert request.run_config["ops"]["rates"]["config"] == {"skip_stored": True, "refetch_from": refetch_from}


def test_the_first_night_fetches_only_the_newest_and_wanted_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FX_DATABASE", "fx.db")
    with RateStore(Path("fx.db")) as store:
        store.want([dt.date(2010, 1, 1), dt.date(2024, 3, 2), dt.date(2024, 3, 10)])
    context = dg.build_schedule_context(
        scheduled_execution_time=dt.datetime(2024, 3, 31, 0, 10, tzinfo=dt.timezone.utc)
    )
    request = daily_rates(context)
    assert isinstance(request, dg.RunRequest)
    assert request.run_config["ops"]["rates"]["config"] == {
        "skip_stored": True,
        "refetch_from": "2024-03-28",
        "only": ["2024-03-02", "2024-03-10", "2024-03-28", "2024-03-29", "2024-03-30"],
    }
