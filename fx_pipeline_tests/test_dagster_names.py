"""The names of everything in Dagster, with and without a prefix, and the links to its pages."""

import datetime as dt

import pytest

from fx_pipeline.dagster_names import (
    MAX_SELECTION,
    asset_path,
    in_one_link,
    partitions_url,
    prefixed,
    rates_path,
)
from fx_pipeline.rates import DateRange
from fx_pipeline.settings import SettingsError, load_settings

DAY = dt.timedelta(1)


@pytest.mark.parametrize(
    ("ranges", "chosen"),
    [
        ([], ""),
        ([(dt.date(2024, 5, 10), dt.date(2024, 5, 10))], "&default_range=2024-05-10"),
        (
            [(dt.date(2024, 5, 10), dt.date(2024, 5, 10)), (dt.date(2025, 5, 12), dt.date(2025, 5, 16))],
            "&default_range=2024-05-10,%5B2025-05-12...2025-05-16%5D",
        ),
    ],
)
def test_a_link_selects_the_days(ranges: list[DateRange], chosen: str) -> None:
    assert partitions_url(load_settings(), ranges) == (
        f"http://127.0.0.1:3000/assets/rates?view=partitions{chosen}"
    )


@pytest.mark.parametrize("days", [1, 2])
def test_a_link_has_only_as_many_ranges_as_a_proxy_accepts(days: int) -> None:
    ranges = [(first := dt.date(1999, 1, 1) + 4 * n * DAY, first + (days - 1) * DAY) for n in range(2500)]
    chosen = in_one_link(ranges)
    assert ranges[-len(chosen) :] == chosen
    assert len(chosen) > 200
    assert MAX_SELECTION - 50 < len(partitions_url(load_settings(), ranges)) < MAX_SELECTION + 100
    assert partitions_url(load_settings(), ranges) == partitions_url(load_settings(), chosen)


@pytest.mark.parametrize(
    ("prefix", "asset", "schedule", "path"),
    [
        ("", ["rates"], "daily_rates", "/assets/rates"),
        ("fixer", ["fixer", "rates"], "fixer_daily_rates", "/assets/fixer/rates"),
        (
            "finance/fixer_2",
            ["finance", "fixer_2", "rates"],
            "finance_fixer_2_daily_rates",
            "/assets/finance/fixer_2/rates",
        ),
    ],
)
def test_a_prefix_is_part_of_every_name(
    monkeypatch: pytest.MonkeyPatch, prefix: str, asset: list[str], schedule: str, path: str
) -> None:
    monkeypatch.setenv("FX_ASSET_PREFIX", prefix)
    settings = load_settings()
    assert asset_path(settings, "rates") == asset
    assert prefixed(settings, "daily_rates") == schedule
    assert rates_path(settings) == path
    assert partitions_url(settings) == f"http://127.0.0.1:3000{path}?view=partitions"


@pytest.mark.parametrize("prefix", ["/", "fixer/", "/fixer", "a//b", "a-b", "a.b", "a b", "é", "a\nb"])
def test_a_prefix_that_dagster_would_refuse_is_refused(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("FX_ASSET_PREFIX", prefix)
    with pytest.raises(SettingsError, match=r"^FX_ASSET_PREFIX cannot be used: it may have letters"):
        load_settings()
