"""The output of `ingest` and `status`: a JSON document each, and lines for people."""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from fx_pipeline.alerting.conditions import conditions, selecting
from fx_pipeline.commands.access import AccessState
from fx_pipeline.content_age import ContentAge
from fx_pipeline.rates import contiguous, counted
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3, unsound
from fx_pipeline.store.coverage import Coverage
from fx_pipeline.store.instants import NONE_AHEAD, Ahead, clock_error_text
from fx_pipeline.store.ledger import Quota

if TYPE_CHECKING:
    # Imports Dagster, which takes seconds.
    from fx_pipeline.commands.dagster_state import DagsterState
    from fx_pipeline.commands.runs import RunReport

NAME = 15
"""Characters of the name at the start of a line of `status`."""

BAR = 24
"""Characters of a year's bar: two for each month."""

COUNTS = ("inserted", "updated", "unchanged", "rejected")


def ingest_document(
    reports: "Sequence[RunReport]",
    quota: Quota | None,
    names_failure: str | None,
    untried: Collection[dt.date] = (),
    missing_symbols: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the document of `ingest --json`.

    It has the counts of each stored date, each run, and the ranges of dates that no run tried. It also has
    the currencies in FX_SYMBOLS without rates, and the state of the quota.
    """
    return {
        "stored": {
            str(date): {name: did[name] for name in COUNTS} for date, did in sorted(_stored(reports).items())
        },
        "runs": [{"id": report.run_id, "failure": report.failure} for report in reports],
        "not_tried": [[str(first), str(last)] for first, last in contiguous(untried)],
        "symbols_failure": names_failure,
        "missing_symbols": dict(missing_symbols or {}),
        "quota": quota_document(quota),
    }


def failure_lines(reports: "Sequence[RunReport]", names_failure: str | None) -> Iterator[str]:
    """Yield what failed: the reason and what to do, then the dates."""
    for report in reports:
        if report.failure:
            yield f"[bold red]failed[/]  {escape(report.failure)}"
    if names_failure:
        yield f"[bold red]failed[/]  the names of the currencies: {escape(names_failure)}"


def untried_lines(untried: Collection[dt.date], rest: Collection[dt.date], *, named: bool) -> Iterator[str]:
    """Yield the dates that no run tried, and the command that fetches the `rest`: those and the failed ones.

    `named`: the dates were given one by one, so the command names each.
    """
    count = counted(len(untried), "day")
    yield f"[bold yellow]not tried[/]  {count}: {min(untried)} to {max(untried)}"
    chosen = (
        [f"--date {date}" for date in sorted(rest)] if named else [f"--from {min(rest)} --to {max(rest)}"]
    )
    yield f"[bold yellow]continue with[/] fx-pipeline ingest {' '.join(chosen)} --missing"


def symbol_lines(missing: Mapping[str, str]) -> Iterator[str]:
    """Yield the currencies in FX_SYMBOLS that are not fetched, with the reason and what to do."""
    for code, reason in missing.items():
        yield f"[bold yellow]symbols[/] {code}: {escape(reason)}. Correct or remove it in FX_SYMBOLS."


def stored_lines(reports: "Sequence[RunReport]") -> Iterator[str]:
    """Yield what was stored: consecutive days with equal counts on one line."""
    stored = _stored(reports)
    for first, last, counts in _spans(stored):
        yield f"{first}  {counts}" if first == last else f"{first} to {last}  {counts} each day"
    yield f"{counted(len(stored), 'day')} stored."


def _stored(reports: "Sequence[RunReport]") -> dict[dt.date, dict[str, object]]:
    """Return what all runs stored."""
    return {date: did for report in reports for date, did in report.stored.items()}


def status_document(
    settings: Settings,
    coverage: Coverage,
    quota: Quota | None,
    dagster: "DagsterState",
    today: dt.date,
    access: AccessState,
    missing_symbols: Mapping[str, str] | None = None,
    ahead: Ahead | None = None,
    *,
    content_age: ContentAge | None = None,
    clock_error: dt.timedelta | None = None,
    disk_free_mb: Mapping[str, int] | None = None,
    alert_addresses: str | None = None,
    replication: Mapping[str, str | None] | None = None,
    reader: Mapping[str, Any] | None = None,
    restore_drill: Mapping[str, Any] | None = None,
    crash_loops: Mapping[str, int] | None = None,
    alerts: Mapping[str, Any] | None = None,
    watcher_problem: str | None = None,
    kept_days: Collection[dt.date] = (),
) -> dict[str, Any]:
    """Return the document of `status --json`, with dates as text.

    `problems` are the lines of `status --check`. `sqlite` warns of a version that can corrupt the database.
    `clock` is "ok", or says what is wrong with it and what to do. `gaps`, `failed_days` and
    `failed_but_kept` are pairs of first and last day. Dagster shows the latter two as failed, and the link in
    `refetch` selects the failed days there. What earlier runs have stored of `kept_days` is kept. `years` has
    the number of stored days and of days that are over.
    """
    age = (today - coverage.last).days if coverage.last else None
    failed_days = set(dagster.failed_days) - set(kept_days)
    document = {
        "database": str(settings.fx_database),
        "tokens": str(settings.tokens_database),
        "dagster_home": str(settings.dagster_home),
        "sqlite": {"version": sqlite3.sqlite_version, "warning": unsound()},
        "provider": "sandbox" if settings.demo else settings.provider_url,
        "days": coverage.days,
        "first": coverage.first and str(coverage.first),
        "newest": coverage.last and str(coverage.last),
        "age_in_days": age,
        "fresh": age is not None and age <= settings.fx_max_age_days,
        "content_age": content_age and content_age.document(),
        "gaps": [[str(first), str(last)] for first, last in coverage.gaps],
        "failed_days": [[str(first), str(last)] for first, last in contiguous(failed_days)],
        "failed_but_kept": [[str(first), str(last)] for first, last in contiguous(kept_days)],
        "refetch": _refetch(settings, failed_days),
        "years": {str(year): list(counts) for year, counts in _years(coverage, today).items()},
        "rates": coverage.rates,
        "revisions": coverage.revisions,
        "rejected": coverage.rejected,
        "missing_symbols": dict(missing_symbols or {}),
        "calls": coverage.calls,
        "quota": quota_document(quota),
        "clock": _clock(ahead or NONE_AHEAD, clock_error),
        "last_run": dagster.last_run,
        "runs_in_24_hours": dict(dagster.night),
        "run_faults": [fault.document for fault in dagster.faults],
        "access": asdict(access),
        "reader": reader,
        "automation": dagster.automation,
        "daemon": dagster.daemon,
        "disk_free_mb": dict(disk_free_mb or {}),
        "alert_addresses": alert_addresses,
        "replication": replication and dict(replication),
        "restore_drill": restore_drill and dict(restore_drill),
        "crash_loops": dict(crash_loops or {}),
        "alerts": alerts and dict(alerts),
        "watcher_problem": watcher_problem,
    }
    return {**document, "problems": [fault.line for fault in conditions(document, settings)]}


def _clock(ahead: Ahead, clock_error: dt.timedelta | None) -> str:
    if clock_error is None or ahead.count:
        return str(ahead)
    text = clock_error_text(clock_error)
    return f"{text[0].upper()}{text[1:]}."


def _refetch(settings: Settings, failed_days: Collection[dt.date]) -> dict[str, Any] | None:
    """Return the link to Dagster with these days selected, and their number: the newest, if not all fit."""
    if not failed_days:
        return None
    days, url = selecting(failed_days, settings)
    return {"days": days, "url": url}


def _refetch_text(refetch: Mapping[str, Any] | None) -> str:
    if refetch is None:
        return "none"
    return f"{counted(refetch['days'], 'day')}: {refetch['url']}"


def quota_document(quota: Quota | None) -> dict[str, Any] | None:
    """Return the month's quota: its limit, the calls used and reserved for daily runs, and when it renews."""
    if quota is None:
        return None
    return {
        "limit": quota.limit,
        "used": quota.used,
        "kept": quota.reserved,
        "left": quota.left(),
        "renewed_on": str(quota.renewed_on),
    }


def status_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the status document."""
    for name, value in document.items():
        if name == "years":
            yield from (_bar(year, *counts) for year, counts in value.items())
        elif name == "refetch":
            yield _line(name, _refetch_text(value))
        elif name in ("run_faults", "watcher_problem"):
            pass  # they are among the problems
        elif name == "alerts":
            yield _line(name, _alerts(value))
        elif name == "automation":
            yield _line(name, ", ".join(f"{key} {state}" for key, state in value.items()) or "none")
        elif name == "disk_free_mb":
            yield _line(
                "disk free", ", ".join(f"{free:,} MB in {path}" for path, free in value.items()) or "none"
            )
        elif name == "problems":
            yield from (f"[bold red]{'problem':<{NAME}}[/] {escape(line)}" for line in value)
        else:
            yield _line(name, _shown(value))


def _line(name: str, text: str) -> str:
    return f"{name.replace('_', ' '):<{NAME}} {escape(text)}"


def _alerts(alerts: Mapping[str, Any] | None) -> str:
    if alerts is None:
        return "never watched"
    counts = ", ".join(f"{len(alerts[name])} {name}" for name in ("open", "undelivered"))
    return f"{counts}, last look {alerts['looked_at']}"


def _years(coverage: Coverage, today: dt.date) -> dict[int, tuple[int, int]]:
    """Return the number of stored days and of days that are over, for each year with a stored day."""
    if coverage.first is None or coverage.last is None:
        return {}
    counts = {}
    for year in range(coverage.first.year, coverage.last.year + 1):
        start, end = dt.date(year, 1, 1), min(dt.date(year, 12, 31), today - dt.timedelta(days=1))
        counts[year] = (coverage.days_by_year.get(year, 0), (end - start).days + 1)
    return counts


def _bar(year: str, stored: int, days: int) -> str:
    """Return the line of a year: a bar of the stored days, full only if all are stored."""
    full = stored * BAR // days
    colour = "green" if stored == days else "yellow"
    return f"{year:<{NAME}} [{colour}]{'█' * full}[/][dim]{'░' * (BAR - full)}[/] {stored} of {days} days"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(first if first == last else f"{first} to {last}" for first, last in value) or "none"
    if isinstance(value, dict):
        parts = (
            (key.replace("_", " "), _shown(part).splitlines()[0])
            for key, part in value.items()
            if part is not None
        )
        return ", ".join(f"{key} {part}" for key, part in parts) or "none"
    if isinstance(value, int):
        return f"{value:,}"
    return "none" if value is None else str(value)


def _spans(stored: Mapping[dt.date, Mapping[str, object]]) -> list[tuple[dt.date, dt.date, str]]:
    """Return the first and last of consecutive days with equal counts, and the counts."""
    alike: dict[str, list[dt.date]] = defaultdict(list)
    for date, did in stored.items():
        alike[", ".join(f"{did[name]} {name}" for name in COUNTS)].append(date)
    return sorted(
        (first, last, counts) for counts, dates in alike.items() for first, last in contiguous(dates)
    )
