"""Frames of rates for the tests of verdicts, and the subjects of their findings."""

import datetime as dt

import pandas as pd

from fx_pipeline.quality.verdicts import Verdict
from fx_pipeline.rates import RejectedRate


def times(frame: pd.DataFrame, factor: float, code: str, first: int, last: int | None = None) -> pd.DataFrame:
    """Return the frame with a currency multiplied in rows `first` to `last` (exclusive), or in one row."""
    values = frame[code].to_numpy(copy=True)
    values[first : first + 1 if last is None else last] *= factor
    return frame.assign(**{code: values})


def dates_of(frame: pd.DataFrame) -> list[dt.date]:
    return [day.date() for day in frame.index]


def subjects(verdict: Verdict) -> set[tuple[dt.date | None, str | None]]:
    return {(finding.date, finding.currency) for finding in verdict.findings}


def as_rejects(rejects: tuple[RejectedRate, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [(bad.date.isoformat(), bad.currency, bad.value, bad.reason) for bad in rejects],
        columns=["date", "currency", "value", "reason"],
    )
