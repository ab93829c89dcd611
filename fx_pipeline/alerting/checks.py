"""Faults that asset checks show: the last result of a check has a serious finding."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runs import page_of
from fx_pipeline.dagster_internals.runs import CheckResult, last_check_results
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
    """Yield what the last results of the checks show, if it is serious.

    A bad response can fail several checks, and is one fault.
    """
    failed: dict[tuple[str, str], list[CheckResult]] = defaultdict(list)
    for key, result in last_check_results(instance, [*watched_checks()]).items():
        found = result.evaluation
        if not found.passed and found.severity is dg.AssetCheckSeverity.ERROR:
            kind = KINDS_OF_CHECKS.get(key.name)
            failed[("check_failed", key.name) if kind is None else (kind, "")].append(result)
    for (kind, subject), results in failed.items():
        newest = max(results, key=lambda result: result.recorded_at)
        yield Fault(
            kind=kind,
            subject=subject,
            parts=tuple(part for result in results for part in _parts(result.evaluation)),
            text="\n\n".join(_text(result.evaluation) for result in results),
            link=page_of(newest.run_id, settings),
        )


def _text(check: dg.AssetCheckEvaluation) -> str:
    return f"Check {check.check_name}: {check.description or 'see the run'}"


def _parts(check: dg.AssetCheckEvaluation) -> Sequence[str]:
    """Return the subjects of the serious findings.

    A wrong value and its correction, which is a revision, are one: the correction is no new fault.
    """
    metadata = check.metadata.get(NEWS)
    news = metadata.value if metadata is not None else []
    subjects = [str(subject) for subject in news] if isinstance(news, list) else []
    if not subjects:
        return [check.check_name]
    if check.check_name in ("jump", "revisions"):
        return list(dict.fromkeys(" ".join(subject.split()[:2]) for subject in subjects))
    return [f"{check.check_name} {subject}" for subject in subjects]
