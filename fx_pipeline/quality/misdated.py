"""Judge the dates of fetches, which `as_of` relies on: a wrong clock makes them wrong."""

import datetime as dt

from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.store.instants import Ahead, clock_error_text


def misdated(ahead: Ahead, clock_error: dt.timedelta | None) -> Verdict:
    """Report fetches dated in the future, and a wrong clock at the newest fetch. Both are serious."""
    findings = []
    if ahead.count:
        findings.append(Finding(str(ahead), subject="dated in the future"))
    if clock_error:
        findings.append(Finding(clock_error_text(clock_error), subject="clock"))
    return Verdict(tuple(findings), ahead.count)
