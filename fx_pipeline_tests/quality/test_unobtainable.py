"""Currencies in FX_SYMBOLS without rates, judged from the stored rates."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from fx_pipeline.quality.unobtainable import unobtainable
from fx_pipeline.rates import date_range

START = dt.date(2024, 1, 1)


def frame(**columns: str) -> pd.DataFrame:
    """Return days from START on: `x` in a column is a day with a rate, `.` one without."""
    values = {code: [1.5 if mark == "x" else np.nan for mark in marks] for code, marks in columns.items()}
    length = max(map(len, columns.values()))
    days = date_range(START, START + dt.timedelta(days=length - 1))
    return pd.DataFrame(values, index=pd.DatetimeIndex(list(days)))


def judged(
    rates: pd.DataFrame, days: list[int], *, refused: tuple[str, ...] = (), recent: int = 0
) -> dict[str, bool]:
    """Return the codes that are found, and whether that is serious."""
    verdict = unobtainable(
        rates,
        [START + dt.timedelta(days=day) for day in days],
        symbols=["USD", "BGN"],
        refused=refused,
        last_dates={},
        recent_from=START + dt.timedelta(days=recent),
    )
    assert verdict.judged == len(days)
    return {str(finding.currency): finding.serious for finding in verdict.findings}


@pytest.mark.parametrize(
    ("bgn", "days", "found"),
    [
        ("xxxxxxxxxx", [9], {}),
        ("xxxxxxxxx.", [9], {}),
        ("xxx.......", [9], {"BGN": True}),
        ("xxx.......", [5], {}),
        ("..........", [0], {"BGN": True}),
        ("..........", [2, 9], {"BGN": True}),
        (".........x", [9], {}),
        (".........x", [0], {"BGN": True}),
        ("x.........", list(range(10)), {}),
    ],
)
def test_a_currency_without_a_rate_for_a_week_is_found(
    bgn: str, days: list[int], found: dict[str, bool]
) -> None:
    """The check `complete` finds one that is missing for a day or two."""
    assert judged(frame(USD="xxxxxxxxxx", BGN=bgn), days) == found


def test_a_currency_that_was_never_stored_is_found() -> None:
    assert judged(frame(USD="xxx"), [0, 1, 2]) == {"BGN": True}


@pytest.mark.parametrize(("recent", "serious"), [(9, True), (10, False)])
def test_a_missing_currency_is_not_serious_on_old_days(recent: int, serious: bool) -> None:
    assert judged(frame(USD="xxxxxxxxxx"), [9], recent=recent) == {"BGN": serious}


def test_an_unknown_currency_is_serious_on_any_day() -> None:
    assert judged(frame(USD="xxx", BGN="xxx"), [2], refused=("BGN",), recent=99) == {"BGN": True}


def test_a_finding_says_what_to_do_and_when_the_currency_was_last_stored() -> None:
    verdict = unobtainable(
        frame(USD="xxxxxxxxxx"),
        [START + dt.timedelta(days=9)],
        symbols=["GPB", "BGN"],
        refused={"GPB"},
        last_dates={"BGN": "2023-12-31"},
        recent_from=START,
    )
    assert [finding.text for finding in verdict.findings] == [
        "the provider does not know GPB, so it is skipped. Correct or remove it in FX_SYMBOLS",
        "the provider accepts BGN but has sent no rate since 2023-12-31. If the currency has ended, "
        "remove it from FX_SYMBOLS",
    ]
