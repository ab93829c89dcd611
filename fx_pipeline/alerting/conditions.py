"""What needs the operator: `status --check` prints it, the watcher sends alerts."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from fx_pipeline.alerting.faults import Fault
from fx_pipeline.dagster_names import in_one_link, partitions_url
from fx_pipeline.rates import contiguous, counted, date_range
from fx_pipeline.settings import Settings

MIN_FREE_MB = 200
"""Below this, the disk is nearly full. A day takes 15 kB of rates, and 100 kB of Dagster's events."""

FULL_MB = 20
"""Below this, the disk is full: a run and its write-ahead log need some."""

Document = Mapping[str, Any]

_START = "Start `fx-pipeline up` or `fx-pipeline daemon`"


def conditions(document: Document, settings: Settings) -> Iterator[Fault]:
    """Yield everything in the document of `status` that needs the operator."""
    yield from stored(document, settings)
    if document["reader"] is None:  # otherwise the writer's instance is elsewhere
        yield from dagster(document, settings)
    yield from machine(document)


def stored(document: Document, settings: Settings) -> Iterator[Fault]:
    """Yield what the database shows."""
    yield from _rates(document, settings)
    if document["reader"] is None:
        yield from of_days(document, settings)
    if document["access"]["problem"]:
        yield Fault(kind="tokens_lost", text=document["access"]["problem"])


def machine(document: Document) -> Iterator[Fault]:
    """Yield what the files next to the database, the disk and the addresses of alerts show."""
    if document["reader"] is not None:
        yield from _lag(document["reader"])
    yield from of_alerts(document)
    for folder, free in document["disk_free_mb"].items():
        if free < FULL_MB:
            yield Fault(
                kind="disk_full", subject=folder, text=f"The disk of {folder} is full: {free:,} MB are free."
            )
        elif free < MIN_FREE_MB:
            text = f"The disk of {folder} is nearly full: {free:,} MB are free."
            yield Fault(kind="disk_nearly_full", subject=folder, text=text)
    for part, kind in (("replication", "replica_stalled"), ("restore_drill", "restore_drill")):
        if document[part] and document[part]["problem"]:
            event = str(document[part].get("at", ""))  # of a drill
            yield Fault(kind=kind, text=document[part]["problem"], event=event)
    for name, count in document["crash_loops"].items():
        text = f"{name} has crashed {count} times within 15 minutes. Its log says why."
        yield Fault(kind="crash_loop", subject=name, text=text)


def _rates(document: Document, settings: Settings) -> Iterator[Fault]:
    if document["newest"] is None:
        yield Fault(kind="stale_rates", text="No day is stored.")
    elif not document["fresh"]:
        age = counted(document["age_in_days"], "day")
        yield Fault(
            kind="stale_rates",
            text=f"The newest day, {document['newest']}, is {age} old. FX_MAX_AGE_DAYS allows "
            f"{settings.fx_max_age_days}.",
        )
    content = document["content_age"]
    if content is not None and content["state"] == "frozen":
        yield Fault(
            kind="content_frozen",
            text=f"The provider sends old rates: those of {content['unchanged_since']} were sent again for "
            f"{counted(content['business_days'], 'business day')}. Ask the provider, and refetch the later "
            "days when its rates change again.",
        )
    if document["clock"] != "ok":
        yield Fault(kind="clock_wrong", text=document["clock"])
    for code, reason in document["missing_symbols"].items():
        yield Fault(kind="symbols_unknown", subject=code, text=f"{code} in FX_SYMBOLS: {reason}.")
    quota = document["quota"]
    if quota is not None and quota["used"] >= quota["limit"]:
        text = f"The month's {quota['limit']:,} calls are used up. The quota renews on {quota['renewed_on']}."
        yield Fault(kind="quota_used", text=text)


def of_days(document: Document, settings: Settings) -> Iterator[Fault]:
    """Name days that failed or are missing. A failed day is usually missing too, and is named once."""
    failed = _dates(document["failed_days"])
    missing = _dates(document["gaps"]) - failed
    if failed:
        text = f"Dagster shows {counted(len(failed), 'day')} as failed. To refetch {_link(failed, settings)}"
        yield Fault(kind="days_missing", subject="failed", text=text)
    if missing:
        text = (
            f"{counted(len(missing), 'day')} {'is' if len(missing) == 1 else 'are'} missing. To fetch "
            f"{_link(missing, settings)}"
        )
        yield Fault(kind="days_missing", subject="missing", text=text)


