"""Asset checks: what `quality` finds, as Dagster shows it, with the dates it concerns.

The asset makes them all, once its dates are stored: those about the dates of a run in each run, those about
the table in each run from the UI, and each day by themselves. A red check stops nothing. ERROR is what is to
be looked at now, and is alerted; WARN is to be seen in the UI.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg

from fx_pipeline.defs.resources import DatabaseResource, FixerResource
from fx_pipeline.quality import moves, verdicts
from fx_pipeline.quality.misdated import misdated
from fx_pipeline.quality.unobtainable import unobtainable
from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.settings import load_settings
from fx_pipeline.store.frames import RateHistory

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
    "symbols": "The provider knows each currency in FX_SYMBOLS and sends it.",
}

_ABOUT_THE_TABLE: Mapping[str, str] = {
    "freshness": "The newest stored day is at most FX_MAX_AGE_DAYS days old.",
    "gaps": "No day is missing between the first and the last stored one.",
    "stale_run": "No currency has stood still for more than twice as long as it ever did; pegs may.",
    "recent_complete": f"The days of the last {RECENT_DAYS} have the currencies of the days around them.",
    "recent_jump": f"No value of the last {RECENT_DAYS} days is too far from the days before and after it.",
    "clock": "No fetch is dated in the future, and the clock agrees with the provider's.",
    "recent_rejects": f"Every value of the last {RECENT_DAYS} days that was not stored has come since.",
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
    runs: Sequence[str], kept: Collection[dt.date], fixer: FixerResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckEvaluation]:
    """The results of `run_checks` for the dates that these runs were the last to store, or else for `kept`.

    There are none where there is no date: what did not come is neither good nor bad. Raises StoreError.

    They are told as events. As outputs they would have to be planned, and of a run over many dates Dagster
    keeps each planned check once for each date and for ever, also of checks without partitions.
    """
    with RateHistory(Path(database.path)) as history:
        if dates := history.stored_by(runs) or kept:
            yield from _judged(history, runs, dates, fixer)


def check_last_run(
    wanted: Collection[dg.AssetCheckKey], fixer: FixerResource, database: DatabaseResource
) -> Iterator[dg.AssetCheckEvaluation]:
    """The wanted of them for the run that was the last to store a date: what "Execute" beside a check does.

    Raises StoreError, and dagster.Failure where there is no such run.
    """
    if not any(spec.key in wanted for spec in run_checks):
        return
    with RateHistory(Path(database.path)) as history:
        run_id = history.last_run()
        if run_id is None:
            raise dg.Failure("No date is stored yet that could be judged.", allow_retries=False)
        results = _judged(history, [run_id], history.stored_by([run_id]), fixer)
        yield from (result for result in results if result.asset_check_key in wanted)


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
            recent_from=_today() - dt.timedelta(days=RECENT_DAYS),
        ),
    }
    for name, verdict in results.items():
        yield as_result(name, verdict, judged="dates")


def check_table(
    wanted: Collection[dg.AssetCheckKey],
    fixer: FixerResource,
    database: DatabaseResource,
    *,
    within_backfill: bool,
) -> Iterator[dg.AssetCheckEvaluation]:
    """The wanted results of `table_checks`: what can be wrong with the table as a whole. Raises StoreError.

    Within a backfill nothing is grave: its other runs may still bring what is missing.
    """
    if not any(spec.key in wanted for spec in table_checks):
        return
    settings = load_settings()
    today = _today()
    start = today - dt.timedelta(days=RECENT_DAYS)
    with RateHistory(Path(database.path)) as history:
        span, gaps = history.span(), history.gaps()
        ahead, clock_error = history.ahead(), history.clock_error()
        rejects = history.rejects_without_value(start)
        known = _known(fixer, history.refused_symbols())
        frame = history.rates_around(start, today, learn=LEARN, reach=moves.REACH)
        still = {code: history.currency(code) for code in verdicts.standing(frame, base=fixer.base)}
    # The newest day was judged when it came; the others are now judged by what came before and after.
    recent = [day.date() for day in frame.index[:-1] if day.date() >= start]
    newest = span[1] if span else None
    closed_from = today - dt.timedelta(days=settings.fx_catch_up_days)
    results = {
        "freshness": (verdicts.outdated(newest, today=today, max_age_days=settings.fx_max_age_days), "days"),
        "gaps": (verdicts.gaps(gaps, len(frame), closed_from=closed_from), "days"),
        "clock": (misdated(ahead, clock_error), "fetches"),
        "stale_run": (verdicts.stale(still, len(frame.columns)), "currencies"),
        "recent_complete": (
            verdicts.incomplete(frame, recent, base=fixer.base, symbols=known).without_alarm(),
            "days",
        ),
        "recent_jump": (verdicts.jumps(frame, recent, base=fixer.base).without_alarm(), "days"),
        "recent_rejects": (verdicts.rejected(rejects, len(recent)).without_alarm(), "days"),
    }
    for name, (verdict, judged) in results.items():
        result = as_result(name, verdict.without_alarm() if within_backfill else verdict, judged=judged)
        if result.asset_check_key in wanted:
            yield result


def _known(fixer: FixerResource, refused: Collection[str]) -> list[str]:
    """The symbols that are asked for. The others are the subject of the check `symbols` only."""
    return [code for code in fixer.symbols if code not in refused]


def _today() -> dt.date:
    return dt.datetime.now(dt.timezone.utc).date()


def as_result(name: str, verdict: Verdict, *, judged: str) -> dg.AssetCheckEvaluation:
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
    return dg.AssetCheckEvaluation(
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
