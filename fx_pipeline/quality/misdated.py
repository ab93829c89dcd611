"""Fetches that are dated wrongly, because a clock was: `as_of` is answered from these dates."""

import datetime as dt

from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.store.instants import Ahead


def misdated(ahead: Ahead, clock_error: dt.timedelta | None) -> Verdict:
    """Judge what lies in the future, and the clock at the newest fetch. Both are grave."""
    findings = []
    if ahead.count:
        findings.append(Finding(str(ahead), subject="dated in the future"))
    if clock_error:
        side = "ahead of" if clock_error > dt.timedelta() else "behind"
        findings.append(
            Finding(
                f"the clock of this machine was {_shown(abs(clock_error))} {side} the provider's at the "
                "newest fetch, which is dated by the provider's. Set the clock right, for example with NTP",
                subject="clock",
            )
        )
    return Verdict(tuple(findings), ahead.count)


def _shown(span: dt.timedelta) -> str:
    hours = round(span / dt.timedelta(hours=1))
    days = round(hours / 24)
    return f"{days} days" if hours >= 48 else f"{hours} hour{'s' if hours != 1 else ''}"
