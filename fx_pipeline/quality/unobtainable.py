"""Judge the currencies in FX_SYMBOLS: unknown to the provider, or accepted but not sent."""

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
    """Judge whether each of the `symbols` has recent values.

    The provider does not know the `refused` ones. Each of the others must have a value on one of the `dates`,
    or on one of the stored days before them (LONGEST_REST in all). A missing one is serious if one of the
    dates is `recent_from` or later: the currency may not have existed before. `last_dates` has the last
    stored day of each code.
    """
    days = frame[frame.index <= pd.Timestamp(max(dates))].tail(max(len(dates), LONGEST_REST))
    came = set(days.columns[days.notna().any()])
    findings = []
    for code in symbols:
        last = f" since {last_dates[code]}" if code in last_dates else ""
        if code in refused:
            text = f"the provider does not know {code}, so it is skipped. Correct or remove it in FX_SYMBOLS"
            findings.append(Finding(text, currency=code, subject=code))
        elif code not in came:
            text = (
                f"the provider accepts {code} but has sent no rate{last}. If the currency has ended, "
                "remove it from FX_SYMBOLS"
            )
            serious = max(dates) >= recent_from
            findings.append(Finding(text, currency=code, serious=serious, subject=code))
    return Verdict(tuple(findings), len(dates))
