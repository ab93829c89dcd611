"""Faults that asset checks show: the last result of a check has a serious finding."""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runs import page_of
from fx_pipeline.dagster_internals.runs import last_check_results
from fx_pipeline.defs.checks import NEWS, run_checks, table_checks
from fx_pipeline.defs.database_checks import integrity
from fx_pipeline.settings import Settings

IN_STATUS = {"freshness", "content_age", "gaps", "clock", "symbols"}
"""Checks of what `status` looks at itself, each time and not once a day."""

KINDS_OF_CHECKS: Mapping[str, str] = {
    "complete": "garbage_values",
    "positive_and_finite": "garbage_values",
    "identity": "garbage_values",
    "jump": "garbage_values",
    "revisions": "garbage_values",
    "stale_run": "content_frozen",
    "integrity": "database_damaged",
}
"""The kind of fault that a check finds. Any other check is `check_failed`."""


def watched_checks() -> Iterator[dg.AssetCheckKey]:
    """Yield the checks whose findings are alerted. `status` reports restore drills itself."""
    yield from (spec.key for spec in (*run_checks, *table_checks) if spec.name not in IN_STATUS)
    yield integrity.check_key


def check_faults(instance: dg.DagsterInstance, settings: Settings) -> Iterator[Fault]:
    """Yield the checks whose last result has a serious finding."""
    for key, result in last_check_results(instance, [*watched_checks()]).items():
        found = result.evaluation
        if not found.passed and found.severity is dg.AssetCheckSeverity.ERROR:
            yield Fault(
                kind=KINDS_OF_CHECKS.get(key.name, "check_failed"),
                subject=key.name,
                parts=tuple(_news(found)),
                text=f"Check {key.name}: {found.description or 'see the run'}",
                link=page_of(result.run_id, settings),
            )


def _news(check: dg.AssetCheckEvaluation) -> Sequence[str]:
    """Return the subjects of the serious findings."""
    metadata = check.metadata.get(NEWS)
    value = metadata.value if metadata is not None else []
    return [str(subject) for subject in value] if isinstance(value, list) else []
