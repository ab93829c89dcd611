"""Years of nights with pruning: Dagster's storage stays small, and its pages stay complete and fast.

benchmarks/history.py has the figures of three years.
"""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fx_pipeline.dagster_internals.servers import web_application
from fx_pipeline.defs.checks import RATES
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.code_locations import loaded_workspace
from fx_pipeline_tests.proofs.dagster_pages import reading, recorded
from fx_pipeline_tests.proofs.nights import FIRST, Nights
from fx_pipeline_tests.proofs.work import EACH, Work, meter
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.storages import Storage, on_both_storages

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore:The 'warn' method is deprecated:DeprecationWarning"
    ),  # Dagster's daemon
]

NIGHTS = 16
KEPT = 4
"""Nights whose runs are not old."""

INSTRUCTIONS_OF_A_DAY = 20
"""Of SQLite, to skip the event of a day. The page of events does so for each."""

PAGE = """query {
    assetNodeOrError(assetKey: {path: ["rates"]}) { ... on AssetNode {
        partitionStats { numMaterialized }
        latestMaterializationByPartition { partition runOrError { __typename } metadataEntries { label } }
    } }
    runsOrError(limit: 25) { ... on Runs { count } }
}"""


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FX_DATABASE", "fx.db")


@on_both_storages
def test_the_history_stays_small_and_complete(tmp_path: Path, storage: Storage) -> None:
    with running_sandbox() as sandbox, open_instance(tmp_path / "dagster") as instance:
        nights = Nights(instance, sandbox, KEPT)
        while nights.number < 2 * KEPT:
            nights.add()
        earlier = nights.size()
        while nights.number < NIGHTS:
            assert nights.add() is not None
        later = nights.size()
        # One event remains of each day: its latest materialization.
        assert later.pop("event_logs") - earlier.pop("event_logs") == NIGHTS - 2 * KEPT
        for measured in (earlier, later):
            measured.pop("kB")  # in pages of several kB, and some pages are free
        assert later == earlier
        instance.wipe_asset_cached_status([RATES])
        with loaded_workspace(instance) as workspace, TestClient(web_application(workspace)) as ui:
            answer = ui.post("/graphql", json={"query": PAGE}).json()["data"]
        assert answer["runsOrError"]["count"] == nights.runs_of_a_night * KEPT
        node = answer["assetNodeOrError"]
        assert node["partitionStats"]["numMaterialized"] == nights.days
        by_partition = {one["partition"]: one for one in node["latestMaterializationByPartition"] if one}
        assert len(by_partition) == nights.days
        assert by_partition[str(FIRST)]["runOrError"] == {"__typename": "RunNotFoundError"}
        assert by_partition[str(FIRST)]["metadataEntries"]
        assert nights.size()["files"] == later["files"]  # no page has made a file for a deleted run


def test_starting_and_looking_take_no_more_work(tmp_path: Path) -> None:
    with running_sandbox() as sandbox, open_instance(tmp_path / "dagster") as instance:
        nights = Nights(instance, sandbox, KEPT)
        while nights.number < 2 * KEPT:
            nights.add()
        pages = recorded(instance)

        def measured() -> dict[str, Work]:
            with reading(instance, pages) as functions, meter() as work:
                for function in functions.values():
                    function()  # the first fills what Dagster remembers of partitions
                nights.add()
                return {name: work.of(function) for name, function in functions.items()}

        earlier = measured()
        while nights.number < NIGHTS:
            nights.add()
        later = measured()
    assert [name for name, work in earlier.items() if not work.statements] == []
    allowed = (NIGHTS - 2 * KEPT) * INSTRUCTIONS_OF_A_DAY + 2 * EACH
    grown = {
        name: (before, after)
        for name, before, after in zip(earlier, earlier.values(), later.values(), strict=True)
        if after.statements > before.statements or after.instructions > before.instructions + allowed
    }
    assert grown == {}
