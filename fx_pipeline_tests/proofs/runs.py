"""Runs of `rates_job` in this process, and what the UI shows of runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.fixer.client import FixerClient
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.defs.rates_run import run_range
from fx_pipeline_tests.waiting import PATIENCE

MATERIALIZED, FAILED = dg.AssetPartitionStatus.MATERIALIZED.value, dg.AssetPartitionStatus.FAILED.value
MISSING = "MISSING"


@dataclass(frozen=True, kw_only=True)
class ImpatientFixer(FixerResource):
    """Fixer behind a client that waits hardly at all before a retry."""

    retries: int = 5
    read_timeout: float = PATIENCE

    def client(self) -> FixerClient:
        return FixerClient(
            self.base_url,
            load_settings().provider_key,
            timeout=(PATIENCE, self.read_timeout),
            retries=self.retries,
            backoff=0.01,
            base=self.base,
        )


def run_with(
    instance: dg.DagsterInstance,
    fixer: FixerResource,
    first: str,
    last: str,
    *,
    database: Path = Path("fx.db"),
    skip_stored: bool = False,
) -> dg.ExecuteInProcessResult:
    """Execute rates_job with this Fixer for the days from `first` to `last`."""
    resources = {"fixer": fixer, "database": DatabaseResource(path=str(database))}
    return run_range(instance, resources, first, last, skip_stored=skip_stored)


def failure_of(result: dg.ExecuteInProcessResult) -> dg.Failure:
    """Return the failure that ended a run."""
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return dg.Failure(failure.user_failure_data.description, failure.user_failure_data.metadata)


def failure_text(result: dg.ExecuteInProcessResult) -> str:
    """Return the description of a run's failure. Check that Dagster did not retry the step."""
    assert not result.success
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    return failure_of(result).description or ""


def shown_in_ui(instance: dg.DagsterInstance, dates: Iterable[str]) -> dict[str, set[str]]:
    """Return the dates by the status that the UI shows for them."""
    statuses = instance.get_status_by_partition(dg.AssetKey("rates"), sorted(dates), days) or {}
    shown: dict[str, set[str]] = {}
    for date, status in statuses.items():
        shown.setdefault(status.value if status else MISSING, set()).add(date)
    return shown
