"""What is stored, as metrics: read at each scrape from the database and from the files next to it."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fx_pipeline.api.reading.queries import Queries
from fx_pipeline.clock import parse_instant
from fx_pipeline.content_age import ContentAge
from fx_pipeline.dagster_numbers import DagsterNumbers, read_numbers
from fx_pipeline.drilled import read_drill
from fx_pipeline.following import read_position
from fx_pipeline.replicated import read_state
from fx_pipeline.settings import Settings
from fx_pipeline.wanted import WantedDays

QUERIES = ("coverage", "wanted_ranges", "calls_of_month", "store_state", "latest_date", "content_changes")
"""The canned queries that this module needs."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """One value now. Its labels, if it has any, have few values."""

    name: str
    help: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def of_database(
    queries: Queries, now: dt.datetime, settings: Settings, age: ContentAge | None
) -> list[Gauge]:
    """Return what the database says. `age` is that of its content."""
    days = queries.rows("coverage", start_date="", end_date="")
    stored = [dt.date.fromisoformat(date) for date, currencies, *_ in days if currencies]
    missing = WantedDays.of_rows(queries.rows("wanted_ranges")).missing(stored)
    ((used, sent_limit),) = queries.rows("calls_of_month", month_start=now.date().replace(day=1).isoformat())
    limit = settings.fixer_monthly_quota or sent_limit
    ((timestamp, response_at, change_at),) = queries.rows("store_state")
    gauges = [
        Gauge("fx_stored_dates", "Stored days.", len(stored)),
        Gauge(
            "fx_missing_dates",
            "Wanted days before the newest stored day that are not stored.",
            sum((last - first).days + 1 for first, last in missing),
        ),
        Gauge("fx_stored_rates", "Stored rates.", sum(row[1] for row in days)),
        Gauge("fx_stored_revisions", "Stored values that were replaced later.", sum(row[2] for row in days)),
        Gauge("fx_rejected_rates", "Received values that were not stored.", sum(row[3] for row in days)),
        Gauge("fx_quota_calls_used", "Calls to the provider in this calendar month (UTC).", used),
    ]
    if limit is not None:
        left = max(0, limit - used)
        gauges.append(Gauge("fx_quota_calls_limit", "Calls that the provider allows in a month.", limit))
        gauges.append(Gauge("fx_quota_calls_left", "Calls to the provider left in this month.", left))
    if stored:
        newest = dt.datetime.combine(max(stored), dt.time.min, dt.timezone.utc).timestamp()
        gauges.append(Gauge("fx_newest_day_timestamp_seconds", "The start of the newest stored day.", newest))
        described = "The provider's timestamp of the rates of the newest stored day: the age of the content."
        gauges.append(Gauge("fx_newest_rates_timestamp_seconds", described, timestamp))
    if age is not None:
        since = dt.datetime.combine(age.unchanged_since, dt.time.min, dt.timezone.utc).timestamp()
        described = "The start of the first stored day with the rates of the newest day."
        gauges.append(Gauge("fx_unchanged_since_timestamp_seconds", described, since))
        described = "Whether it is certain that the provider's rates stand still."
        gauges.append(Gauge("fx_rates_frozen", described, age.state == "frozen"))
    for name, described, at in (
        ("fx_last_response_timestamp_seconds", "The last stored response of the provider.", response_at),
        ("fx_last_change_timestamp_seconds", "The last response with a new or revised rate.", change_at),
    ):
        if at:
            gauges.append(Gauge(name, described, parse_instant(at).timestamp()))
    return gauges


def gauges(found: list[Gauge] | None, now: dt.datetime, settings: Settings) -> list[Gauge]:
    """Return all gauges. `found` are those of the database; None if it could not be read."""
    return [*of_files(now, settings, readable=found is not None), *(found or ())]


def of_files(now: dt.datetime, settings: Settings, *, readable: bool) -> Iterator[Gauge]:
    """Yield what the files next to the database say: sizes, and the state of replication and of Dagster.

    `readable` is whether the database could be read.
    """
    path = settings.fx_database
    yield Gauge("fx_database_up", "Whether the database could be read at this scrape.", readable)
    yield Gauge("fx_database_size_bytes", "Size of the database file.", _size(path))
    yield Gauge("fx_database_wal_size_bytes", "Size of its write-ahead log.", _size(Path(f"{path}-wal")))
    if (position := read_position(path)) is not None:
        described = "The newest transaction of the replica that this reader has."
        yield Gauge("fx_reader_transaction", described, position.transaction)
        lag = position.lag(now)
        described = "Seconds since this reader had everything that the replica had."
        yield Gauge("fx_reader_lag_seconds", described, float("inf") if lag is None else lag)
    if (state := read_state(path)) is not None:
        described = "Whether the newest commits are in the replica: 1, or 0 if it fails or is stopped."
        yield Gauge("fx_replication_up", described, state.status == "ok")
        for name, transaction in sorted(state.positions.items()):
            described = "The newest transaction in the replica of each file."
            yield Gauge("fx_replication_transaction", described, transaction, (("file", name),))
        if state.confirmed_at:
            described = "Everything committed until then is in the replica."
            confirmed = dt.datetime.fromisoformat(state.confirmed_at).timestamp()
            yield Gauge("fx_replication_confirmed_timestamp_seconds", described, confirmed)
    if (drill := read_drill(path)) is not None:
        described = "The last good restore drill; 0 if none was good."
        good = dt.datetime.fromisoformat(drill.good_at).timestamp() if drill.good_at else 0
        yield Gauge("fx_restore_drill_good_timestamp_seconds", described, good)
        described = "Whether the last restore drill failed."
        yield Gauge("fx_restore_drill_failed", described, drill.result == "failed")
    if (numbers := read_numbers(path)) is not None:
        yield from _of_dagster(numbers)


def _of_dagster(numbers: DagsterNumbers) -> Iterator[Gauge]:
    yield Gauge("fx_dagster_read_timestamp_seconds", "When Dagster's state was last read.", numbers.at)
    for name, beat in numbers.heartbeats.items():
        described = "The last heartbeat of each thread of Dagster's daemon."
        yield Gauge("fx_dagster_daemon_heartbeat_timestamp_seconds", described, beat, (("daemon", name),))
    yield Gauge("fx_dagster_runs_queued", "Runs in the queue.", numbers.queued)
    yield Gauge("fx_dagster_runs_in_progress", "Runs in progress.", numbers.in_progress)
    yield Gauge("fx_dagster_runs_failed", "Runs that failed in the last 24 hours.", numbers.failed)
    yield Gauge("fx_dagster_backfills_in_progress", "Backfills in progress.", numbers.backfills)
    for run in numbers.last_runs:
        # Prometheus itself uses the label `job`.
        labels = (("job_name", run.job), ("outcome", run.outcome))
        described = "When the last run of each job with each outcome ended."
        yield Gauge("fx_dagster_last_run_timestamp_seconds", described, run.ended, labels)
        if run.seconds is not None:
            described = "How long the last run of each job with each outcome took."
            yield Gauge("fx_dagster_last_run_duration_seconds", described, run.seconds, labels)
    for check, result in numbers.checks.items():
        for severity in ("error", "warn"):
            described = "Whether the last result of each check is a failure of each severity."
            failed = result == severity
            yield Gauge(
                "fx_dagster_check_failed", described, failed, (("check", check), ("severity", severity))
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
