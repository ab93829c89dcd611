"""The executor of all jobs: a run is one process, which holds the lock of the run as long as it lives."""

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import dagster as dg

from fx_pipeline import tracing
from fx_pipeline.defs.run_locks import fail_killed_runs
from fx_pipeline.logs import run_of_process
from fx_pipeline.settings import load_settings
from fx_pipeline.store.run_lock import hold

if TYPE_CHECKING:
    from fx_pipeline.dagster_internals.runs import ExecutionPlan, PlanOrchestrationContext, RetryMode


class _LockedExecutor(dg.Executor):
    def __init__(self, executor: dg.Executor) -> None:
        self._executor = executor

    @property
    def retries(self) -> "RetryMode":
        return self._executor.retries

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        database = load_settings().fx_database
        with suppress(OSError):  # the run itself reports an unusable folder
            hold(database, plan_context.run_id)
            fail_killed_runs(plan_context.instance, database)
        run_id, job = plan_context.run_id, plan_context.job_name
        tracing.start_tracing(load_settings())
        try:
            with (
                run_of_process(run_id),
                tracing.span(
                    f"run {job}", attributes={"dagster.run_id": run_id, "dagster.job_name": job}
                ) as span,
            ):
                for event in self._executor.execute(plan_context, execution_plan):
                    if event.is_step_failure:
                        span.fail("step failure")
                    yield event
        finally:
            tracing.flush()


def _create(context: dg.InitExecutorContext) -> dg.Executor:
    create = dg.in_process_executor.executor_creation_fn
    assert create is not None  # noqa: S101  # Dagster's own executor has one
    return _LockedExecutor(create(context))


one_process = dg.ExecutorDefinition(
    # The name and the config are those of Dagster's own executor: stored runs have them in their config.
    name="in_process",
    config_schema=dg.in_process_executor.config_schema.as_field(),
    executor_creation_fn=_create,
    description="Execute all steps in the process of the run. Starting a process per step takes longer "
    "than the step.",
)
