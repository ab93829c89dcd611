"""Runs: executing one in this process, why it ended, and what the instance stores about it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME as ASSET_JOB
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import RunFailureReason
from dagster._core.execution.api import execute_run as _execute_run
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.runs import SqliteRunStorage
from dagster._core.workspace.load import location_origins_from_yaml_paths

# With this pair, Dagster checks for interrupts between the events of a run. No public function does.
from dagster._utils.interrupts import capture_interrupts, check_captured_interrupt

from fx_pipeline.dagster_names import WORKSPACE

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode

__all__ = [
    "ASSET_JOB",
    "ExecutionPlan",
    "PlanOrchestrationContext",
    "RetryMode",
    "capture_interrupts",
    "check_captured_interrupt",
]

UNSAVED_EVENT = "Exception while writing logger call to event log"
"""The start of the text that Dagster writes to stderr if it cannot save an event."""


def execute_run(
    job: dg.JobDefinition, run: dg.DagsterRun, instance: dg.DagsterInstance, *, raise_on_error: bool = False
) -> dg.JobExecutionResult:
    """Execute a run that exists, in this process.

    `JobDefinition.execute_in_process` creates its own run, without a code location: the UI could not
    re-execute it. `dg.execute_job` needs a job that another process can load.
    """
    return _execute_run(InMemoryJob(job), run, instance, raise_on_error=raise_on_error)


def job_origin(job: dg.JobDefinition) -> RemoteJobOrigin:
    """Return the origin that ties a run of `job` to the code location in workspace.yaml.

    The UI re-executes only runs that have one, and no public function creates one.
    """
    [location] = location_origins_from_yaml_paths([WORKSPACE])
    # Unnamed definitions are in the repository with this name.
    return RemoteRepositoryOrigin(location, dg.Definitions().get_repository_def().name).get_job_origin(
        job.name
    )


def stores_in_home(instance: dg.DagsterInstance) -> bool:
    """Return whether the runs are in files of Dagster's home, which only one machine uses."""
    return isinstance(instance.run_storage, SqliteRunStorage)


def is_interrupted_step(event: dg.DagsterEvent) -> bool:
    """Return whether an interrupt ended the step of this STEP_FAILURE event. Its type is not public."""
    return event.step_failure_data.error_source is ErrorSource.INTERRUPT


def was_interrupted(result: dg.JobExecutionResult) -> bool:
    """Return whether an interrupt ended the run. Dagster reports it as failed; the reason is not public."""
    return any(
        event.job_failure_data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION
        for event in result.all_events
        if event.is_job_failure
    )


class CheckResult(NamedTuple):
    """One result of an asset check, as the instance stores it."""

    run_id: str
    recorded_at: float
    """Unix seconds."""
    evaluation: dg.AssetCheckEvaluation


def check_results(instance: dg.DagsterInstance, check: dg.AssetCheckKey, *, limit: int) -> list[CheckResult]:
    """Return the newest results of a check, without executions that were only planned.

    A run over many dates that was planned with its checks leaves a planned execution for each date.

    The public methods of the instance return only the last result.
    """
    records = instance.event_log_storage.get_asset_check_execution_history(
        check,
        limit=limit,
        status={AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED},
    )
    return [
        CheckResult(record.run_id, record.create_timestamp, event.asset_check_evaluation_data)
        for record in records
        if record.event and (event := record.event.dagster_event)
    ]


def last_check_results(
    instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]
) -> Mapping[dg.AssetCheckKey, CheckResult]:
    """Return the last result of each check that has one, as `check_results` does, usually in one query."""
    found: dict[dg.AssetCheckKey, CheckResult] = {}
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    for check, record in ((check, latest[check]) for check in checks if check in latest):
        event = record.event and record.event.dagster_event
        if event and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            found[check] = CheckResult(record.run_id, record.create_timestamp, evaluation)
        else:  # the last execution was only planned
            found.update((check, result) for result in check_results(instance, check, limit=1))
    return found


def failed_partitions(
    instance: dg.DagsterInstance, asset: dg.AssetKey, partitions: dg.PartitionsDefinition[str]
) -> set[str]:
    """Return the partitions that the UI shows as failed once no run has them in progress.

    The public `get_status_by_partition` returns only "in progress" for the partitions of the current run.
    """
    from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

    status = get_and_update_asset_status_cache_value(instance, asset, partitions)
    if status is None:
        return set()
    return set(status.deserialize_failed_partition_subsets(partitions).get_partition_keys())


def backfill_partitions(instance: dg.DagsterInstance, backfill_id: str, asset: dg.AssetKey) -> set[str]:
    """Return the partitions of an asset that a backfill was launched for; none if Dagster has deleted it."""
    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        return set()
    if (data := backfill.asset_backfill_data) is not None and asset in data.target_subset.asset_keys:
        return set(data.get_target_partitions_subset(asset).get_partition_keys())
    return set(backfill.partition_names or ())  # of a job, or of an asset before Dagster has looked at it


def unfinished_backfills(instance: dg.DagsterInstance) -> Sequence[PartitionBackfill]:
    """Return the backfills that have not ended. Dagster exports neither them nor their states."""
    states = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]
    return instance.get_backfills(BulkActionsFilter(statuses=states))
