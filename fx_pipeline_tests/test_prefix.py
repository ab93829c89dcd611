"""A Dagster instance whose other code location uses our names: FX_ASSET_PREFIX keeps them apart."""

import json
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.sandbox_server import running_sandbox

OTHER = """
import dagster as dg

days = dg.DailyPartitionsDefinition("2024-01-01")

@dg.asset(partitions_def=days)
def rates() -> None: ...

@dg.asset
def symbols() -> None: ...

rates_job = dg.define_asset_job("rates_job", selection=[rates])

@dg.schedule(job=rates_job, cron_schedule="@daily")
def daily_rates() -> dg.SkipReason:
    return dg.SkipReason("never")

defs = dg.Definitions([rates, symbols], schedules=[daily_rates], jobs=[rates_job])
"""

WORKSPACE = f"""
load_from:
  - python_module: {{module_name: fx_pipeline.definitions, location_name: ours, working_directory: {PROJECT}}}
  - python_file: {{relative_path: other.py, location_name: other}}
"""


@pytest.mark.slow
def test_a_prefix_keeps_our_names_apart_from_those_of_another_code_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.py").write_text(OTHER, encoding="utf-8")
    (tmp_path / "workspace.yaml").write_text(WORKSPACE, encoding="utf-8")
    home = tmp_path / "dagster"
    settings = {"FX_ASSET_PREFIX": "fixer", "DAGSTER_HOME": str(home), "FIXER_ACCESS_KEY": "any"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    names: dict[str, set[str]] = {}
    with (
        open_instance(home) as instance,
        loaded_workspace(instance, tmp_path / "workspace.yaml") as workspace,
    ):
        for name, entry in workspace.create_request_context().get_code_location_entries().items():
            assert entry.code_location is not None, entry.load_error
            [repository] = entry.code_location.get_repositories().values()
            names[name] = {
                *(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()),
                *(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")),
                *(schedule.name for schedule in repository.get_schedules()),
            }
    assert names == {
        "other": {"rates", "symbols", "rates_job", "daily_rates"},
        "ours": {
            *("fixer/fixer_api", "fixer/rates", "fixer/symbols", "fixer/database", "fixer/rates_api"),
            *("fixer_rates_job", "fixer_symbols_job", "fixer_checks_job", "fixer_database_job"),
            *("fixer_history_job", "fixer_nightly_history", "fixer_missing_job", "fixer_refetch_job"),
            *("fixer_daily_rates", "fixer_daily_checks", "fixer_monthly_symbols", "fixer_nightly_database"),
        },
    }

    with running_sandbox() as sandbox:
        settings["FIXER_BASE_URL"] = sandbox.url
        done = run_command(tmp_path, "ingest", "--date", "2024-01-02", **settings)
        assert done.returncode == 0, done.stderr
        document = json.loads(run_command(tmp_path, "status", "--json", **settings).stdout)
    assert document["last_run"]["status"] == "success"
    with open_instance(home) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(["fixer", "rates"])) == {"2024-01-02"}
        assert instance.get_latest_materialization_event(dg.AssetKey(["fixer", "symbols"])) is not None
        assert {key.to_user_string() for key in instance.all_asset_keys()} == {"fixer/rates", "fixer/symbols"}
        checks = {
            event.asset_check_key.asset_key.to_user_string()
            for run in instance.get_runs()
            for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            if record.dagster_event
            for event in (record.dagster_event.asset_check_evaluation_data,)
        }
    assert checks == {"fixer/rates"}
