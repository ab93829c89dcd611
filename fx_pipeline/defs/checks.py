"""Asset checks: the findings of `quality`, as Dagster shows them.

The asset executes them after it has stored its dates. `run_checks` judge the dates of a run, in each run.
`table_checks` judge the table, in each run from the UI and once a day on their own. A failed check stops
nothing. ERROR needs attention now and sends an alert. WARN only shows in the UI.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg

from fx_pipeline import clock
from fx_pipeline.dagster_names import asset_path
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.quality import moves, verdicts
from fx_pipeline.quality.misdated import misdated
from fx_pipeline.quality.standstill import standstill
from fx_pipeline.quality.unobtainable import unobtainable
from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.settings import load_settings
from fx_pipeline.store.frames import RateHistory

RATES = dg.AssetKey(asset_path(load_settings(), "rates"))

LEARN = moves.LEARN + moves.REACH
"""Stored days to read in addition to those that are judged."""

RECENT_DAYS = 31
"""Days that the checks of the table look back."""

MAX_LISTED = 100
"""Findings that a result lists. It counts all."""

MAX_DESCRIBED = 5
"""Findings that the description of a result, and so an alert, names."""

CheckEvent = dg.AssetCheckEvaluation | dg.AssetCheckResult
"""A result of a check: an output of the step if the run was planned with the check, otherwise an event."""

NEWS = "news"
"""Metadata: the subjects of the serious findings. A subject that earlier results do not have is alerted."""

_ABOUT_A_RUN: Mapping[str, str] = {
    "complete": "Each date has every requested currency, or every currency of the stored days around it.",
    "positive_and_finite": "Every received value could be stored: finite, above 0, with a currency code.",
    "identity": "The rate of the base currency is exactly 1.",
    "jump": "No value differs too much from the days around it, given the currency's own moves.",
    "revisions": "No stored value was replaced by a value that differs by FX_REVISION_ALERT or more.",
    "symbols": "The provider knows each currency in FX_SYMBOLS and sends its rate.",
}

_ABOUT_THE_TABLE: Mapping[str, str] = {
    "freshness": "The newest stored day is at most FX_MAX_AGE_DAYS days old.",
    "content_age": "The newest rates have not been unchanged for more business days than ever before.",
    "gaps": "No day before the newest stored one is missing.",
    "stale_run": "No unpegged currency has been unchanged for more than twice as long as ever before.",
    "recent_complete": f"Each of the last {RECENT_DAYS} days has the currencies of the days around it.",
    "recent_jump": f"No value of the last {RECENT_DAYS} days differs too much from the days on either side.",
    "clock": "No fetch is dated in the future, and this machine's clock agrees with the provider's.",
    "recent_rejects": f"Every value rejected in the last {RECENT_DAYS} days has since been fetched.",
}

run_checks = [
    dg.AssetCheckSpec(name, asset=RATES, description=description)
    for name, description in _ABOUT_A_RUN.items()
]

table_checks = [
    dg.AssetCheckSpec(name, asset=RATES, description=description)
    for name, description in _ABOUT_THE_TABLE.items()
]


def check_run(
    runs: Sequence[str],
    skipped: Collection[dt.date],
    planned: Collection[dg.AssetCheckKey],
    fixer: FixerResource,
    database: DatabaseResource,
) -> Iterator[CheckEvent]:
    """Yield the results of `run_checks` for the dates that these runs stored last, or else for `skipped`.

    Yield nothing if there is no date. Raise StoreError.

    The schedule and `fx-pipeline ingest` plan no checks, because Dagster permanently stores each planned
    check once for every date of a run, even if the check has no partitions. Their results are events. A run
    from the UI is `planned` with its checks; Dagster logs each planned check that has no output as missing.
    """
    with RateHistory(Path(database.path)) as history:
        if dates := history.stored_by(runs) or skipped:
            for result in _judged(history, runs, dates, fixer):
                yield as_output(result) if result.asset_check_key in planned else result


def check_last_run(
    selected: Collection[dg.AssetCheckKey], fixer: FixerResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the selected run checks for the latest run that stored a date (the UI's "Execute" button).

    Raise StoreError, and dagster.Failure if there is no such run.
    """
    if not any(spec.key in selected for spec in run_checks):
        return
    with RateHistory(Path(database.path)) as history:
        run_id = history.last_run()
        if run_id is None:
            raise dg.Failure("There is nothing to check: no date is stored yet.", allow_retries=False)
        results = _judged(history, [run_id], history.stored_by([run_id]), fixer)
        yield from (as_output(result) for result in results if result.asset_check_key in selected)


