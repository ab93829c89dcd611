"""Dagster's numbers: read from a real instance, and written next to the database."""

import datetime as dt

import dagster as dg
import pytest

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.runs import job_origin
from fx_pipeline.dagster_internals.testing import add_backfill, record_heartbeat
from fx_pipeline.dagster_numbers import DagsterNumbers, LastRun, Outcome, read_numbers
from fx_pipeline.definitions import defs
from fx_pipeline.defs.assets import SYMBOLS
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.numbers import CHECKS, write_dagster_numbers
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.defs.rates_run import run_rates, run_table_checks
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.storages import on_both_storages

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

DATES = dates_between("2024-01-01", "2024-01-04")


@dg.asset(name="customers")
def failing_customers() -> None:
    """Stand for an asset of another code location."""
    raise dg.Failure("no customers")


def written(instance: dg.DagsterInstance, now: dt.datetime | None = None) -> DagsterNumbers:
    """Write the numbers and return them as the API reads them."""
    settings = load_settings()
    settings.fx_database.parent.mkdir(exist_ok=True)
    write_dagster_numbers(instance, settings, now or utc_now())
    numbers = read_numbers(settings.fx_database)
    assert numbers is not None
    return numbers


def as_last(instance: dg.DagsterInstance, run_id: str, job: str, outcome: Outcome) -> LastRun:
    """Return a run as the last one of its job."""
    [record] = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))
    assert record.end_time
    seconds = record.end_time - record.start_time if record.start_time else None
    return LastRun(job=job, outcome=outcome, ended=record.end_time, seconds=seconds)


def test_a_new_instance_has_nothing_to_count(instance: dg.DagsterInstance) -> None:
    now = utc_now()
    assert written(instance, now) == DagsterNumbers(
        at=now.timestamp(),
        heartbeats={},
        queued=0,
        in_progress=0,
        failed=0,
        backfills=0,
        last_runs=[],
        checks={},
    )


@on_both_storages
def test_numbers_of_runs_checks_and_the_daemon(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 10))
    run_rates(instance, sandbox, DATES[0], DATES[0])
    newest = run_rates(instance, sandbox, DATES[0], DATES[1])
    checks = run_table_checks(instance)
    sandbox.change(faults={"wrong-date": 1.0})
    failed = run_rates(instance, sandbox, DATES[2], DATES[3])
    dg.materialize([failing_customers], instance=instance, raise_on_error=False)
    origin = job_origin(defs.resolve_job_def("rates_job"))
    for number, (job, status) in enumerate(
        (
            ("rates_job", dg.DagsterRunStatus.QUEUED),
            ("rates_job", dg.DagsterRunStatus.QUEUED),
            ("symbols_job", dg.DagsterRunStatus.STARTED),
            ("customers_job", dg.DagsterRunStatus.QUEUED),
        )
    ):
        instance.run_storage.add_run(
            dg.DagsterRun(job, run_id=str(number), status=status, remote_job_origin=origin)
        )
    add_backfill(instance, "ours", RATES, DATES)
    add_backfill(instance, "theirs", dg.AssetKey("customers"), DATES)
    beat = utc_now()
    record_heartbeat(instance, beat)

    found = written(instance)
    assert (found.queued, found.in_progress, found.failed, found.backfills) == (2, 1, 1, 1)
    assert found.heartbeats["scheduler"] == beat.timestamp()
    assert set(found.heartbeats) == {kind.lower() for kind in instance.get_required_daemon_types()}
    assert found.last_runs == [
        as_last(instance, newest.run_id, "rates", "success"),
        as_last(instance, checks.run_id, "checks", "success"),
        as_last(instance, failed.run_id, "rates", "failure"),
    ]
    assert all(run.seconds and run.seconds > 0 for run in found.last_runs)
    assert found.checks["freshness"] == "error"
    assert found.checks["identity"] == "passed"

    # A day later, the failure is no longer recent, but still the last one.
    later = written(instance, utc_now() + dt.timedelta(hours=25))
    assert (later.failed, later.last_runs) == (0, found.last_runs)


def test_a_run_from_the_ui_is_the_last_run_of_its_job(instance: dg.DagsterInstance) -> None:
    whole = defs.resolve_implicit_global_asset_job_def()
    for job, chosen in ((defs.resolve_job_def("symbols_job"), None), (whole, {SYMBOLS}), (whole, {RATES})):
        run = instance.create_run_for_job(job, asset_selection=frozenset(chosen) if chosen else None)
        instance.report_run_canceled(run)
    rates, symbols, _ = instance.get_runs()
    assert written(instance).last_runs == [
        as_last(instance, rates.run_id, "rates", "canceled"),
        as_last(instance, symbols.run_id, "symbols", "canceled"),
    ]
    newest = instance.create_run_for_job(defs.resolve_job_def("symbols_job"))
    instance.report_run_canceled(newest)
    assert as_last(instance, newest.run_id, "symbols", "canceled") in written(instance).last_runs


def test_checks_have_distinct_names() -> None:
    """Their names are labels."""
    keys = set(defs.resolve_asset_graph().asset_check_keys)
    assert set(CHECKS) == keys
    assert len({check.name for check in keys}) == len(keys)
