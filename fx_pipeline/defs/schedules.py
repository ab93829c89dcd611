"""When runs start by themselves: each day for the rates and for the checks, each month for the names."""

import dagster as dg

from fx_pipeline.defs.jobs import checks_job, rates_job, symbols_job
from fx_pipeline.defs.partitions import days
from fx_pipeline.settings import load_settings


@dg.schedule(
    job=rates_job,
    cron_schedule="10 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each day at 00:10 UTC: yesterday, the FX_REVISION_DAYS days before it again, and the gaps "
    "of the last FX_CATCH_UP_DAYS days.",
)
def daily_rates(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run over the whole window, also after the machine was off for a while."""
    settings = load_settings()
    window = settings.fx_revision_days + 1
    keys = days.get_partition_keys(current_time=context.scheduled_execution_time)
    keys = keys[-max(window, settings.fx_catch_up_days) :]
    if not keys:
        return dg.SkipReason("No day since FX_START_DATE is over yet.")
    return dg.RunRequest(
        run_key=None,
        tags=range_tags(keys[0], keys[-1]),
        run_config=rates_config(skip_stored=True, refetch_from=keys[-window:][0]),
    )


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of the partitions from `first` to `last`, both included."""
    return {
        "dagster/asset_partition_range_start": first,
        "dagster/asset_partition_range_end": last,
    }


def rates_config(*, skip_stored: bool = False, refetch_from: str | None = None) -> dg.RunConfig:
    """Return the config of a run of `rates`; see `assets.RatesConfig`."""
    config = {"skip_stored": skip_stored, "refetch_from": refetch_from}
    return dg.RunConfig(ops={"rates": {"config": config}})


monthly_symbols = dg.ScheduleDefinition(
    name="monthly_symbols",
    job=symbols_job,
    cron_schedule="20 0 1 * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On the first of each month: the names of the currencies. One call.",
)

daily_checks = dg.ScheduleDefinition(
    name="daily_checks",
    job=checks_job,
    cron_schedule="10 1 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each day at 01:10 UTC, when the rates of the day have come: the checks of the table.",
)
