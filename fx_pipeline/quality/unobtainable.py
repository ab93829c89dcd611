"""Currencies in FX_SYMBOLS that do not come: unknown to the provider, or accepted and never sent."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from fx_pipeline.quality.verdicts import LONGEST_REST, Finding, Verdict


def unobtainable(
    frame: pd.DataFrame,
    dates: Collection[dt.date],
    *,
    symbols: Sequence[str],
    refused: Collection[str],
    last_dates: Mapping[str, str],
    recent_from: dt.date,
) -> Verdict:
    """Judge the codes that are asked for by name.

    `refused` are those that the provider does not know. Each of the others must have a value on one of the
    `dates`, or of the stored days before them (LONGEST_REST in all). What has none is grave if one of the
    dates is `recent_from` or later: on earlier days the currency may not have existed. `last_dates` has the
    last stored day of each code.
    """
    days = frame[frame.index <= pd.Timestamp(max(dates))].tail(max(len(dates), LONGEST_REST))
    came = set(days.columns[days.notna().any()])
    findings = []
    for code in symbols:
        last = f" since {last_dates[code]}" if code in last_dates else ""
        if code in refused:
            text = f"the provider does not know {code}: it is left out. Correct or remove it in FX_SYMBOLS"
            findings.append(Finding(text, currency=code, subject=code))
        elif code not in came:
            text = (
                f"the provider accepts {code} and sends no rate of it{last}. If the currency has ended, "
                "remove it from FX_SYMBOLS"
            )
            grave = max(dates) >= recent_from
            findings.append(Finding(text, currency=code, grave=grave, subject=code))
    return Verdict(tuple(findings), len(dates))
