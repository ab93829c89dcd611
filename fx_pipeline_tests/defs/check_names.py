"""The names of the asset checks."""

RUN_CHECKS = ("complete", "positive_and_finite", "identity", "jump", "revisions", "symbols")
TABLE_CHECKS = (
    "freshness",
    "content_age",
    "gaps",
    "stale_run",
    "recent_complete",
    "recent_jump",
    "clock",
    "recent_rejects",
)
DAILY_CHECKS = (*TABLE_CHECKS, "drill_age")
