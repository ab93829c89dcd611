"""Asset checks: what `quality` finds, as Dagster shows it, with the dates it concerns.

Those about the dates of a run are made by the asset itself, once its dates are stored: a red check stops
nothing. Those about the table run by themselves each day, and after the dates of each run from the UI.
ERROR is what someone has to look at now, and is alerted; WARN is to be seen in the UI.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg

from fx_pipeline import moves, quality
from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.quality import Finding, Verdict
from fx_pipeline.settings import load_settings
from fx_pipeline.store.history import RateHistory

RATES = dg.AssetKey("rates")

LEARN = moves.LEARN + moves.REACH
"""Stored days to be read beside those that are judged."""

RECENT_DAYS = 31
"""Days that the table's checks look back over."""

LONGEST_TABLE = 100
"""Findings that a result lists; it counts the others."""

LONGEST_DESCRIPTION = 5
"""Findings that a result's description, and so an alert, names."""

NEWS = "news"
"""Metadata: what the grave findings are about. An alert is sent for what earlier results did not have."""

_ABOUT_A_RUN: Mapping[str, str] = {
    "complete": "Each date has the currencies that were asked for, or those of the stored days around it.",
    "positive_and_finite": "Every value that came could be stored: a finite number above 0 under a code.",
    "identity": "The base is exactly 1 of itself.",
    "jump": "No value is too far from the days around it, by a limit learnt from the currency's own moves.",
    "revisions": "No stored value was replaced by one that differs by FX_REVISION_ALERT or more.",
}

_ABOUT_THE_TABLE: Mapping[str, str] = {
    "freshness": "The newest stored day is at most FX_MAX_AGE_DAYS days old.",
    "gaps": "No day is missing between the first and the last stored one.",
    "stale_run": "No currency has stood still for more than twice as long as it ever did; pegs may.",
    "recent_complete": f"The days of the last {RECENT_DAYS} have the currencies of the days around them.",
    "recent_jump": f"No value of the last {RECENT_DAYS} days is too far from the days before and after it.",
    "recent_rejects": f"Every value of the last {RECENT_DAYS} days that was not stored has come since.",
}

run_checks = [
    dg.AssetCheckSpec(name, asset=RATES, description=description)
    for name, description in _ABOUT_A_RUN.items()
]

table_check_specs = [
    dg.AssetCheckSpec(name, asset=RATES, description=description)
    for name, description in _ABOUT_THE_TABLE.items()
]


def check_run(
    run_id: str, dates: Collection[dt.date], fixer: FixerResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckEvaluation]:
    """The results of `run_checks` for dates of a run. Raises StoreError.

    They are told as events. As outputs they would have to be planned, and of a run over many dates Dagster
    keeps each planned check once for each date and for ever, also of checks without partitions.
    """
    with RateHistory(Path(database.path)) as history:
        yield from _judged(history, run_id, dates, fixer)


def check_last_run(
    wanted: Collection[dg.AssetCheckKey], fixer: FixerResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckEvaluation]:
    """The wanted of them for the run that was the last to store a date: what "Execute" beside a check does.

    Raises StoreError, and dagster.Failure where there is no such run.
    """
    with RateHistory(Path(database.path)) as history:
        last = history.last_run()
        if last is None:
            raise dg.Failure("No date is stored yet that could be judged.", allow_retries=False)
        run_id, dates = last
        yield from (
            result for result in _judged(history, run_id, dates, fixer) if result.asset_check_key in wanted
        )


def _judged(
    history: RateHistory, run_id: str, dates: Collection[dt.date], fixer: FixerResource
) -> Iterator[dg.AssetCheckEvaluation]:
    rejects, revisions = history.rejects(run_id), history.revisions(run_id)
    frame = history.rates_around(min(dates), max(dates), learn=LEARN, reach=moves.REACH)
    limit = load_settings().fx_revision_alert
    verdicts = {
        "complete": quality.incomplete(frame, dates, base=fixer.base, symbols=fixer.symbols),
        "positive_and_finite": quality.rejected(rejects, len(dates)),
        "identity": quality.unequal_base(frame, dates, base=fixer.base),
        "jump": quality.jumps(frame, dates, base=fixer.base),
        "revisions": quality.revised(revisions, len(dates), limit=limit),
    }
    for name, verdict in verdicts.items():
        yield as_event(as_result(name, verdict, judged="dates"))


