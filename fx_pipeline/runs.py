"""Runs of the rates through Dagster from a terminal: the same asset and instance that the UI shows."""

import datetime as dt
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from alembic.util.exc import CommandError
from filelock import FileLock
from sqlalchemy.exc import SQLAlchemyError

from fx_pipeline.definitions import defs
from fx_pipeline.defs.schedules import range_tags, rates_config
from fx_pipeline.settings import PROJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What one run did: the metadata of each stored date, and, if it failed, why."""

    run_id: str
    stored: dict[dt.date, dict[str, object]]
    failure: str | None = None


class HomeError(Exception):
    """Dagster's home cannot be used; the message is one line that says why and what to do."""


def open_instance(home: Path) -> dg.DagsterInstance:
    """The Dagster instance kept in `home`, which is made if it is not there.

    Raises HomeError when that cannot be done.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        # Two processes that make Dagster's files at the same moment leave them unusable for good.
        with FileLock(home / "opening.lock"):
            _put_configuration(home)
            os.environ["DAGSTER_HOME"] = str(home.absolute())
            return dg.DagsterInstance.get()
    except (OSError, SQLAlchemyError, CommandError) as error:
        reason = str(error).splitlines()[0]
        raise HomeError(
            f"Dagster's home {home} cannot be used ({reason}): give this user the right to write it, or set "
            "DAGSTER_HOME to another folder."
        ) from None


def _put_configuration(home: Path) -> None:
    """Put the project's dagster.yaml into the home, in one step: a daemon may be reading it."""
    wanted, file = (PROJECT / "dagster.yaml").read_bytes(), home / "dagster.yaml"
    if not file.exists() or file.read_bytes() != wanted:
        new = home / "dagster.yaml.new"
        new.write_bytes(wanted)
        new.replace(file)


def materialise(
    instance: dg.DagsterInstance,
    ranges: Sequence[tuple[dt.date, dt.date]],
    *,
    skip_stored: bool = False,
    refetch_from: dt.date | None = None,
) -> list[RunReport]:
    """Run the rates of each range (first and last day, both included) here and now, one run a range.

    `skip_stored` leaves out what is stored, but for the days from `refetch_from` on.
    """
    config: dict[str, object] = rates_config(  # type: ignore[no-untyped-call]
        skip_stored=skip_stored, refetch_from=refetch_from.isoformat() if refetch_from else None
    ).to_config_dict()
    config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}  # told by the report instead
    job = defs.resolve_job_def("rates_job")
    reports = []
    for first, last in ranges:
        result = job.execute_in_process(
            run_config=config,
            instance=instance,
            tags=range_tags(first.isoformat(), last.isoformat()),
            raise_on_error=False,
        )
        stored: dict[dt.date, dict[str, object]] = {
            dt.date.fromisoformat(event.partition): {
                name: value.value for name, value in event.metadata.items()
            }
            for event in result.asset_materializations_for_node("rates")
            if event.partition
        }
        reports.append(RunReport(run_id=result.run_id, stored=stored, failure=_failure(result)))
    return reports


def materialise_symbols(instance: dg.DagsterInstance) -> str | None:
    """Run `symbols` here and now. Returns why it failed, if it did."""
    result = defs.resolve_job_def("symbols_job").execute_in_process(
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        raise_on_error=False,
    )
    return _failure(result)


def last_run(home: Path) -> dict[str, object] | None:
    """The last run of the rates: its id, status and, if it is over, when it ended (UTC). None if none was."""
    with open_instance(home) as instance:
        records = instance.get_run_records(dg.RunsFilter(job_name="rates_job"), limit=1)
        if not records:  # a backfill from the UI runs under a job of Dagster's own
            records = instance.get_run_records(limit=1)
    if not records:
        return None
    run, ended = records[0].dagster_run, records[0].end_time
    return {
        "id": run.run_id,
        "status": run.status.value.lower(),
        "ended": ended and dt.datetime.fromtimestamp(ended, dt.timezone.utc).isoformat(timespec="seconds"),
    }


def _failure(result: dg.ExecuteInProcessResult) -> str | None:
    if result.success:
        return None
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            return failure.error.message.strip() if failure.error else event.message
    return (
        "; ".join(event.message or "" for event in result.all_events if event.is_failure) or "the run failed"
    )
