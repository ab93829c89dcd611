"""Years of nights with pruning: Dagster's storage stays small, and its pages stay complete and fast.

The runs of one real night are copied from night to night. FX_TEST_NIGHTS=1095 simulates three years and
prints figures every 90 nights.
"""

import datetime as dt
import os
import shutil
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from sqlalchemy import text
from starlette.testclient import TestClient

from fx_pipeline.dagster_internals.servers import web_application
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.history import BUDGET, prune
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.defs.rates_run import QUIET, run_rates, run_table_checks
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.storages import Storage, on_both_storages

pytestmark = pytest.mark.slow

NIGHTS = int(os.environ.get("FX_TEST_NIGHTS", "40"))
KEPT = min(90, NIGHTS // 4)
"""Nights whose runs are not old."""

FIRST = dt.date(2020, 1, 1)
"""The first of the three days of the real run. Each night's run begins a day later."""

PAGES = {
    "asset": """query { assetNodeOrError(assetKey: {path: ["rates"]}) { ... on AssetNode {
        partitionStats { numMaterialized numFailed numPartitions }
        latestMaterializationByPartition {
            partition timestamp runId runOrError { __typename } metadataEntries { label }
        }
        assetMaterializations(limit: 100) { partition runId runOrError { __typename } }
    } } }""",
    "checks": """query { assetNodeOrError(assetKey: {path: ["rates"]}) { ... on AssetNode {
        assetChecksOrError { ... on AssetChecks { checks {
            name executionForLatestMaterialization { status evaluation { success } }
        } }
    } } } }""",
    "runs": "query { runsOrError(limit: 25) { ... on Runs { count results { runId status } } } }",
    "latest": """query { assetsLatestInfo(assetKeys: [{path: ["rates"]}]) {
        latestRun { id } latestMaterialization { timestamp }
    } }""",
}

COPY_EVENTS = """INSERT INTO event_logs
    (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
    SELECT :new, {event}, dagster_event_type, timestamp, step_key, asset_key, {partition}
    FROM event_logs WHERE run_id = :old ORDER BY id"""
COPY_RESULTS = """INSERT INTO asset_check_executions
    (asset_key, check_name, partition, run_id, execution_status, evaluation_event,
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id)
    SELECT asset_key, check_name, partition, :new, execution_status, {evaluation_event},
    evaluation_event_timestamp, evaluation_event_storage_id, materialization_event_storage_id
    FROM asset_check_executions WHERE run_id = :old ORDER BY id"""
COPY_RUN = """INSERT INTO runs (run_id, snapshot_id, pipeline_name, status, run_body, start_time, end_time)
    SELECT :new, snapshot_id, pipeline_name, status, {run_body}, :now, :now FROM runs WHERE run_id = :old"""
COPY_TAGS = """INSERT INTO run_tags (run_id, key, value)
    SELECT :new, key, value FROM run_tags WHERE run_id = :old"""


def with_replacements(statement: str) -> str:
    """Return a statement whose {columns} have another run and other days than the row that they copy."""

    def replaced(column: str) -> str:
        # The last day first, so that no day is replaced twice.
        for old, new in (("old", "new"), ("day2", "day3"), ("day1", "day2"), ("day0", "day1")):
            column = f"replace({column}, :{old}, :{new})"
        return column

    columns = ("event", "partition", "evaluation_event", "run_body")
    return statement.format(**{column: replaced(column) for column in columns})


def repeat(instance: dg.DagsterInstance, run_id: str, first: dt.date) -> str:
    """Add a copy of a run about the three days from `first`, a day later. It ends now. Return its id."""
    values: dict[str, Any] = {"old": run_id, "new": str(uuid4()), "now": time.time()}
    values |= {f"day{number}": str(first + dt.timedelta(days=number)) for number in range(4)}
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(text(with_replacements(COPY_RUN)), values)
        connection.execute(text(COPY_TAGS), values)
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(text(with_replacements(COPY_EVENTS)), values)
        connection.execute(text(with_replacements(COPY_RESULTS)), values)
    home = Path(instance.root_directory)
    if (file := home / "history" / "runs" / f"{run_id}.db").exists():
        shutil.copy(file, file.with_name(f"{values['new']}.db"))
    if (output := home / "storage" / run_id).exists():
        shutil.copytree(output, output.with_name(values["new"]))
    return str(values["new"])


def size_of(instance: dg.DagsterInstance) -> dict[str, int]:
    """Return the files and bytes of Dagster's home, and the rows of its largest tables."""
    files = [path for path in Path(instance.root_directory).rglob("*") if path.is_file()]
    sizes = {"files": len(files), "kB": sum(file.stat().st_size for file in files) // 1000}
    with instance.event_log_storage.index_connection() as connection:  # type: ignore[attr-defined]
        for table in ("event_logs", "asset_check_executions"):
            sizes[table] = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar()  # noqa: S608
        if connection.dialect.name == "postgresql":
            whole = "SELECT pg_database_size(current_database()) / 1000"
            sizes["kB"] = connection.execute(text(whole)).scalar()
    return sizes


def answers_of(instance: dg.DagsterInstance) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the answers to the pages' queries, and the milliseconds that each took the third time."""
    answers, took = {}, {}
    with loaded_workspace(instance) as workspace, TestClient(web_application(workspace)) as ui:
        for name, query in PAGES.items():
            for _ in range(3):
                start = time.perf_counter()
                answer = ui.post("/graphql", json={"query": query}).json()
                took[name] = round(1000 * (time.perf_counter() - start), 1)
            assert "errors" not in answer, answer
            answers[name] = answer["data"]
    return answers, took


@on_both_storages
def test_the_history_stays_small(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    home = tmp_path / "dagster"
    ended: list[dt.datetime] = []
    sizes: list[dict[str, int]] = []
    with running_sandbox() as sandbox, open_instance(home) as instance:
        real = [
            run_rates(instance, sandbox, str(FIRST), str(FIRST + dt.timedelta(days=2))),
            run_table_checks(instance),
            defs.resolve_job_def("history_job").execute_in_process(instance=instance, run_config=QUIET),
        ]
        own = real[0].dagster_run
        runs = [run.run_id for run in real]
        for night in range(NIGHTS):
            runs = [repeat(instance, run, FIRST + dt.timedelta(days=night)) for run in runs]
            ended.append(dt.datetime.now(dt.timezone.utc))
            start = time.perf_counter()
            if night >= KEPT:
                result = prune(instance, own, ended[night - KEPT], BUDGET)
                assert result["runs deleted"] == 3 + 3 * (night == KEPT), str(result)
            pruned = time.perf_counter() - start
            if night % KEPT == KEPT - 1:
                sizes.append(size_of(instance))
                if NIGHTS > 100:
                    start = time.perf_counter()
                    open_instance(home).dispose()
                    opened = time.perf_counter() - start
                    took = answers_of(instance)[1] if len(sizes) % 4 == 2 or night + KEPT >= NIGHTS else ""
                    with capsys.disabled():
                        print(night + 1, sizes[-1], f"pruned {pruned:.3f} s, opened {opened:.3f} s", took)
        instance.wipe_asset_cached_status([RATES])
        answers, _ = answers_of(instance)
    days = NIGHTS + 3
    last, earlier = sizes[-1], sizes[1]
    assert last["files"] <= earlier["files"]
    assert last["asset_check_executions"] == earlier["asset_check_executions"]
    # One event remains of each day: its latest materialization.
    assert last["event_logs"] - earlier["event_logs"] == (len(sizes) - 2) * KEPT
    node = answers["asset"]["assetNodeOrError"]
    assert node["partitionStats"]["numMaterialized"] == days
    by_partition = {one["partition"]: one for one in node["latestMaterializationByPartition"] if one}
    assert len(by_partition) == days
    assert by_partition[str(FIRST)]["runOrError"] == {"__typename": "RunNotFoundError"}
    assert by_partition[str(FIRST)]["metadataEntries"]
    assert answers["runs"]["runsOrError"]["count"] == 3 * KEPT
    assert size_of(instance)["files"] == last["files"]  # no page has made a new file for a deleted run
