"""The runs that the schedules request at each try of a morning, after earlier tries and other runs."""

import datetime as dt
from contextlib import suppress

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs import tries
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline.defs.schedules import daily_rates, monthly_symbols
from fx_pipeline_tests.defs.rates_run import QUIET, resources, run_rates
from fx_pipeline_tests.sandbox_server import Sandbox

TODAY = dt.datetime.now(dt.timezone.utc).replace(minute=0, second=0, microsecond=0)
HOURS = (0, 1, 3, 6)


def day(ago: int) -> str:
    return str(TODAY.date() - dt.timedelta(days=ago))


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "FX_DATABASE": "fx.db",
        "FX_CATCH_UP_DAYS": "5",
        "FX_REVISION_DAYS": "1",
    }.items():
        monkeypatch.setenv(name, value)


def due(
    schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance, at: dt.datetime
) -> dg.RunRequest | None:
    """Return the run that a schedule requests at an instant, or None if it skips."""
    requested = schedule(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))
    assert isinstance(requested, dg.RunRequest | dg.SkipReason)
    return requested if isinstance(requested, dg.RunRequest) else None


def at(hour: int, *, days_ahead: int = 0) -> dt.datetime:
    return TODAY.replace(hour=hour, minute=10) + dt.timedelta(days=days_ahead)


def dates(request: dg.RunRequest | None) -> list[str] | str | None:
    """Return the dates that a later try names, or "all" for the whole window."""
    if request is None:
        return None
    only = request.run_config["ops"]["rates"]["config"].get("only")
    return "all" if only is None else list(only)


def fetch(instance: dg.DagsterInstance, sandbox: Sandbox, request: dg.RunRequest | None) -> bool:
    """Execute a requested run. Return whether it succeeded."""
    assert request is not None
    job = str(request.job_name or ("rates_job" if request.run_config else "symbols_job"))
    return (
        defs.resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            tags=request.tags,
            run_config={**request.run_config, **QUIET},
            raise_on_error=False,
            resources=resources(sandbox.url),
        )
        .success
    )


def is_late(sandbox: Sandbox, *, today: int = 2) -> None:
    """Let the provider have no rates for the newest days yet."""
    date = TODAY.date() - dt.timedelta(days=today)
    sandbox.change(today=lambda: date, out_of_range_code=106)


def test_each_try_is_tagged_with_the_minutes_to_the_next(instance: dg.DagsterInstance) -> None:
    waits = []
    for hour in HOURS:
        request = due(daily_rates, instance, at(hour))
        assert request is not None
        assert request.tags[tries.MORNING] == day(0)
        waits.append(request.tags.get(tries.NEXT_TRY))
    assert waits == ["60", "120", "180", None]