@dg.op(
    name="table_checks",
    out={spec.get_python_identifier(): dg.Out(dg.Nothing, is_required=False) for spec in table_check_specs},
    tags={"dagster/priority": "-1"},
)
def _table_checks(
    context: dg.OpExecutionContext, fixer: FixerResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckResult]:
    """What can be wrong with the table as a whole, each day: old, with holes, standing still."""
    settings = load_settings()
    today = dt.datetime.now(dt.timezone.utc).date()
    start = today - dt.timedelta(days=RECENT_DAYS)
    with RateHistory(Path(database.path)) as history:
        span, gaps = history.span(), history.gaps()
        rejects = history.rejects_without_value(start)
        frame = history.rates_around(start, today, learn=LEARN, reach=moves.REACH)
        still = {code: history.currency(code) for code in quality.standing(frame, base=fixer.base)}
    # The newest day was judged when it came; the others are now judged by what came before and after.
    recent = [day.date() for day in frame.index[:-1] if day.date() >= start]
    newest = span[1] if span else None
    closed_from = today - dt.timedelta(days=settings.fx_catch_up_days)
    verdicts = {
        "freshness": (quality.outdated(newest, today=today, max_age_days=settings.fx_max_age_days), "days"),
        "gaps": (quality.gaps(gaps, len(frame), closed_from=closed_from), "days"),
        "stale_run": (quality.stale(still, len(frame.columns)), "currencies"),
        "recent_complete": (
            quality.incomplete(frame, recent, base=fixer.base, symbols=fixer.symbols).without_alarm(),
            "days",
        ),
        "recent_jump": (quality.jumps(frame, recent, base=fixer.base).without_alarm(), "days"),
        "recent_rejects": (quality.rejected(rejects, len(recent)).without_alarm(), "days"),
    }
    # A run with dates may be one of a backfill, whose other runs still bring what is missing.
    within_backfill = context.run.is_partitioned
    for name, (verdict, judged) in verdicts.items():
        if dg.AssetCheckKey(RATES, name) in context.selected_asset_check_keys:
            yield as_result(name, verdict.without_alarm() if within_backfill else verdict, judged=judged)


table_checks = dg.AssetChecksDefinition.create(
    # Not that of the asset: `rates` has no output but the events of its dates, and Dagster would skip what
    # waits for one. By their priority they come after the dates, and do so also where dates have failed.
    keys_by_input_name={},
    node_def=_table_checks,
    check_specs_by_output_name={spec.get_python_identifier(): spec for spec in table_check_specs},
    can_subset=True,
)


def as_event(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A result as an event of a run that was not planned with its check."""
    if result.asset_key is None or result.check_name is None:
        raise ValueError("the result does not name its check")
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


def as_result(name: str, verdict: Verdict, *, judged: str) -> dg.AssetCheckResult:
    """A verdict as Dagster shows it. `judged` names what was looked at, in the plural."""
    findings = sorted(verdict.findings, key=lambda finding: not finding.grave)
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
                for finding in findings[:LONGEST_TABLE]
            ],
            schema=dg.TableSchema(
                columns=[dg.TableColumn(column) for column in ("date", "currency", "finding")]
            ),
        )
    if news := [finding.subject for finding in findings if finding.grave]:
        metadata[NEWS] = dg.MetadataValue.json(sorted(set(news)))
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=RATES,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR if verdict.grave else dg.AssetCheckSeverity.WARN,
        description=_description(findings, verdict.note),
        metadata=metadata,
    )


def _description(findings: Sequence[Finding], note: str) -> str:
    """The first findings, a line each, as many as an alert can hold."""
    lines = [
        f"{finding.date}: {finding.text}." if finding.date else f"{finding.text}."
        for finding in findings[:LONGEST_DESCRIPTION]
    ]
    if len(findings) > LONGEST_DESCRIPTION:
        lines.append(f"And {len(findings) - LONGEST_DESCRIPTION} more.")
    return "\n".join([*lines, note] if note else lines)
