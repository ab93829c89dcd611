"""What needs the operator: the reasons with which `status --check` fails, one line each."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from fx_pipeline.dagster_names import in_one_link, partitions_url
from fx_pipeline.rates import contiguous, counted, date_range
from fx_pipeline.settings import Settings

MIN_FREE_MB = 200
"""Below this, the disk is nearly full. A day takes 15 kB of rates, and 100 kB of Dagster's events."""

Document = Mapping[str, Any]

_START = "Start `fx-pipeline up` or `fx-pipeline daemon`"


def problems(document: Document, settings: Settings) -> Iterator[str]:
    """Yield a line for everything in the document of `status` that needs the operator."""
    yield from _rates(document, settings)
    if document["reader"] is None:
        yield from of_days(document, settings)
        yield from of_dagster(document, settings)
    else:  # the writer's instance is elsewhere
        yield from _lag(document["reader"])
    yield from of_alerts(document, settings)
    for folder, free in document["disk_free_mb"].items():
        if free < MIN_FREE_MB:
            yield f"The disk of {folder} is nearly full: {free:,} MB are free."
    for part in ("access", "replication", "restore_drill"):
        if document[part] and document[part]["problem"]:
            yield document[part]["problem"]


def _rates(document: Document, settings: Settings) -> Iterator[str]:
    if document["newest"] is None:
        yield "No day is stored."
    elif not document["fresh"]:
        age = counted(document["age_in_days"], "day")
        yield (
            f"The newest day, {document['newest']}, is {age} old. FX_MAX_AGE_DAYS allows "
            f"{settings.fx_max_age_days}."
        )
    content = document["content_age"]
    if content is not None and content["state"] == "frozen":
        yield (
            f"The provider sends old rates: those of {content['unchanged_since']} were sent again for "
            f"{counted(content['business_days'], 'business day')}. Ask the provider, and refetch the later "
            "days when its rates change again."
        )
    if document["clock"] != "ok":
        yield document["clock"]
    for code, reason in document["missing_symbols"].items():
        yield f"{code} in FX_SYMBOLS: {reason}."
    quota = document["quota"]
    if quota is not None and quota["used"] >= quota["limit"]:
        yield f"The month's {quota['limit']:,} calls are used up. The quota renews on {quota['renewed_on']}."


def of_days(document: Document, settings: Settings) -> Iterator[str]:
    """Name days that failed or are missing. A failed day is usually missing too, and is named once."""
    run = document["last_run"]
    if run is not None and run["status"] == "failure":
        reason = (run["failure"] or "see the run").splitlines()[0]
        yield f"The last run failed: {reason} ({_run_url(settings, run['id'])})"
    failed = _dates(document["failed_days"])
    missing = _dates(document["gaps"]) - failed
    if failed:
        yield f"Dagster shows {counted(len(failed), 'day')} as failed. To refetch {_link(failed, settings)}"
    if missing:
        yield (
            f"{counted(len(missing), 'day')} {'is' if len(missing) == 1 else 'are'} missing. To fetch "
            f"{_link(missing, settings)}"
        )


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


def _run_url(settings: Settings, run_id: str) -> str:
    return f"{settings.dagster_url}/runs/{run_id}"


def of_dagster(document: Document, settings: Settings) -> Iterator[str]:
    """Name what is wrong with the instance of `fx-pipeline up`. With another home or prefix, nothing runs."""
    automation, daemon = document["automation"], document["daemon"]
    if not automation:
        yield (
            f"Dagster's home {settings.dagster_home} does not exist. {_START}, or set "
            "DAGSTER_HOME to the home that it uses."
        )
        return
    for name, state in automation.items():
        if state == "stopped":
            yield f"{name} is stopped. Start it in the Dagster UI, under Automation."
    if daemon is None:
        if "starting" not in automation.values():
            yield (
                f"Dagster's daemon has never run in {settings.dagster_home}. {_START}, or set DAGSTER_HOME "
                "to the home that it uses."
            )
        return
    if not daemon["running"]:
        yield (
            f"Dagster's daemon is not running: its last heartbeat was at {daemon['last_heartbeat']}. "
            f"{_START}."
        )
    unknown = sorted(name for name, state in automation.items() if state == "unknown")
    if unknown:
        yield (
            f"Dagster has never run {', '.join(unknown)}. Start `fx-pipeline up`, or `daemon` and "
            "`code-server`, or set FX_ASSET_PREFIX as it was when they were started."
        )


def _lag(reader: Mapping[str, Any]) -> Iterator[str]:
    lag, limit = reader["lag_seconds"], reader["max_lag_seconds"]
    if lag is None:
        yield "This reader has never had all of the replica. Start `fx-pipeline replica`, or read its log."
    elif lag > limit:
        yield (
            f"This reader has not been current for {lag:,.0f} s. FX_MAX_LAG_SECONDS allows {limit:g}. Start "
            "`fx-pipeline replica`, or read its log."
        )


def of_alerts(document: Document, settings: Settings) -> Iterator[str]:
    """Name wrong addresses, and alerts that an address did not accept."""
    if document["alert_addresses"] not in (None, "ok"):
        yield document["alert_addresses"]
    for alert in document["undelivered_alerts"]:
        for failure in alert["failures"]:
            yield (
                f'The alert "{alert["title"]}" was not delivered: {failure} '
                f"({_run_url(settings, alert['run'])})"
            )
