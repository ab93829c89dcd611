"""Backfills from the UI: what the quota does not allow, and what happens to days that are stored."""

import calendar
import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fx_pipeline.clock import today, yesterday
from fx_pipeline.dagster_internals.tags import BACKFILL_TAG, FORECAST_TAG
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.processes.running_up import BACKFILL, LAUNCH, Up, each_second, up
from fx_pipeline_tests.sandbox_server import running_sandbox

pytestmark = pytest.mark.slow

ASSET = {"assetSelection": [{"path": ["rates"]}]}
LEFT = 110
CHOSEN = dates_between("2023-01-01", "2023-05-10")
"""130 days. They are two runs, and each would fit by itself."""


def of_job(name: str) -> dict[str, Any]:
    """Return what the page of a job launches."""
    repository = {"repositoryName": "__repository__", "repositoryLocationName": "fx_pipeline"}
    return {"selector": {"repositorySelector": repository, "partitionSetName": f"{name}_partition_set"}}


def backfill(running: Up, what: dict[str, Any], dates: list[str]) -> tuple[str, str]:
    """Launch a backfill as the UI does, and wait for its end. Return its id and its status."""
    parameters = {**what, "partitionNames": dates}
    launched = running.graphql(LAUNCH, backfillParams=parameters)["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched

    def status() -> str:
        found = running.graphql(BACKFILL, id=launched["backfillId"])["partitionBackfillOrError"]
        return str(found["status"])

    running.wait("end of a backfill", lambda: status() not in ("REQUESTED", "COMPLETING", "FAILING"))
    return str(launched["backfillId"]), status()


def test_a_backfill_says_what_it_needs_before_its_first_call(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    patches = tmp_path_factory.mktemp("patches")
    month = today()
    reserved = calendar.monthrange(month.year, month.month)[1] - month.day
    settings = {"FIXER_ACCESS_KEY": "a-key", "FX_REVISION_DAYS": "0", **each_second(patches)}
    with running_sandbox() as sandbox:
        # The start fetches ten days and the names.
        settings |= {"FIXER_BASE_URL": sandbox.url, "FIXER_MONTHLY_QUOTA": str(11 + reserved + LEFT)}
        with up(tmp_path, **settings) as running:
            running.wait_until_ready()
            calls = sandbox.stats()["total"]

            _, status = backfill(running, ASSET, CHOSEN)
            assert status == "COMPLETED_FAILED"
            assert sandbox.stats()["total"] == calls

            days = [str(yesterday() - dt.timedelta(days=ago)) for ago in range(12, 0, -1)]
            before = sandbox.asked_dates()
            launched, status = backfill(running, of_job("missing_job"), days)
            assert status == "COMPLETED_SUCCESS"
            assert sandbox.asked_dates() - before == Counter(set(days) - set(before))
            with open_instance(tmp_path / "data" / "dagster") as instance:
                [run] = instance.get_runs(dg.RunsFilter(tags={BACKFILL_TAG: launched}))
            assert run.tags[FORECAST_TAG].startswith("3 days, 3 calls (")
            assert run.tags[FORECAST_TAG].endswith(", 9 skipped")
            assert running.interrupt() == 0