def _dates(ranges: Sequence[Sequence[str]]) -> set[dt.date]:
    return {date for pair in ranges for date in date_range(*map(dt.date.fromisoformat, pair))}


def selecting(days: Collection[dt.date], settings: Settings) -> tuple[int, str]:
    """Return the link to Dagster with these days selected, and their number: the newest, if not all fit."""
    chosen = in_one_link(contiguous(days))
    return sum((last - first).days + 1 for first, last in chosen), partitions_url(settings, chosen)


def _link(days: Collection[dt.date], settings: Settings) -> str:
    """Return the link to Dagster with these days selected. It says how many fit, unless all do."""
    linked, url = selecting(days, settings)
    which = f"the newest {linked:,} of them" if linked < len(days) else "it" if linked == 1 else "them"
    return f"{which}: {url}"


def dagster(document: Document, settings: Settings) -> Iterator[Fault]:
    """Yield what is wrong with Dagster's runs, checks, schedules and daemon."""
    yield from map(Fault.of, document["run_faults"])
    yield from of_daemon(document, settings)


def of_daemon(document: Document, settings: Settings) -> Iterator[Fault]:
    """Name what is wrong with the instance of `fx-pipeline up`. With another home or prefix, nothing runs."""
    automation, daemon = document["automation"], document["daemon"]
    if not automation:
        yield Fault(
            kind="daemon_dead",
            text=f"Dagster's home {settings.dagster_home} does not exist. {_START}, or set "
            "DAGSTER_HOME to the home that it uses.",
        )
        return
    for name, state in automation.items():
        if state == "stopped":
            text = f"{name} is stopped. Start it in the Dagster UI, under Automation."
            yield Fault(kind="schedule_stopped", subject=name, text=text)
    if daemon is None:
        if "starting" not in automation.values():
            yield Fault(
                kind="daemon_dead",
                text=f"Dagster's daemon has never run in {settings.dagster_home}. {_START}, or set "
                "DAGSTER_HOME to the home that it uses.",
            )
        return
    if not daemon["running"]:
        yield Fault(
            kind="daemon_dead",
            text=f"Dagster's daemon is not running: its last heartbeat was at {daemon['last_heartbeat']}. "
            f"{_START}.",
        )
    unknown = sorted(name for name, state in automation.items() if state == "unknown")
    if unknown:
        yield Fault(
            kind="daemon_dead",
            subject="schedules",
            text=f"Dagster has never run {', '.join(unknown)}. Start `fx-pipeline up`, or `daemon` and "
            "`code-server`, or set FX_ASSET_PREFIX as it was when they were started.",
        )


def _lag(reader: Mapping[str, Any]) -> Iterator[Fault]:
    lag, limit = reader["lag_seconds"], reader["max_lag_seconds"]
    if lag is None:
        text = "This reader has never had all of the replica. Start `fx-pipeline replica`, or read its log."
        yield Fault(kind="reader_behind", text=text)
    elif lag > limit:
        text = (
            f"This reader has not been current for {lag:,.0f} s. FX_MAX_LAG_SECONDS allows {limit:g}. Start "
            "`fx-pipeline replica`, or read its log."
        )
        yield Fault(kind="reader_behind", text=text)


def of_alerts(document: Document) -> Iterator[Fault]:
    """Yield wrong addresses, messages that an address did not accept, and a watcher that does not run."""
    if document["watcher_problem"]:
        yield Fault(kind="watcher_silent", text=document["watcher_problem"])
    if document["alert_addresses"] not in (None, "ok"):
        yield Fault(kind="alerts_undelivered", subject="address", text=document["alert_addresses"])
    for alert in (document["alerts"] or {}).get("undelivered", ()):
        for failure in alert["failures"]:
            text = f'The alert "{alert["title"]}" was not delivered: {failure}'
            yield Fault(kind="alerts_undelivered", subject=failure, text=text)
