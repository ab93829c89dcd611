"""Runs of the jobs on a real Dagster instance against a running sandbox, and their check results."""

import dagster as dg

from fx_pipeline.dagster_internals.runs import execute_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.jobs import rates_job
from fx_pipeline.defs.resources import DatabaseResource, FixerResource, without_config
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline_tests.sandbox_server import Sandbox

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def resources(url: str, symbols: tuple[str, ...] = ()) -> dict[str, object]:
    """Return the product's resources, with the sandbox as Fixer and `fx.db` in the working directory."""
    return {
        "fixer": without_config(
            FixerResource(base_url=url, base="EUR", symbols=list(symbols), concurrency=4)
        ),
        "database": without_config(DatabaseResource(path="fx.db")),
    }


def run_rates(
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    first: str,
    last: str,
    *,
    symbols: tuple[str, ...] = (),
    skip_stored: bool = False,
) -> dg.ExecuteInProcessResult:
    """Execute rates_job for a range of days."""
    return run_range(instance, resources(sandbox.url, symbols), first, last, skip_stored=skip_stored)


def run_range(
    instance: dg.DagsterInstance,
    resources: dict[str, object],
    first: str,
    last: str,
    *,
    skip_stored: bool = False,
) -> dg.ExecuteInProcessResult:
    """Execute rates_job with these resources for the days from `first` to `last`."""
    config = rates_config(skip_stored=skip_stored).to_config_dict()  # type: ignore[no-untyped-call]
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config={**config, **QUIET},
        raise_on_error=False,
        resources=resources,
    )


def reexecute_rates(
    instance: dg.DagsterInstance, sandbox: Sandbox, first: str, last: str, *, parent: str, **tags: str
) -> dg.JobExecutionResult:
    """Execute a run over a range of days as a re-execution of another run.

    "Re-execute all", "from failure" and a restart by the daemon all give it its parent.
    """
    job = dg.Definitions(
        assets=[defs.get_assets_def(RATES)],
        jobs=[rates_job],
        resources=resources(sandbox.url),
        executor=dg.in_process_executor,
    ).resolve_job_def("rates_job")
    run = instance.create_run_for_job(
        job,
        run_config=QUIET,
        tags={
            **range_tags(first, last),
            **tags,
            "dagster/root_run_id": parent,
            "dagster/parent_run_id": parent,
        },
        root_run_id=parent,
        parent_run_id=parent,
    )
    return execute_run(job, run, instance)


def materialize_rates(
    instance: dg.DagsterInstance, sandbox: Sandbox, first: str, last: str
) -> dg.ExecuteInProcessResult:
    """Execute the asset with all its checks for a range of days, as the UI does."""
    whole = defs.resolve_implicit_global_asset_job_def()
    checks = {key for key in whole.asset_layer.asset_graph.asset_check_keys if key.asset_key == RATES}
    job = whole.get_subset(asset_selection={RATES}, asset_check_selection=checks)
    return job.execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config=QUIET,
        raise_on_error=False,
        resources=resources(sandbox.url),
    )


def execute_checks(instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    """Execute checks without the asset, as "Execute" does in the UI."""
    checks = {dg.AssetCheckKey(RATES, name) for name in names}
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection=checks
    )
    return job.execute_in_process(
        instance=instance,
        run_config=QUIET,
        raise_on_error=False,
        resources=resources("http://127.0.0.1:9"),
    )


def run_table_checks(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Execute checks_job, which makes no calls."""
    return defs.resolve_job_def("checks_job").execute_in_process(
        instance=instance,
        run_config=QUIET,
        raise_on_error=False,
        resources=resources("http://127.0.0.1:9"),
    )


def results(run: dg.ExecuteInProcessResult | dg.JobExecutionResult) -> dict[str, dg.AssetCheckEvaluation]:
    """Return the check results of a run by name."""
    return {evaluation.check_name: evaluation for evaluation in run.get_asset_check_evaluations()}


def verdicts(run: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return `passed`, `WARN` or `ERROR` for each check of a run."""
    return {name: "passed" if check.passed else check.severity.value for name, check in results(run).items()}
