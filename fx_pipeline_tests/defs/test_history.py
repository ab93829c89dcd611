"""Old runs are deleted from Dagster, and the pages of the assets do not change."""

import datetime as dt
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import pytest

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_internals.runs import CheckResult, check_results, job_origin
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.history import BUDGET, SCHEDULES, prune
from fx_pipeline.defs.ours import JOBS, is_only_ours
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.defs.rates_run import QUIET, run_rates, run_table_checks
from fx_pipeline_tests.proofs.runs import FAILED, MATERIALIZED, shown_in_ui
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.storages import on_both_storages

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

DATES = dates_between("2024-01-01", "2024-01-06")
CHECK = dg.AssetCheckKey(RATES, "recent_complete")


@dg.asset
def customers() -> None:
    """Stand for an asset of another code location."""


class Shown(NamedTuple):
    """What the pages of the asset `rates` show."""

    statuses: Mapping[str, set[str]]
    latest: Mapping[str, dg.EventLogEntry]
    """The latest materialization of each partition."""
    newest: dg.EventLogEntry | None
    result: CheckResult


def latest(instance: dg.DagsterInstance) -> dict[str, dg.EventLogEntry]:
    records = instance.fetch_materializations(RATES, limit=100).records
    return {str(one.partition_key): one.event_log_entry for one in reversed(records)}


def shown(instance: dg.DagsterInstance) -> Shown:
    return Shown(
        shown_in_ui(instance, DATES),
        latest(instance),
        instance.get_latest_materialization_event(RATES),
        check_results(instance, CHECK, limit=1)[0],
    )


def run_history(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("history_job").execute_in_process(
        instance=instance, run_config=QUIET, raise_on_error=False
    )


def prune_all(instance: dg.DagsterInstance, budget: dt.timedelta = BUDGET) -> Mapping[str, int]:
    """Delete all runs that have ended, as if they were old."""
    return prune(instance, instance.get_runs(limit=1)[0], utc_now() + dt.timedelta(days=1), budget)


def run_ids(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def stored_of(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """Return the files of a run in Dagster's home."""
    return [path for path in Path(instance.root_directory).rglob("*") if run_id in str(path)]


@on_both_storages
def test_old_runs_go_and_their_days_stay(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 10))
    old = [run_rates(instance, sandbox, DATES[0], DATES[2]), run_rates(instance, sandbox, DATES[1], DATES[3])]
    sandbox.change(faults={"wrong-date": 1.0})
    failed = run_rates(instance, sandbox, DATES[4], DATES[5])
    sandbox.change(faults={})
    old += [run_rates(instance, sandbox, DATES[0], DATES[0]), run_table_checks(instance)]
    newest = run_rates(instance, sandbox, DATES[0], DATES[0])
    theirs = dg.materialize([customers], instance=instance)
    waiting = instance.create_run_for_job(defs.resolve_job_def("checks_job"))
    before = shown(instance)
    assert before.statuses == {MATERIALIZED: set(DATES[:4]), FAILED: set(DATES[4:])}

    result = prune_all(instance)
    assert (result["runs deleted"], result["old runs kept"]) == (len(old), 1)
    assert result["bytes freed"] > 0
    assert run_ids(instance) == {failed.run_id, newest.run_id, theirs.run_id, waiting.run_id}
    assert shown(instance) == before
    instance.wipe_asset_cached_status([RATES])  # as after a change of FX_START_DATE
    assert shown(instance) == before
    assert not [file for run in old for file in stored_of(instance, run.run_id)]

    # Once the failed days are fetched, nothing needs their run or the materializations of deleted runs.
    whole = run_rates(instance, sandbox, DATES[0], DATES[5])
    run_table_checks(instance)
    assert prune_all(instance)["runs deleted"] == 2
    assert not instance.get_run_by_id(failed.run_id)
    assert {kept.run_id for kept in latest(instance).values()} == {whole.run_id}
    assert len(instance.fetch_materializations(RATES, limit=100).records) == len(DATES)
    assert len(check_results(instance, CHECK, limit=100)) == 1


def test_what_a_night_cannot_delete_is_left_for_the_next(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 10))
    runs = [run_rates(instance, sandbox, DATES[0], DATES[0]).run_id for _ in range(3)]
    result = prune_all(instance, budget=dt.timedelta(0))
    assert (result["runs deleted"], result["runs left for the next night"]) == (0, 2)
    assert run_ids(instance) == set(runs)

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", refuse)
        patch.setattr("fx_pipeline.defs.history.utc_now", lambda: utc_now() + dt.timedelta(days=100))
        night = run_history(instance)
    [failure] = [event.step_failure_data for event in night.all_events if event.is_step_failure]
    assert failure.user_failure_data
    assert str(failure.user_failure_data.description).startswith(
        "Dagster's history was not pruned: [Errno 13]"
    )
    assert runs[0] in run_ids(instance)
    monkeypatch.setenv("FX_HISTORY_DAYS", "14")
    monkeypatch.setattr("fx_pipeline.defs.history.utc_now", lambda: utc_now() + dt.timedelta(days=15))
    night = run_history(instance)
    [output] = [event.step_output_data for event in night.all_events if event.is_successful_output]
    assert output.metadata["runs deleted"].value == 3
    assert run_ids(instance) == {runs[2], night.run_id}
    monkeypatch.setenv("FX_HISTORY_DAYS", "0")
    assert run_history(instance).success
    assert len(run_ids(instance)) == 3


def test_only_runs_of_our_assets_are_ours_to_delete(instance: dg.DagsterInstance) -> None:
    def is_ours(job: str, *assets: dg.AssetKey) -> bool:
        run = dg.DagsterRun(job, "1", asset_selection=frozenset(assets) if assets else None)
        return is_only_ours(run, "theirs")

    assert is_ours("__ASSET_JOB", RATES)
    assert not is_ours("__ASSET_JOB", RATES, dg.AssetKey("customers"))
    assert not is_ours("rates_job", dg.AssetKey("customers"))
    assert not is_ours("customers_job")
    assert is_ours("rates_job")
    repository = job_origin(defs.resolve_job_def("rates_job"))
    assert is_only_ours(dg.DagsterRun("rates_job", "1", remote_job_origin=repository), "theirs")


def test_names_are_those_of_the_definitions() -> None:
    repository = defs.get_repository_def()
    assert {job for job in repository.job_names if not job.startswith("__")} == JOBS
    assert {schedule.name for schedule in repository.schedule_defs} == SCHEDULES