def test_a_later_try_fetches_only_the_missing_day(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    run_rates(instance, sandbox, day(6), day(2))
    is_late(sandbox, today=2)
    first = due(daily_rates, instance, at(0))
    assert dates(first) == "all"
    assert not fetch(instance, sandbox, first)
    second = due(daily_rates, instance, at(1))
    assert dates(second) == [day(1)]
    assert second is not None
    assert {name: second.tags[name] for name in range_tags(day(1), day(1))} == range_tags(day(1), day(1))
    assert second.run_config["ops"]["rates"]["config"]["refetch_from"] == day(2)  # for the quota's sake
    sandbox.change(today=None)
    assert fetch(instance, sandbox, second)
    assert dates(due(daily_rates, instance, at(3))) is None
    assert dates(due(daily_rates, instance, at(6))) is None


def test_a_day_that_never_comes_is_not_tried_again_the_same_morning(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, day(5), day(3))
    is_late(sandbox, today=4)
    assert not fetch(instance, sandbox, due(daily_rates, instance, at(0)))
    assert dates(due(daily_rates, instance, at(1))) == [day(1)]
    assert dates(due(daily_rates, instance, at(0, days_ahead=1))) == "all"


def test_later_tries_skip_if_all_days_are_stored(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    run_rates(instance, sandbox, day(5), day(1))
    assert [dates(due(daily_rates, instance, at(hour))) for hour in HOURS] == ["all", None, None, None]


def test_a_permanent_failure_is_left_to_the_next_morning(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(key="another")
    assert not fetch(instance, sandbox, due(daily_rates, instance, at(0)))
    assert [dates(due(daily_rates, instance, at(hour))) for hour in HOURS] == ["all", None, None, None]


def test_a_later_try_fetches_what_an_ended_run_left(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run_rates(instance, sandbox, day(5), day(2))
    with monkeypatch.context() as context:
        context.setattr("fx_pipeline.defs.rates_run.ingest", interrupted)
        with suppress(KeyboardInterrupt):
            assert not fetch(instance, sandbox, due(daily_rates, instance, at(0)))
    assert dates(due(daily_rates, instance, at(1))) == [day(1)]


def test_a_later_try_without_an_earlier_run_fetches_all_unread_days(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, day(5), day(2))
    assert dates(due(daily_rates, instance, at(6))) == [day(1)]


@pytest.mark.parametrize("days_ahead", [0, 1, 40])
@pytest.mark.parametrize("hour", HOURS)
def test_a_tick_in_the_future_requests_only_days_that_are_over(
    instance: dg.DagsterInstance, hour: int, days_ahead: int
) -> None:
    request = due(daily_rates, instance, at(hour, days_ahead=days_ahead))
    assert request is not None
    assert request.tags["dagster/asset_partition_range_end"] == day(1)


@pytest.mark.slow
def test_names_are_fetched_once_a_month_and_tried_until_they_come(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"fixer-error": 1.0})
    assert not fetch(instance, sandbox, due(monthly_symbols, instance, at(0)))
    assert [due(monthly_symbols, instance, at(hour)) is not None for hour in HOURS] == [True] * 4
    sandbox.change(faults={})
    assert fetch(instance, sandbox, due(monthly_symbols, instance, at(1)))
    for ahead in (0, 1, 60):  # a tick in the future must not fetch them early
        ticks = [due(monthly_symbols, instance, at(hour, days_ahead=ahead)) for hour in HOURS]
        assert ticks == [None] * 4


def test_names_are_not_tried_again_the_same_morning_after_a_wrong_key(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(key="another")
    assert not fetch(instance, sandbox, due(monthly_symbols, instance, at(0)))
    assert [due(monthly_symbols, instance, at(hour)) is not None for hour in HOURS] == [
        True,
        False,
        False,
        False,
    ]


def test_the_checks_run_after_the_last_try() -> None:
    assert defs.resolve_schedule_def("daily_rates").cron_schedule == "10 0,1,3,6 * * *"
    assert defs.resolve_schedule_def("daily_checks").cron_schedule == "40 6 * * *"


@pytest.mark.parametrize("launched", [("today", "today"), ("yesterday", "tomorrow")])
def test_a_run_launched_by_hand_skips_days_that_are_not_over(
    instance: dg.DagsterInstance, sandbox: Sandbox, launched: tuple[str, str]
) -> None:
    ago = {"yesterday": 1, "today": 0, "tomorrow": -1}
    first, last = (day(ago[name]) for name in launched)
    run = run_rates(instance, sandbox, first, last)
    assert run.success
    assert set(sandbox.asked_dates()) == ({day(1)} if launched[0] == "yesterday" else set())
    warnings = [event.user_message for event in instance.all_logs(run.run_id) if event.level == 30]
    assert any(text.startswith("Skipped, because not over yet (UTC): ") for text in warnings)


def test_the_config_of_a_later_try_names_its_days() -> None:
    config = rates_config(skip_stored=True, refetch_from="2024-01-01", only=["2024-01-02"])
    assert config.to_config_dict()["ops"]["rates"]["config"] == {  # type: ignore[no-untyped-call]
        "skip_stored": True,
        "refetch_from": "2024-01-01",
        "only": ["2024-01-02"],
    }
