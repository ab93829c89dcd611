"""The definitions as Dagster's webserver and daemon load them: from workspace.yaml, in a process."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.command_line import environment


def test_the_workspace_loads_in_the_webserver(tmp_path: Path) -> None:
    with open_instance(tmp_path / "dagster") as instance, loaded_workspace(instance) as workspace:
        [entry] = workspace.create_request_context().get_code_location_entries().values()
        assert entry.load_error is None
        assert entry.code_location is not None
        assert entry.code_location.name == "fx_pipeline"
        [repository] = entry.code_location.get_repositories().values()
        assert {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()} == {
            "fixer_api",
            "rates",
            "symbols",
            "database",
            "rates_api",
        }
        implicit = defs.resolve_implicit_global_asset_job_def().name
        jobs = {job.name for job in repository.get_all_jobs()}
        assert jobs == {
            "rates_job",
            "missing_job",
            "refetch_job",
            "symbols_job",
            "checks_job",
            "database_job",
            "history_job",
            implicit,
        }
        schedules = {
            schedule.name: (schedule.default_status, schedule.execution_timezone)
            for schedule in repository.get_schedules()
        }
        names = ("daily_rates", "daily_checks", "nightly_database", "nightly_history", "monthly_symbols")
        assert schedules == dict.fromkeys(names, (dg.DefaultScheduleStatus.RUNNING, "UTC"))


@pytest.mark.parametrize(("timeseries", "days"), [("0", 100), ("1", 365)])
def test_a_backfill_run_covers_the_days_of_one_call(tmp_path: Path, timeseries: str, days: int) -> None:
    code = "from fx_pipeline.defs.assets import rates; print(rates.backfill_policy.max_partitions_per_run)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env=environment(FIXER_TIMESERIES=timeseries),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{days}\n"


def test_loading_the_definitions_warns_of_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", "import fx_pipeline.definitions"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    ours = [line for line in done.stderr.splitlines() if "fx_pipeline" in line or "BetaWarning" in line]
    assert ours == []


def test_everything_in_the_ui_has_a_description() -> None:
    graph = defs.resolve_asset_graph()
    lacking = [key.to_user_string() for key in graph.get_all_asset_keys() if not graph.get(key).description]
    repository = defs.get_repository_def()
    lacking += [job.name for job in repository.get_all_jobs() if not job.description]
    lacking += [schedule.name for schedule in repository.schedule_defs if not schedule.description]
    assert lacking == [defs.resolve_implicit_global_asset_job_def().name]  # is Dagster's own
