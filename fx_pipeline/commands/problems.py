"""What needs the operator: the reasons with which `status --check` fails, one line each."""

from collections.abc import Iterator, Mapping
from typing import Any

from fx_pipeline.settings import Settings

MIN_FREE_MB = 200
"""Below this, the disk is nearly full. A day takes 15 kB of rates, and 100 kB of Dagster's events."""

Document = Mapping[str, Any]


def problems(document: Document, settings: Settings) -> Iterator[str]:
    """Yield a line for everything in the document of `status` that needs the operator."""
    yield from _rates(document, settings)
    yield from _runs(document, settings)
    yield from _alerts(document)
    for folder, free in document["disk_free_mb"].items():
        if free < MIN_FREE_MB:
            yield f"The disk of {folder} is nearly full: {free:,} MB are free."
    if document["access"]["problem"]:
        yield document["access"]["problem"]


def _rates(document: Document, settings: Settings) -> Iterator[str]:
    if document["newest"] is None:
        yield "No day is stored."
    elif not document["fresh"]:
        yield (
            f"The newest day, {document['newest']}, is {document['age_in_days']} days old. FX_MAX_AGE_DAYS "
            f"allows {settings.fx_max_age_days}."
        )
    if document["clock"] != "ok":
        yield document["clock"]
    for code, reason in document["missing_symbols"].items():
        yield f"{code} in FX_SYMBOLS: {reason}."
    quota = document["quota"]
    if quota is not None and quota["used"] >= quota["limit"]:
        yield f"The month's {quota['limit']:,} calls are used up. The quota renews on {quota['renewed_on']}."


def _runs(document: Document, settings: Settings) -> Iterator[str]:
    run = document["last_run"]
    if run is not None and run["status"] == "failure":
        reason = (run["failure"] or "see the run").splitlines()[0]
        yield f"The last run failed: {reason} ({settings.dagster_url}/runs/{run['id']})"
    if document["refetch"]:
        count = document["refetch"]["days"]
        days = "1 day" if count == 1 else f"{count:,} days"
        yield f"Dagster shows {days} as failed. To refetch: {document['refetch']['url']}"
    for name, state in document["automation"].items():
        if state == "stopped":
            yield f"{name} is stopped. Start it in the Dagster UI, under Automation."
    daemon = document["daemon"]
    if daemon is not None and not daemon["running"]:
        yield (
            f"Dagster's daemon is not running: its last heartbeat was at {daemon['last_heartbeat']}. Start "
            "`fx-pipeline up`."
        )


def _alerts(document: Document) -> Iterator[str]:
    if document["alert_addresses"] not in (None, "ok"):
        yield document["alert_addresses"]
    for alert in document["undelivered_alerts"]:
        for failure in alert["failures"]:
            yield f'The alert "{alert["title"]}" was not delivered: {failure}.'
