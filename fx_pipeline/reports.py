"""What the commands say of the state and of runs: one document for machines, and its lines for people."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.markup import escape

from fx_pipeline.rates import contiguous
from fx_pipeline.runs import RunReport
from fx_pipeline.settings import Settings
from fx_pipeline.store.quota import Quota
from fx_pipeline.store.store import Coverage

COUNTS = ("inserted", "updated", "unchanged", "rejected")


def ingest_document(
    reports: Sequence[RunReport], quota: Quota | None, names_failure: str | None
) -> dict[str, Any]:
    """What `ingest --json` prints: each stored date with its counts, each run, and the state of the quota."""
    return {
        "stored": {
            str(date): {name: did[name] for name in COUNTS}
            for report in reports
            for date, did in sorted(report.stored.items())
        },
        "runs": [{"id": report.run_id, "failure": report.failure} for report in reports],
        "symbols_failure": names_failure,
        "quota": quota_document(quota),
    }


def ingest_lines(reports: Sequence[RunReport], names_failure: str | None) -> Iterator[str]:
    """The same for people: consecutive days alike on one line; each failure, with its dates, below."""
    for report in reports:
        for first, last, counts in _spans(report.stored):
            yield f"{first}  {counts}" if first == last else f"{first} to {last}  {counts} each day"
        if report.failure:
            yield f"[bold red]failed[/]  {escape(report.failure)}"
    if names_failure:
        yield f"[bold red]failed[/]  the names of the currencies: {escape(names_failure)}"
    stored = sum(len(report.stored) for report in reports)
    yield f"{stored} {'day' if stored == 1 else 'days'} stored."


def status_document(
    settings: Settings,
    coverage: Coverage,
    quota: Quota | None,
    last_run: Mapping[str, str | None] | None,
    today: dt.date,
) -> dict[str, Any]:
    """What `status --json` prints; dates as text, `gaps` as pairs of first and last day."""
    age = (today - coverage.last).days if coverage.last else None
    return {
        "database": str(settings.fx_database),
        "provider": "sandbox" if settings.demo else settings.provider_url,
        "days": coverage.days,
        "first": coverage.first and str(coverage.first),
        "newest": coverage.last and str(coverage.last),
        "age_in_days": age,
        "fresh": age is not None and age <= settings.fx_max_age_days,
        "gaps": [[str(first), str(last)] for first, last in coverage.gaps],
        "rates": coverage.rates,
        "revisions": coverage.revisions,
        "rejected": coverage.rejected,
        "calls": coverage.calls,
        "quota": quota_document(quota),
        "last_run": last_run,
    }


def quota_document(quota: Quota | None) -> dict[str, Any] | None:
    """The quota of the month: its limit, calls used and kept for the daily runs, and when it starts again."""
    if quota is None:
        return None
    return {
        "limit": quota.limit,
        "used": quota.used,
        "kept": quota.kept,
        "left": quota.left(),
        "renewed_on": str(quota.renewed_on),
    }


def status_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """The status document for people."""
    for name, value in document.items():
        yield f"{name.replace('_', ' '):<14} {escape(_shown(value))}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(first if first == last else f"{first} to {last}" for first, last in value) or "none"
    if isinstance(value, dict):
        parts = (
            (key.replace("_", " "), str(part).splitlines()[0])
            for key, part in value.items()
            if part is not None
        )
        return ", ".join(f"{key} {part}" for key, part in parts)
    if isinstance(value, int):
        return f"{value:,}"
    return "none" if value is None else str(value)


def _spans(stored: Mapping[dt.date, Mapping[str, object]]) -> list[tuple[dt.date, dt.date, str]]:
    """The first and last of consecutive days that had the same done to them, and what it was."""
    alike: dict[str, list[dt.date]] = defaultdict(list)
    for date, did in stored.items():
        alike[", ".join(f"{did[name]} {name}" for name in COUNTS)].append(date)
    return sorted(
        (first, last, counts) for counts, dates in alike.items() for first, last in contiguous(dates)
    )
