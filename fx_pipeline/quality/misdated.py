"""Judge the dates of fetches, which `as_of` relies on: a wrong clock makes them wrong."""

import datetime as dt

from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.store.instants import Ahead


def misdated(ahead: Ahead, clock_error: dt.timedelta | None) -> Verdict:
    """Report fetches dated in the future, and a wrong clock at the newest fetch. Both are serious."""
    findings = []
    if ahead.count:
        findings.append(Finding(str(ahead), subject="dated in the future"))
    if clock_error:
        side = "ahead of" if clock_error > dt.timedelta() else "behind"
        findings.append(
            Finding(
                f"the clock of this machine was {_shown(abs(clock_error))} {side} the provider's at the "
                "newest fetch. That fetch is dated by the provider's clock. Correct it, for example with NTP",
                subject="clock",
            )
        )
    return Verdict(tuple(findings), ahead.count)


def _shown(span: dt.timedelta) -> str:
    hours = round(span / dt.timedelta(hours=1))
    days = round(hours / 24)
    return f"{days} days" if hours >= 48 else f"{hours} hour{'s' if hours != 1 else ''}"
