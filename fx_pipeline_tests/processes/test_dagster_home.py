"""The configuration of Dagster's home: a run stores each event, and prints messages only."""

from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance


@dg.op
def two_days(context: dg.OpExecutionContext) -> None:
    context.log.info("a message")
    for day in ("2024-03-01", "2024-03-02"):
        context.log_event(dg.AssetMaterialization("rates", partition=day))


@dg.job(executor_def=dg.in_process_executor)
def fetch() -> None:
    two_days()


def test_a_run_prints_messages_and_stores_all_events(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_instance(tmp_path / "home") as instance:
        result = fetch.execute_in_process(instance=instance)
        stored = [entry.dagster_event_type or entry.message for entry in instance.all_logs(result.run_id)]
    printed = [line for line in capfd.readouterr().err.splitlines() if " - dagster - " in line]
    assert [line.rpartition(" - ")[2] for line in printed] == ["a message"]
    assert "a message" in stored
    assert stored.count(dg.DagsterEventType.ASSET_MATERIALIZATION) == 2
    assert {dg.DagsterEventType.STEP_START, dg.DagsterEventType.RUN_SUCCESS} <= set(stored)
