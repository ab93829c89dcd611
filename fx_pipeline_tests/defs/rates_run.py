"""Runs of the jobs on a real Dagster instance against a running sandbox, and what its checks then say."""

import dagster as dg

from fx_pipeline.dagster_internals import RESUME_TAGS, execute_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.jobs import rates_job
from fx_pipeline.defs.resources import DatabaseResource, FixerResource, without_config
from fx_pipeline.defs.schedules import range_tags, rates_config
from fx_pipeline_tests.sandbox_server import Sandbox

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def resources(url: str, symbols: tuple[str, ...] = ()) -> dict[str, object]:
    """The product's resources, with the sandbox as Fixer and `fx.db` in the working directory."""
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
    """One run of the rates over a range of days."""
    config = rates_config(skip_stored=skip_stored).to_config_dict()  # type: ignore[no-untyped-call]
    return defs.resolve_job_def("rates_job").execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config={**config, **QUIET},
        raise_on_error=False,
        resources=resources(sandbox.url, symbols),
    )


def retry_rates(
    instance: dg.DagsterInstance, sandbox: Sandbox, first: str, last: str, *, killed: str
) -> dg.JobExecutionResult:
    """A run over a range of days as the daemon starts it again where the process of `killed` was."""
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
            RESUME_TAGS[0]: "true",
            "dagster/root_run_id": killed,
            "dagster/parent_run_id": killed,
        },
        root_run_id=killed,
        parent_run_id=killed,
    )
    return execute_run(job, run, instance)


def materialize_rates(
    instance: dg.DagsterInstance, sandbox: Sandbox, first: str, last: str
) -> dg.ExecuteInProcessResult:
    """The same as the UI has it done: the asset with all its checks, those of the table among them."""
    whole = defs.resolve_implicit_global_asset_job_def()
    checks = whole.asset_layer.asset_graph.asset_check_keys
    job = whole.get_subset(asset_selection={RATES}, asset_check_selection=checks)
    return job.execute_in_process(
        instance=instance,
        tags=range_tags(first, last),
        run_config=QUIET,
        raise_on_error=False,
        resources=resources(sandbox.url),
    )


def execute_checks(instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    """What "Execute" beside a check does in the UI: a run of the checks without the asset."""
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
    """One run of the checks of the table, which asks nobody."""
    return defs.resolve_job_def("checks_job").execute_in_process(
        instance=instance,
        run_config=QUIET,
        raise_on_error=False,
        resources=resources("http://127.0.0.1:9"),
    )


def results(run: dg.ExecuteInProcessResult | dg.JobExecutionResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What the checks of a run say, by name."""
    return {evaluation.check_name: evaluation for evaluation in run.get_asset_check_evaluations()}


def verdicts(run: dg.ExecuteInProcessResult) -> dict[str, str]:
    """`passed`, `WARN` or `ERROR` for each check of a run."""
    return {name: "passed" if check.passed else check.severity.value for name, check in results(run).items()}
