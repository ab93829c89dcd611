"""Reports of the daily run and of the restore drill to FX_HEARTBEAT_URL: both together are one check there.

It is good only if the last daily run and the last drill were good. Otherwise the success of one would hide
the failure of the other.
"""

import time
from collections.abc import Generator, Iterable
from typing import TypeVar

import dagster as dg

from fx_pipeline.dagster_names import prefixed
from fx_pipeline.defs import tries
from fx_pipeline.defs.failures import ATTEMPTS, TEMPORARY
from fx_pipeline.drilled import DrillState, read_drill
from fx_pipeline.heartbeat import Signal, report
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import StoreError

T = TypeVar("T")

DAILY = "The daily run"
DRILL = "The restore drill"


def reported(context: dg.AssetExecutionContext, events: Iterable[T]) -> Generator[T, None, None]:
    """Yield the events of a run. If a schedule started it, report its start, its success and its failure.

    A failure is not reported while another attempt, or another try of the morning, may follow.
    """
    if tries.MORNING not in context.run.tags:
        yield from events
        return
    if context.retry_number == 0:
        _report(context, "start", f"{DAILY} starts")
    start = time.monotonic()
    try:
        yield from events
    except dg.RetryRequested:
        raise
    except dg.Failure as failure:
        temporary = failure.metadata.get(TEMPORARY)
        if tries.NEXT_TRY not in context.run.tags or not (temporary and temporary.value):
            _report(context, "fail", f"{DAILY} failed")
        raise
    except Exception as error:
        if isinstance(error, StoreError) or context.retry_number >= ATTEMPTS.max_retries:
            _report(context, "fail", f"{DAILY} failed")
        raise
    drill = read_drill(load_settings().fx_database)
    if drill is not None and drill.result == "failed":
        _report(context, "fail", f"{DAILY} was good, but the last restore drill failed")
    else:
        _report(context, "success", f"{DAILY} took {time.monotonic() - start:.1f} s")


def report_drill(context: dg.AssetCheckExecutionContext, state: DrillState) -> None:
    """Report a drill that restored something. A good one is not reported if the last daily run failed."""
    if state.result == "failed":
        _report(context, "fail", f"{DRILL} failed")
    elif state.result == "good" and not _last_daily_run_failed(context.instance):
        _report(context, "success", f"{DRILL} took {state.seconds} s")


def _last_daily_run_failed(instance: dg.DagsterInstance) -> bool:
    job = prefixed(load_settings(), "rates_job")
    runs = instance.get_runs(dg.RunsFilter(job_name=job), limit=50)
    scheduled = [run for run in runs if tries.MORNING in run.tags]
    return bool(scheduled) and scheduled[0].is_failure


def _report(
    context: "dg.AssetExecutionContext | dg.AssetCheckExecutionContext", signal: Signal, text: str
) -> None:
    settings = load_settings()
    if settings.fx_heartbeat_url is None:
        return
    link = f"{settings.dagster_url}/runs/{context.run.run_id}"
    failure = report(
        settings.fx_heartbeat_url, signal, run_id=context.run.run_id, text=f"fx-pipeline: {text}. {link}"
    )
    if failure:
        context.log.warning(f"FX_HEARTBEAT_URL did not accept the report ({signal}): {failure}.")
