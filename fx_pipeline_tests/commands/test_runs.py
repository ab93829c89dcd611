"""The division of an ingest into runs, and the text that its runs do not print."""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.commands.runs import planned
from fx_pipeline.dagster_internals.runs import UNSAVED_EVENT
from fx_pipeline.rates import date_range

Span = tuple[str, str]


def days(*spans: Span) -> list[dt.date]:
    """Return all days of the spans, both ends included."""
    return [date for first, last in spans for date in date_range(*map(dt.date.fromisoformat, (first, last)))]


@pytest.mark.parametrize(
    ("wanted", "across_gaps", "runs"),
    [
        ([("2024-01-01", "2024-01-01")], False, [("2024-01-01", "2024-01-01", 1)]),
        ([("2024-01-01", "2024-04-09")], False, [("2024-01-01", "2024-04-09", 100)]),
        (
            [("2024-01-01", "2024-04-10")],
            False,
            [("2024-01-02", "2024-04-10", 100), ("2024-01-01", "2024-01-01", 1)],
        ),
        (
            [("2023-12-31", "2024-12-31")],
            False,
            [
                ("2024-09-23", "2024-12-31", 100),
                ("2024-06-15", "2024-09-22", 100),
                ("2024-03-07", "2024-06-14", 100),
                ("2023-12-31", "2024-03-06", 67),
            ],
        ),
        (
            [("2024-01-01", "2024-01-03"), ("2024-01-05", "2024-01-05")],
            False,
            [("2024-01-05", "2024-01-05", 1), ("2024-01-01", "2024-01-03", 3)],
        ),
        (
            [("2024-01-01", "2024-01-03"), ("2024-01-05", "2024-01-05")],
            True,
            [("2024-01-01", "2024-01-05", 4)],
        ),
        (
            [("2024-01-01", "2024-01-02"), ("2024-04-09", "2024-04-10"), ("2026-01-01", "2026-01-01")],
            True,
            [
                ("2026-01-01", "2026-01-01", 1),
                ("2024-01-02", "2024-04-10", 3),
                ("2024-01-01", "2024-01-01", 1),
            ],
        ),
    ],
)
def test_runs_are_as_long_as_a_backfills_with_the_newest_days_first(
    wanted: list[Span], across_gaps: bool, runs: list[tuple[str, str, int]]
) -> None:
    dates = days(*wanted)
    plan = planned(dates, across_gaps=across_gaps)
    assert [(str(run[-1]), str(run[0]), len(run)) for run in plan] == runs
    assert [date for run in plan for date in run] == sorted(dates, reverse=True)


def test_the_whole_history_takes_more_runs_not_longer_ones() -> None:
    dates = days(("1999-01-01", "2025-12-31"))
    plan = planned(dates, across_gaps=True)
    assert len(plan) == -(-len(dates) // 100)
    assert {len(run) for run in plan[:-1]} == {100}


def test_dagster_still_words_unsaved_events_as_expected() -> None:
    sources = (Path(dg.__file__).parent / "_core" / "instance").glob("*.py")
    assert any(f'stderr.write(f"{UNSAVED_EVENT}' in source.read_text("utf-8") for source in sources)
