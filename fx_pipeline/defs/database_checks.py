"""The nightly check of the database file as a whole: `fx-pipeline check`, with its findings as alerts."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg

from fx_pipeline.dagster_names import asset_path
from fx_pipeline.defs.assets import SYMBOLS
from fx_pipeline.defs.checks import MAX_DESCRIBED, MAX_LISTED, NEWS, RATES
from fx_pipeline.defs.resources import DatabaseResource
from fx_pipeline.quality.integrity import inspect, note_if_sound, token_findings
from fx_pipeline.settings import load_settings

DATABASE = dg.AssetKey(asset_path(load_settings(), "database"))

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
