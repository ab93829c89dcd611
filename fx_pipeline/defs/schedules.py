"""When runs start by themselves: each morning for the rates and the checks, each month for the names.

What an outage has ended is tried again later the same morning (see `tries`). The tick of a schedule can be
previewed and launched in the UI at an instant in the future: what is due is reckoned by the clock then.
"""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from fx_pipeline.dagster_internals import RANGE_END_TAG, RANGE_START_TAG
from fx_pipeline.defs import tries
from fx_pipeline.defs.jobs import checks_job, rates_job, symbols_job
from fx_pipeline.defs.partitions import days
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.frames import RateHistory


@dg.schedule(
    job=rates_job,
    cron_schedule=tries.cron(10),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each day at 00:10 UTC: yesterday, the FX_REVISION_DAYS days before it again, and the gaps "
    "of the last FX_CATCH_UP_DAYS days. At 01:10, 03:10 and 06:10 UTC: what an outage has left of that.",
)
def daily_rates(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run over the whole window, also after the machine was off for a while."""
    settings = load_settings()
    at = context.scheduled_execution_time
    now = min(at, dt.datetime.now(dt.timezone.utc))
    window = settings.fx_revision_days + 1
    keys = days.get_partition_keys(current_time=now)[-max(window, settings.fx_catch_up_days) :]
    if not keys:
        return dg.SkipReason("No day since FX_START_DATE is over yet.")
    only: Sequence[str] | None = None
    if not tries.is_first(at):
        only = _left(context.instance, settings, keys, keys[-window:], at, now)
        if not only:
            return dg.SkipReason("Nothing is left to fetch this morning that another try may bring.")
    chosen = only or keys
    return dg.RunRequest(
        run_key=None,
        tags={**range_tags(chosen[0], chosen[-1]), **tries.tags(at)},
        run_config=rates_config(skip_stored=True, refetch_from=keys[-window:][0], only=only),
    )


def _left(
    instance: dg.DagsterInstance,
    settings: Settings,
    keys: Sequence[str],
    window: Sequence[str],
    at: dt.datetime,
    now: dt.datetime,
) -> list[str]:
    """The days that the earlier runs of this morning have left and another try may bring.

    Where there was none, because the machine was off: all that are missing and, if there are any, all days of
    the window that have not been read this morning.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        with RateHistory(settings.fx_database) as history:
            read = history.last_fetched(dt.date.fromisoformat(keys[0]), dt.date.fromisoformat(keys[-1]))
    except StoreError:
        read = {}  # there is no file yet; whatever else it is, the run will say so
    read_at = {date.isoformat(): instant for date, instant in read.items()}
    missing = {key for key in keys if key not in read_at}
    unread = missing | {key for key in window if key in read_at and read_at[key] < midnight}
    earlier = tries.last_run(instance, rates_job.name, tries.tags(at)[tries.MORNING])
    if earlier is None:
        left = unread if missing else set()
    elif failure := tries.failure_of(instance, earlier.run_id):
        left = unread & failure.dates
    else:  # it succeeded, it still runs, or its process was ended
        left = missing if earlier.is_success else unread
    return sorted(left)


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of the partitions from `first` to `last`, both included."""
    return {
        RANGE_START_TAG: first,
        RANGE_END_TAG: last,
    }


def rates_config(
    *, skip_stored: bool = False, refetch_from: str | None = None, only: Sequence[str] | None = None
) -> dg.RunConfig:
    """Return the config of a run of `rates`; see `assets.RatesConfig`."""
    config: dict[str, object] = {"skip_stored": skip_stored, "refetch_from": refetch_from}
    if only is not None:
        config["only"] = list(only)
    return dg.RunConfig(ops={"rates": {"config": config}})


@dg.schedule(
    job=symbols_job,
    cron_schedule=tries.cron(20),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On the first of each month: the names of the currencies. One call. If it fails, it is tried "
    "again later the same morning and on the next ones.",
)
def monthly_symbols(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One run, unless the names have been read this month or trying again this morning cannot help."""
    at = context.scheduled_execution_time
    now = min(at, dt.datetime.now(dt.timezone.utc))
    try:
        with RateHistory(load_settings().fx_database) as history:
            read_at = history.names_last_fetched()
    except StoreError:
        read_at = None
    if read_at is not None and (read_at.year, read_at.month) >= (now.year, now.month):
        return dg.SkipReason(f"The names have been read this month, on {read_at.date()}.")
    if not tries.is_first(at):
        earlier = tries.last_run(context.instance, symbols_job.name, tries.tags(at)[tries.MORNING])
        failure = tries.failure_of(context.instance, earlier.run_id) if earlier else None
        if failure and not failure.temporary:
            return dg.SkipReason(
                "The last try failed for a reason that another one this morning cannot mend."
            )
    return dg.RunRequest(run_key=None, tags=tries.tags(at))


daily_checks = dg.ScheduleDefinition(
    name="daily_checks",
    job=checks_job,
    cron_schedule="40 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each day at 06:40 UTC, after the last try to fetch the day: the checks of the table.",
)