def _judged(
    history: RateHistory, runs: Sequence[str], dates: Collection[dt.date], fixer: FixerResource
) -> Iterator[dg.AssetCheckEvaluation]:
    rejects, revisions = history.rejects(runs), history.revisions(runs)
    frame = history.rates_around(min(dates), max(dates), learn=LEARN, reach=moves.REACH)
    limit = load_settings().fx_revision_alert
    refused = history.refused_symbols()
    results = {
        "complete": verdicts.incomplete(frame, dates, base=fixer.base, symbols=_known(fixer, refused)),
        "positive_and_finite": verdicts.rejected(rejects, len(dates)),
        "identity": verdicts.unequal_base(frame, dates, base=fixer.base),
        "jump": verdicts.jumps(frame, dates, base=fixer.base),
        "revisions": verdicts.revised(revisions, len(dates), limit=limit),
        "symbols": unobtainable(
            frame,
            dates,
            symbols=[code for code in fixer.symbols if code != fixer.base],
            refused=refused,
            last_dates=history.last_dates(),
            recent_from=clock.today() - dt.timedelta(days=RECENT_DAYS),
        ),
    }
    for name, verdict in results.items():
        yield to_evaluation(name, verdict, judged="dates")


def check_table(
    selected: Collection[dg.AssetCheckKey],
    fixer: FixerResource,
    database: DatabaseResource,
    *,
    within_backfill: bool,
) -> Iterator[dg.AssetCheckResult]:
    """Yield the selected results of `table_checks`. Raise StoreError.

    Within a backfill no finding is serious: its other runs may still fetch what is missing.
    """
    if not any(spec.key in selected for spec in table_checks):
        return
    settings = load_settings()
    today = clock.today()
    start = today - dt.timedelta(days=RECENT_DAYS)
    with RateHistory(Path(database.path)) as history:
        span, gaps = history.span(), history.gaps()
        ahead, clock_error = history.ahead(), history.clock_error()
        age = history.content_age()
        rejects = history.rejects_without_value(start)
        known = _known(fixer, history.refused_symbols())
        frame = history.rates_around(start, today, learn=LEARN, reach=moves.REACH)
        still = {code: history.currency(code) for code in verdicts.unchanged(frame, base=fixer.base)}
    # The run that fetched the newest day has judged it. The other days now have neighbours on both sides.
    recent = [day.date() for day in frame.index[:-1] if day.date() >= start]
    newest = span[1] if span else None
    closed_from = today - dt.timedelta(days=settings.fx_catch_up_days)
    results = {
        "freshness": (
            verdicts.outdated(newest, today=today, max_age_days=settings.fx_max_age_days),
            "days",
        ),
        "content_age": (standstill(age), "days"),
        "gaps": (verdicts.gaps(gaps, len(frame), closed_from=closed_from), "days"),
        "clock": (misdated(ahead, clock_error), "fetches"),
        "stale_run": (verdicts.stale(still, len(frame.columns)), "currencies"),
        "recent_complete": (
            verdicts.incomplete(frame, recent, base=fixer.base, symbols=known).as_warning(),
            "days",
        ),
        "recent_jump": (verdicts.jumps(frame, recent, base=fixer.base).as_warning(), "days"),
        "recent_rejects": (verdicts.rejected(rejects, len(recent)).as_warning(), "days"),
    }
    for name, (verdict, judged) in results.items():
        result = to_evaluation(name, verdict.as_warning() if within_backfill else verdict, judged=judged)
        if result.asset_check_key in selected:
            yield as_output(result)


def _known(fixer: FixerResource, refused: Collection[str]) -> list[str]:
    """Return the symbols that are requested. Only the check `symbols` is about the others."""
    return [code for code in fixer.symbols if code not in refused]


def to_evaluation(name: str, verdict: Verdict, *, judged: str) -> dg.AssetCheckEvaluation:
    """Return a verdict as Dagster shows it. `judged` names what was judged, in the plural."""
    findings = sorted(verdict.findings, key=lambda finding: not finding.serious)
    metadata: dict[str, dg.RawMetadataValue] = {f"{judged} judged": dg.MetadataValue.int(verdict.judged)}
    if findings:
        metadata["findings"] = dg.MetadataValue.int(len(findings))
        metadata["found"] = dg.MetadataValue.table(
            records=[
                dg.TableRecord(
                    {
                        "date": str(finding.date or ""),
                        "currency": finding.currency or "",
                        "finding": finding.text,
                    }
                )
                for finding in findings[:MAX_LISTED]
            ],
            schema=dg.TableSchema(
                columns=[dg.TableColumn(column) for column in ("date", "currency", "finding")]
            ),
        )
    if news := [finding.subject for finding in findings if finding.serious]:
        metadata[NEWS] = dg.MetadataValue.json(sorted(set(news)))
    return dg.AssetCheckEvaluation(
        check_name=name,
        asset_key=RATES,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR if verdict.serious else dg.AssetCheckSeverity.WARN,
        description=_description(findings, verdict.note),
        metadata=metadata,
    )


def as_output(result: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    """Return a result as an output of the step, for a run that was planned with the check."""
    return dg.AssetCheckResult(
        check_name=result.check_name,
        asset_key=result.asset_key,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def _description(findings: Sequence[Finding], note: str) -> str:
    """Return the first findings, one per line."""
    lines = [
        f"{finding.date}: {finding.text}." if finding.date else f"{finding.text}."
        for finding in findings[:MAX_DESCRIBED]
    ]
    if len(findings) > MAX_DESCRIBED:
        lines.append(f"And {len(findings) - MAX_DESCRIBED} more.")
    return "\n".join([*lines, note] if note else lines)
