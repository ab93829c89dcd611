"""What a set of days needs before its first call."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.ingestion.forecast import Forecast
from fx_pipeline.ingestion.plan import plan_calls
from fx_pipeline.rates import date_range
from fx_pipeline.store.ledger import Quota

FIRST, LAST = dt.date(2015, 1, 1), dt.date(2023, 3, 20)
DAYS = list(date_range(FIRST, LAST))
RENEWED = dt.date(2024, 4, 1)


def quota(left: int, limit: int = 100) -> Quota:
    return Quota(limit=limit, used=limit - left - 9, reserved=9, renewed_on=RENEWED)


@pytest.mark.parametrize(
    ("forecast", "text", "summary"),
    [
        (
            Forecast(plan_calls(DAYS), 12, quota(9000, 10_000), 0.5),
            "3,001 days to fetch, 12 to skip; 3,001 calls, 30% of the 10,000 of a month; 9,000 are left "
            "until 2024-04-01; about 25 minutes, at the pace of the last runs (120 calls a minute).",
            "3,001 days, 3,001 calls (30% of the quota), 25 min, 12 skipped",
        ),
        (
            Forecast(plan_calls(DAYS, timeseries=True), 0, None, 0.5),
            "3,001 days to fetch, 0 to skip; 9 calls, and no quota is set; less than a minute, at the pace "
            "of the last runs (120 calls a minute).",
            "3,001 days, 9 calls, 1 min, 0 skipped",
        ),
        (
            Forecast(plan_calls(DAYS[:1]), 0, quota(50)),
            "1 day to fetch, 0 to skip; 1 call, 1% of the 100 of a month; 50 are left until 2024-04-01; no "
            "run has been measured yet, so the time is unknown.",
            "1 day, 1 call (1% of the quota), 0 skipped",
        ),
        (
            Forecast([], 3, quota(0)),
            "0 days to fetch, 3 to skip; 0 calls, 0% of the 100 of a month; 0 are left until 2024-04-01.",
            "0 days, 0 calls (0% of the quota), 3 skipped",
        ),
    ],
)
def test_a_forecast_has_calls_share_time_and_skipped_days(
    forecast: Forecast, text: str, summary: str
) -> None:
    assert (str(forecast), forecast.summary(), forecast.fits) == (text, summary, True)


@pytest.mark.parametrize(
    ("left", "newest"),
    [(91, "The newest 91 days, from 2022-12-20 on, fit: add --partial. "), (0, "")],
)
def test_a_refusal_says_how_many_days_fit_and_when_the_quota_renews(left: int, newest: str) -> None:
    forecast = Forecast(plan_calls(DAYS), 0, quota(left))
    assert not forecast.fits
    assert forecast.refusal("add --partial") == (
        f"Nothing was fetched, because the quota is too small: 3,001 days need 3,001 calls, and {left} may "
        f"be made. {newest}{91 - left} of the 100 calls of this month are used (FIXER_MONTHLY_QUOTA), 9 are "
        "reserved for its daily runs; the count restarts on 2024-04-01."
    )
    assert forecast.document() == {
        "days": 3001,
        "skipped": 0,
        "calls": 3001,
        "calls_allowed": left,
        "fits": False,
        "minutes": None,
    }


@given(dates=st.sets(st.sampled_from(DAYS)), left=st.integers(0, 91), timeseries=st.booleans())
def test_the_newest_days_fit(dates: set[dt.date], left: int, timeseries: bool) -> None:
    calls = plan_calls(dates, timeseries=timeseries)
    forecast = Forecast(calls, 0, quota(left), 1.0)
    assert forecast.days == len(dates)
    assert forecast.fits == (len(calls) <= left) == (forecast.fitting == dates)
    assert forecast.fitting == set(sorted(dates)[len(dates) - len(forecast.fitting) :])
    assert len(plan_calls(forecast.fitting, timeseries=timeseries)) == forecast.allowed
