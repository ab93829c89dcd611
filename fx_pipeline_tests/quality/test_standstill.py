"""A provider whose rates stand still, in 27 years of real rates."""

import datetime as dt
import random

import numpy as np
import pandas as pd
import pytest

from fx_pipeline.business_days import is_business_day
from fx_pipeline.content_age import Step, content_age
from fx_pipeline.fixer.sandbox.ecb import EcbHistory
from fx_pipeline.fixer.sandbox.protocol import written
from fx_pipeline.quality.standstill import standstill
from fx_pipeline.quality.verdicts import Verdict
from fx_pipeline.rates import FIRST_DATE, date_range

LAST_DAY = dt.date(2026, 10, 30)
"""As in `test_ecb_history`."""

Found = set[tuple[str, bool]]


@pytest.fixture(scope="module")
def ecb() -> pd.DataFrame:
    """Return every calendar day from 1999 to LAST_DAY, in euro."""
    history, days = EcbHistory(), list(date_range(FIRST_DATE, LAST_DAY))
    return pd.DataFrame([history.rates(date) for date in days], index=pd.DatetimeIndex(days))


def steps(frame: pd.DataFrame) -> list[Step]:
    """Return the steps of the days that have a value, as the database returns them."""
    frame = frame.dropna(how="all")
    values = frame.to_numpy()
    changed = ((values[1:] != values[:-1]) & ~np.isnan(values[1:]) & ~np.isnan(values[:-1])).sum(axis=1)
    days = [day.date() for day in frame.index]
    return [
        Step(date, before, int(count))
        for before, date, count in zip(days[:-1], days[1:], changed, strict=True)
    ]


def night(known: list[Step], number: int) -> Verdict:
    """Return what the check finds on the night after a step."""
    return standstill(content_age(known[: number + 1]))


def nights(known: list[Step]) -> Found:
    """Return the first day of each rest that a night reports, and whether it was reported as serious."""
    # Content that changed is never reported. Of a peg's thousands of nights, 400 are judged.
    resting = [number for number, step in enumerate(known) if step.rested and is_business_day(step.date)]
    return {
        (str(finding.date), finding.serious)
        for number in resting[:: 1 + len(resting) // 400]
        for finding in night(known, number).findings
    }


def moving_on_weekends(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with a little noise, as Fixer's values have on every day."""
    noise = np.random.default_rng(0).normal(1, 1e-4, frame.shape)
    return frame * noise


@pytest.mark.parametrize(
    ("base", "codes", "expected"),
    [
        ("EUR", [], set()),
        ("USD", [], set()),
        ("EUR", ["USD"], set()),
        ("EUR", ["USD", "GBP", "JPY"], set()),
        ("USD", ["EUR", "HKD", "CNY"], set()),
        ("EUR", ["DKK"], set()),
        ("EUR", ["CHF"], set()),  # its floor of 1.20 held from 2011 to 2015
        # If there is only a currency that is being pegged, it looks the same.
        ("EUR", ["EEK", "BGN"], {("2000-08-08", False)}),
        ("EUR", ["CZK"], {("2017-02-03", False)}),
    ],
)
def test_27_years_have_no_false_alarm(
    ecb: pd.DataFrame, base: str, codes: list[str], expected: Found
) -> None:
    chosen = ecb[codes] if codes else ecb.drop(columns=base)
    if base != "EUR":
        chosen = chosen.div(ecb[base], axis=0).map(written)
    assert nights(steps(chosen)) == expected


@pytest.mark.parametrize(
    ("codes", "on_weekends", "expected"),
    [
        ([], False, {1: "WARN", 2: "ERROR", 3: "ERROR"}),
        ([], True, {1: "ERROR", 2: "ERROR", 3: "ERROR"}),
        (["USD", "GBP", "JPY"], False, {1: "", 2: "ERROR", 3: "ERROR"}),
        (["USD"], False, {1: "", 2: "", 3: "", 7: "WARN"}),
    ],
)
def test_frozen_rates_are_found_on_the_first_night_on_which_it_is_certain(
    ecb: pd.DataFrame, codes: list[str], on_weekends: bool, expected: dict[int, str]
) -> None:
    """`expected` is what the check says after this many business days without a change."""
    frame = ecb[codes] if codes else ecb.drop(columns="EUR")
    known = steps(moving_on_weekends(frame) if on_weekends else frame)
    dice = random.Random(1)
    moving = [number for number, step in enumerate(known) if step.changed]
    for start in dice.sample([number for number in moving if 4000 < number < len(known) - 20], 20):
        frozen = [*known[: start + 1], *(Step(step.date, step.before, 0) for step in known[start + 1 :][:14])]
        said, business = {}, 0
        for number in range(start + 1, len(frozen)):
            business += is_business_day(frozen[number].date)
            verdict = night(frozen, number)
            said[business] = "" if verdict.passed else "ERROR" if verdict.serious else "WARN"
        assert {count: said[count] for count in expected} == expected, known[start].date
