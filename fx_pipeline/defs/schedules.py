"""When runs start by themselves: rates and checks each morning, currency names each month.

The UI can preview and launch a tick in the future. The current time then decides which days are due.
"""

import datetime as dt
from collections.abc import Sequence

import dagster as dg

from fx_pipeline.clock import utc_now
from fx_pipeline.dagster_names import prefixed
from fx_pipeline.defs import tries
from fx_pipeline.defs.database_checks import nightly_checks
from fx_pipeline.defs.failures import recovery
from fx_pipeline.defs.jobs import checks_job, database_job, history_job, rates_job, symbols_job
from fx_pipeline.defs.partitions import days
from fx_pipeline.defs.run_config import range_tags, rates_config
from fx_pipeline.settings import Settings, load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.frames import RateHistory


@dg.schedule(
    name=prefixed(load_settings(), "daily_rates"),
    job=rates_job,
    cron_schedule=tries.cron(10),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 00:10 UTC: fetch yesterday, refetch the FX_REVISION_DAYS days before it, and "
    "fetch the missing days among the last FX_CATCH_UP_DAYS. At 01:10, 03:10 and 06:10 UTC: fetch what is "
    "left after an outage.",
)
def daily_rates(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request one run over all days that are due, also after the machine was off for a while."""
    settings = load_settings()
    at = context.scheduled_execution_time
    now = min(at, utc_now())
    window = settings.fx_revision_days + 1
    recent = days.get_partition_keys(current_time=now)[-max(window, settings.fx_catch_up_days) :]
    if not recent:
        return dg.SkipReason("No day since FX_START_DATE is over yet.")
    refetched = recent[-window:]
    chosen = sorted(_wanted(settings, recent) | set(refetched))
    in_a_row = recent.index(chosen[-1]) - recent.index(chosen[0]) == len(chosen) - 1
    only = None if in_a_row else chosen
    if not tries.is_first(at):
        only = chosen = _left(context.instance, settings, chosen, refetched, at, now)
        if not chosen:
            return dg.SkipReason("There is nothing left for another try this morning to fetch.")
    return dg.RunRequest(
        run_key=None,
        tags={**range_tags(chosen[0], chosen[-1]), **tries.tags(at)},
        run_config=rates_config(skip_stored=True, refetch_from=refetched[0], only=only),
    )


def _wanted(settings: Settings, keys: Sequence[str]) -> set[str]:
    """Return which of these days are wanted. The first night has none, so it fetches only the newest."""
    try:
        with RateHistory(settings.fx_database) as history:
            wanted = history.wanted()
    except StoreError:
        return set()  # there is no database yet; the run reports any other error
    first, last = dt.date.fromisoformat(keys[0]), dt.date.fromisoformat(keys[-1])
    return {date.isoformat() for date in wanted.between(first, last)} & set(keys)


def _left(
    instance: dg.DagsterInstance,
    settings: Settings,
    keys: Sequence[str],
    window: Sequence[str],
    at: dt.datetime,
    now: dt.datetime,
) -> list[str]:
    """Return the days that earlier runs of this morning left and another try may fetch.

    If there was no earlier run, because the machine was off: all missing days, plus, if there are any, the
    days of the window that have not been fetched this morning.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        with RateHistory(settings.fx_database) as history:
            read = history.last_fetched(dt.date.fromisoformat(keys[0]), dt.date.fromisoformat(keys[-1]))
    except StoreError:
        read = {}  # there is no database yet; the run reports any other error
    read_at = {date.isoformat(): instant for date, instant in read.items()}
    missing = {key for key in keys if key not in read_at}
    unread = missing | {key for key in window if key in read_at and read_at[key] < midnight}
    earlier = tries.last_run(instance, rates_job.name, tries.tags(at)[tries.MORNING])
    if earlier is None:
        left = unread if missing else set()
    elif found := recovery(instance, earlier.run_id):
        left = unread & found.dates
    else:  # it succeeded, it is still running, or its process was killed
        left = missing if earlier.is_success else unread
    return sorted(left)


@dg.schedule(
    name=prefixed(load_settings(), "monthly_symbols"),
    job=symbols_job,
    cron_schedule=tries.cron(20),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On the first of each month: fetch the names of the currencies, with one call. If that "
    "fails, try again later the same morning and on the next mornings.",
)
def monthly_symbols(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a run unless the names were read this month, or another try this morning cannot help."""
    at = context.scheduled_execution_time
    now = min(at, utc_now())
    try:
        with RateHistory(load_settings().fx_database) as history:
            read_at = history.names_last_fetched()
    except StoreError:
        read_at = None
    if read_at is not None and (read_at.year, read_at.month) >= (now.year, now.month):
        return dg.SkipReason(f"The names were already fetched this month, on {read_at.date()}.")
    if not tries.is_first(at):
        earlier = tries.last_run(context.instance, symbols_job.name, tries.tags(at)[tries.MORNING])
        found = recovery(context.instance, earlier.run_id) if earlier else None
        if found and not found.complete:
            return dg.SkipReason("The last try failed for a reason that another try this morning cannot fix.")
    return dg.RunRequest(run_key=None, tags=tries.tags(at))


daily_checks = dg.ScheduleDefinition(
    name=prefixed(load_settings(), "daily_checks"),
    job=checks_job,
    cron_schedule="40 6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 06:40 UTC, after the last try to fetch the day: run the checks of the table.",
)


@dg.schedule(
    name=prefixed(load_settings(), "nightly_database"),
    job=database_job,
    cron_schedule="40 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 04:40 UTC, between the tries to fetch the day: check the database file, "
    "restore the replica or the newest backup into a scratch folder, and compare the two.",
)
def nightly_database(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    """Request one run of the checks that are due."""
    return dg.RunRequest(run_key=None, asset_check_keys=nightly_checks(load_settings()))


nightly_history = dg.ScheduleDefinition(
    name=prefixed(load_settings(), "nightly_history"),
    job=history_job,
    cron_schedule="10 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every day at 05:10 UTC, between the tries to fetch the day: delete our runs that ended "
    "FX_HISTORY_DAYS ago.",
)
