"""Which currencies in FX_SYMBOLS do not come, judged from the stored rates."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from fx_pipeline.quality.unobtainable import unobtainable
from fx_pipeline.rates import date_range

START = dt.date(2024, 1, 1)


def frame(**columns: str) -> pd.DataFrame:
    """Days from START on; `x` in a column is a day with a rate, `.` one without."""
    values = {code: [1.5 if mark == "x" else np.nan for mark in marks] for code, marks in columns.items()}
    length = max(map(len, columns.values()))
    days = date_range(START, START + dt.timedelta(days=length - 1))
    return pd.DataFrame(values, index=pd.DatetimeIndex(list(days)))


def judged(
    rates: pd.DataFrame, days: list[int], *, refused: tuple[str, ...] = (), recent: int = 0
) -> dict[str, bool]:
    """The codes that are found, and whether that is grave."""
    verdict = unobtainable(
        rates,
        [START + dt.timedelta(days=day) for day in days],
        symbols=["USD", "BGN"],
        refused=refused,
        last_dates={},
        recent_from=START + dt.timedelta(days=recent),
    )
    assert verdict.judged == len(days)
    return {str(finding.currency): finding.grave for finding in verdict.findings}


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
def test_a_currency_that_has_not_come_for_a_week_is_found(
    bgn: str, days: list[int], found: dict[str, bool]
) -> None:
    """One that is missing for a day or two is the subject of the check `complete`."""
    assert judged(frame(USD="xxxxxxxxxx", BGN=bgn), days) == found


def test_one_that_was_never_stored_has_no_column() -> None:
    assert judged(frame(USD="xxx"), [0, 1, 2]) == {"BGN": True}


@pytest.mark.parametrize(("recent", "grave"), [(9, True), (10, False)])
def test_on_days_long_ago_it_is_not_grave(recent: int, grave: bool) -> None:
    assert judged(frame(USD="xxxxxxxxxx"), [9], recent=recent) == {"BGN": grave}


def test_what_the_provider_does_not_know_is_grave_on_any_day() -> None:
    assert judged(frame(USD="xxx", BGN="xxx"), [2], refused=("BGN",), recent=99) == {"BGN": True}


def test_what_to_do_is_said_and_when_it_was_last_stored() -> None:
    verdict = unobtainable(
        frame(USD="xxxxxxxxxx"),
        [START + dt.timedelta(days=9)],
        symbols=["GPB", "BGN"],
        refused={"GPB"},
        last_dates={"BGN": "2023-12-31"},
        recent_from=START,
    )
    assert [finding.text for finding in verdict.findings] == [
        "the provider does not know GPB: it is left out. Correct or remove it in FX_SYMBOLS",
        "the provider accepts BGN and sends no rate of it since 2023-12-31. If the currency has ended, "
        "remove it from FX_SYMBOLS",
    ]
