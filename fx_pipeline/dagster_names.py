"""Names of assets, jobs and schedules in Dagster, and the addresses of its pages."""

import datetime as dt
from collections.abc import Sequence

from fx_pipeline.rates import DateRange
from fx_pipeline.settings import PROJECT, Settings

FETCH_PATH = "/fetch/"
"""The page that fetches one day. `fx_pipeline.dagster_ui` serves it in front of Dagster's pages."""

LOCATION = "fx_pipeline"
"""The name of the code location, as in workspace.yaml. Stored runs refer to it."""

WORKSPACE = str(PROJECT / "workspace.yaml")
"""The path of Dagster's file with the code location."""

MAX_SELECTION = 8_000
"""Characters of a link's selection of days. Dagster's pages take a URL of any length, but proxies do not."""


def asset_path(settings: Settings, name: str) -> list[str]:
    """Return the parts of the key of one of our assets, beginning with those of FX_ASSET_PREFIX."""
    return [*filter(None, settings.fx_asset_prefix.split("/")), name]


def prefixed(settings: Settings, name: str) -> str:
    """Return the name of one of our jobs or schedules: `fixer_daily_rates` for FX_ASSET_PREFIX=fixer."""
    return "_".join(asset_path(settings, name))


def rates_path(settings: Settings) -> str:
    """Return the path of Dagster's page of the rates."""
    return f"/assets/{'/'.join(asset_path(settings, 'rates'))}"


def partitions_url(settings: Settings, ranges: Sequence[DateRange] = ()) -> str:
    """Return the link to Dagster's page of all days, whose dialog "Materialize" has these ranges selected.

    The link has the newest ranges if all would make it too long: those that `in_one_link` returns.
    """
    chosen = ",".join(_selection(one) for one in in_one_link(ranges))
    selected = f"&default_range={chosen}" if chosen else ""
    return f"{settings.dagster_url}{rates_path(settings)}?view=partitions{selected}"


def fetch_url(settings: Settings, date: dt.date) -> str:
    """Return the link to the page that fetches one day."""
    return f"{settings.dagster_url}{FETCH_PATH}?date={date}"


def in_one_link(ranges: Sequence[DateRange]) -> Sequence[DateRange]:
    """Return the newest of these ranges, as many as one link can select, oldest first."""
    chosen: list[DateRange] = []
    left = MAX_SELECTION
    for one in sorted(ranges, reverse=True):
        left -= len(_selection(one)) + len(",")
        if left < 0:
            break
        chosen.append(one)
    return chosen[::-1]


def _selection(one: DateRange) -> str:
    first, last = one
    # Brackets are encoded, because a terminal ends a link at a bracket.
    return f"{first}" if first == last else f"%5B{first}...{last}%5D"
