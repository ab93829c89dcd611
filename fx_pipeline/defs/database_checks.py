"""Checks of the database file as a whole: that it is sound, and that a restore drill succeeds every night."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from fx_pipeline.clock import utc_now
from fx_pipeline.defs.assets import SYMBOLS
from fx_pipeline.defs.checks import MAX_DESCRIBED, MAX_LISTED, NEWS, RATES
from fx_pipeline.defs.heartbeats import report_drill
from fx_pipeline.defs.ours import DATABASE
from fx_pipeline.defs.resources import DatabaseResource
from fx_pipeline.drilled import read_drill
from fx_pipeline.quality.integrity import inspect, note_if_sound, token_findings
from fx_pipeline.replication.drill import drill, source_of
from fx_pipeline.settings import Settings, load_settings

NOTHING_TO_RESTORE = (
    "there is neither a replica nor a backup. Set FX_REPLICA_URL, or run `fx-pipeline backup` regularly."
)

database_file = dg.AssetSpec(
    DATABASE,
    deps=[RATES, SYMBOLS],
    description="The SQLite file with the rates, their revisions and every response, and the file of tokens.",
    kinds={"sqlite"},
    group_name="rates",
)


@dg.asset_check(
    asset=DATABASE,
    description="Every page is sound, the tables agree with each other, and the rates with the responses.",
)
def integrity(database: dg.ResourceParam[DatabaseResource]) -> dg.AssetCheckResult:
    """Do what `fx-pipeline check --full` does."""
    path = Path(database.path)
    start = time.monotonic()
    inspection = inspect(path, full=True)
    found = [*inspection.findings, *token_findings(path.with_name("tokens.db"), path)]
    note_if_sound(path, found)
    return result_of(
        found,
        note=f"Checked: {inspection.checked}." if inspection.checked else "",
        metadata={"seconds": round(time.monotonic() - start, 1)},
    )


@dg.asset_check(
    asset=DATABASE,
    description="The replica, or else the newest backup, can be restored, is sound, and equals the database.",
)
def restorable(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Do a restore drill. Without a replica and a backup there is nothing to restore, which is no fault."""
    done = drill(load_settings())
    state = done.state
    report_drill(context, state)
    if state.result == "skipped":
        return result_of([], note=f"Skipped: {NOTHING_TO_RESTORE}", metadata={"result": "skipped"})
    facts = {"source": state.source, "seconds": state.seconds, "bytes": state.bytes, "newest": state.newest}
    known = {name: value for name, value in facts.items() if value is not None}
    return result_of(
        done.findings,
        note=f"Restored the {state.source} in {state.seconds} s. It equals the database.",
        metadata={"result": state.result, **known},
    )


@dg.asset_check(
    asset=DATABASE, description="The last good restore drill is at most FX_MAX_DRILL_AGE_DAYS days old."
)
def drill_age() -> dg.AssetCheckResult:
    """Fail also if no drill was started, because its schedule is off."""
    settings, now = load_settings(), utc_now()
    state = read_drill(settings.fx_database)
    problem = state and state.too_old(now, settings.fx_max_drill_age_days)
    last = state and state.good_at
    return result_of(
        [problem] if problem else [],
        note=f"The last good restore drill was at {last}." if last else "There was no restore drill yet.",
        metadata={},
    )


def nightly_checks(settings: Settings) -> Sequence[dg.AssetCheckKey]:
    """Return the checks that are due each night. A drill without anything to restore says so only once."""
    last = read_drill(settings.fx_database)
    skips = last is not None and last.result == "skipped" and source_of(settings) is None
    return [integrity.check_key, *(() if skips else (restorable.check_key,))]


def result_of(
    findings: Sequence[str], *, note: str, metadata: "Mapping[str, dg.RawMetadataValue]"
) -> dg.AssetCheckResult:
    """Return the result of a check of the file. All findings are serious, and each new one is alerted."""
    listed = [*findings[:MAX_DESCRIBED]]
    if len(findings) > len(listed):
        listed.append(f"And {len(findings) - len(listed)} more.")
    found: dict[str, dg.RawMetadataValue] = {}
    if findings:
        found["found"] = dg.MetadataValue.json([*findings[:MAX_LISTED]])
        found[NEWS] = dg.MetadataValue.json([*findings[:MAX_LISTED]])
    return dg.AssetCheckResult(
        passed=not findings,
        description="\n".join(listed) or note,
        metadata={**metadata, "findings": len(findings), **found},
    )
