"""The findings in rates: rules on made-up histories."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fx_pipeline.quality import moves, verdicts
from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline_tests.quality.frames import dates_of, subjects, times

START = dt.date(2020, 1, 1)
CODES = ("AUD", "BRL", "CHF", "GBP", "JPY", "SEK", "THB", "USD")


def walk(days: int = 200, *, codes: tuple[str, ...] = CODES, seed: int = 0) -> pd.DataFrame:
    """Return a calm history: each currency moves by about half a percent a day; the base is EUR."""
    moves = np.random.default_rng(seed).normal(0, 0.005, (days, len(codes)))
    frame = pd.DataFrame(
        np.exp(moves.cumsum(axis=0)), index=pd.date_range(START, periods=days), columns=codes
    )
    return frame.assign(EUR=1.0)


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def test_a_calm_history_has_no_findings() -> None:
    frame = walk()
    dates = dates_of(frame)
    assert verdicts.jumps(frame, dates, base="EUR") == Verdict((), 200)
    assert verdicts.incomplete(frame, dates, base="EUR") == Verdict((), 200)
    assert verdicts.unequal_base(frame, dates, base="EUR") == Verdict((), 200)
    assert verdicts.unchanged(frame, base="EUR") == []


@pytest.mark.parametrize("factor", [100, 0.01, 10, 1.2, 1 / 1.2])
@pytest.mark.parametrize("number", [0, 1, 2, 60, 198, 199])
def test_a_wrong_value_is_found_on_its_day_only(number: int, factor: float) -> None:
    frame = times(walk(), factor, "JPY", number)
    found = verdicts.jumps(frame, dates_of(frame), base="EUR")
    assert subjects(found) == {(day(number), "JPY")}
    assert found.serious


def test_a_jump_names_both_values_the_move_and_the_limit() -> None:
    calm = walk()
    frame = calm.assign(JPY=calm["JPY"].to_numpy() / calm["JPY"].iloc[-2] * 1.2)
    frame = times(frame, 120 / frame["JPY"].iloc[-1], "JPY", 199)
    [finding] = verdicts.jumps(frame, [day(199)], base="EUR").findings
    text, limit = finding.text.split(", with a limit of ")
    assert text == "JPY is 120, but was 1.2 on 2020-07-17: +9,900.0%"
    assert limit.endswith("% a day")
    assert 4 < float(limit.split("%")[0]) < 12


def test_a_level_that_later_days_confirm_is_no_longer_a_jump() -> None:
    frame = times(walk(), 0.85, "CHF", 100, 200)  # as the franc did on 2015-01-15
    for newest, expected in (
        (100, {(day(100), "CHF")}),
        (101, {(day(100), "CHF")}),
        (102, set()),
        (150, set()),
    ):
        seen = frame.iloc[: newest + 1]
        assert subjects(verdicts.jumps(seen, dates_of(seen), base="EUR")) == expected


def test_a_move_of_the_base_is_one_finding() -> None:
    frame = walk()
    for code in CODES:
        frame = times(frame, 1.15, code, 150)
    assert subjects(verdicts.jumps(frame, dates_of(frame), base="EUR")) == {(day(150), "EUR")}


def test_limits_follow_how_much_a_currency_moves() -> None:
    frame = walk()
    frame["BRL"] = np.exp(np.random.default_rng(9).normal(0, 0.03, 200).cumsum())
    frame = times(times(frame, 1.15, "BRL", 180), 1.15, "SEK", 180)
    assert subjects(verdicts.jumps(frame, dates_of(frame), base="EUR")) == {(day(180), "SEK")}


def test_a_few_wrong_values_do_not_widen_the_limit() -> None:
    frame = times(times(times(walk(), 1.5, "JPY", 90), 1.5, "JPY", 140), 1.2, "JPY", 180)
    found = verdicts.jumps(frame, dates_of(frame), base="EUR")
    assert subjects(found) == {(day(90), "JPY"), (day(140), "JPY"), (day(180), "JPY")}


def test_without_enough_history_the_limit_is_a_factor_of_two() -> None:
    frame = times(walk(10), 1.9, "JPY", 6)
    verdict = verdicts.jumps(frame, dates_of(frame), base="EUR")
    assert verdict.passed
    assert verdict.note == "The limit is a factor of 2, because learning one takes 30 moves."
    frame = times(frame, 1.9, "JPY", 6)
    assert subjects(verdicts.jumps(frame, dates_of(frame), base="EUR")) == {(day(6), "JPY")}


def test_a_day_is_compared_across_a_small_hole_but_not_across_a_large_one() -> None:
    frame = times(walk(), 1.15, "USD", 195, 200)
    hole = frame.drop(frame.index[192:195])
    assert subjects(verdicts.jumps(frame.iloc[:196], [day(195)], base="EUR")) == {(day(195), "USD")}
    assert verdicts.jumps(hole.iloc[:193], [day(195)], base="EUR") == Verdict((), 1)
    isolated = times(frame.drop(frame.index[190:195]).iloc[:191], 100, "USD", 190)
    assert verdicts.jumps(isolated, [day(195)], base="EUR") == Verdict(
        (), 0, "Not judged, without a stored day within 5 days: 1."
    )


def test_a_jump_names_the_nearest_day_not_the_nearest_row() -> None:
    frame = times(walk(), 100, "JPY", 197)
    frame = frame.drop(frame.index[10:197])
    [finding] = verdicts.jumps(frame, [day(197)], base="EUR").findings
    assert f" on {day(198)}: " in finding.text


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(0, 149),
    column=st.integers(0, 7),
    factor=st.sampled_from([100.0, 0.01]),
    holes=st.sets(st.integers(0, 149), max_size=60),
    seed=st.integers(0, 9),
    unit=st.floats(1e-6, 1e6),
)
def test_a_shifted_decimal_point_is_found_despite_holes_and_in_any_unit(
    number: int, column: int, factor: float, holes: set[int], seed: int, unit: float
) -> None:
    frame = times(times(walk(150, seed=seed), unit, CODES[column], 0, 150), factor, CODES[column], number)
    frame = frame.drop(frame.index[sorted(holes - {number})])
    distances = [abs((other - day(number)).days) for other in dates_of(frame)]
    near = sum(0 < distance <= moves.REACH for distance in distances)
    found = subjects(verdicts.jumps(frame, [day(number)], base="EUR"))
    assert found == ({(day(number), CODES[column])} if near else set())


@pytest.mark.parametrize(
    ("missing", "symbols", "expected"),
    [
        ({150: ["USD"]}, (), [(150, "USD", True)]),
        ({199: ["USD"]}, (), [(199, "USD", True)]),
        ({0: ["USD"]}, (), [(0, "USD", True)]),
        ({150: ["THB"]}, (), [(150, "THB", True)]),  # one of eight is more than a tenth
        ({150: ["USD"], 151: ["USD"]}, (), [(150, "USD", True), (151, "USD", True)]),
        ({150: ["THB", "USD"]}, ("USD", "GBP"), [(150, "USD", True)]),
        ({150: ["THB"]}, ("USD", "GBP"), []),
        ({150: ["SEK"]}, ("SEK", "EUR"), [(150, "SEK", True)]),
    ],
)
def test_a_currency_that_the_days_around_have_is_missing(
    missing: dict[int, list[str]], symbols: tuple[str, ...], expected: list[tuple[int, str, bool]]
) -> None:
    frame = walk()
    for number, codes in missing.items():
        frame.loc[pd.Timestamp(day(number)), codes] = np.nan
    found = verdicts.incomplete(frame, dates_of(frame), base="EUR", symbols=symbols).findings
    assert [(finding.date, finding.currency, finding.serious) for finding in found] == [
        (day(number), code, serious) for number, code, serious in expected
    ]


def test_a_missing_minor_currency_is_a_warning() -> None:
    many = tuple(f"Q{letter}{other}" for letter in "ABCD" for other in "ABCDE")
    frame = walk(codes=(*CODES, *many))
    frame.loc[pd.Timestamp(day(199)), "QAA"] = np.nan
    verdict = verdicts.incomplete(frame, [day(199)], base="EUR")
    assert verdict.findings == (
        Finding("QAA is missing, but the days around have it", day(199), "QAA", False, "QAA"),
    )
    assert not verdict.serious


def test_a_currency_that_begins_or_ends_is_not_missing() -> None:
    frame = walk()
    frame.loc[: pd.Timestamp(day(99)), "THB"] = np.nan
    frame.loc[pd.Timestamp(day(150)) :, "BRL"] = np.nan
    assert verdicts.incomplete(frame, dates_of(frame)[:195], base="EUR").passed


def test_a_requested_currency_that_never_came_is_a_warning() -> None:
    verdict = verdicts.incomplete(walk(), [day(150)], base="EUR", symbols=("USD", "XAU"))
    assert verdict == Verdict(
        (Finding("XAU was requested but is missing", day(150), "XAU", False, "XAU"),), 1
    )


def test_the_base_must_be_exactly_one() -> None:
    frame = times(walk(), 1.0000001, "EUR", 10)
    verdict = verdicts.unequal_base(frame, [day(9), day(10)], base="EUR")
    assert verdict == Verdict(
        (Finding("EUR is 1.0000001 but must be 1", day(10), "EUR", subject="2020-01-11 EUR"),), 2
    )
    assert verdicts.unequal_base(frame.drop(columns="EUR"), [day(10)], base="EUR") == Verdict((), 0)


@pytest.mark.parametrize(
    ("new", "found"), [(1.0099, False), (1.01, True), (0.99, True), (0.9901, False), (2.0, True)]
)
def test_a_revision_of_the_limit_or_more_is_found(new: float, found: bool) -> None:
    revisions = pd.DataFrame([("2024-01-02", "USD", 1.0, new)], columns=["date", "currency", "old", "new"])
    verdict = verdicts.revised(revisions, 3, limit=0.01)
    assert (not verdict.passed, verdict.judged) == (found, 3)
    assert verdict.note == "Values replaced: 1."


def test_a_revision_names_both_values() -> None:
    revisions = pd.DataFrame([("2024-01-02", "USD", 1.1, 1.122)], columns=["date", "currency", "old", "new"])
    [finding] = verdicts.revised(revisions, 1, limit=0.01).findings
    assert finding.text == "USD was 1.1 and is now 1.122: +2.00%"


@pytest.mark.parametrize(
    ("newest", "findings"),
    [
        (dt.date(2024, 3, 10), []),
        (dt.date(2024, 3, 7), []),
        (dt.date(2024, 3, 6), ["the newest day is 4 days old; at most 3 are allowed"]),
        (None, ["no day is stored"]),
    ],
)
def test_the_newest_day_may_be_three_days_old(newest: dt.date | None, findings: list[str]) -> None:
    verdict = verdicts.outdated(newest, today=dt.date(2024, 3, 10), max_age_days=3)
    assert [finding.text for finding in verdict.findings] == findings


def test_a_gap_is_serious_only_where_the_daily_run_should_have_filled_it() -> None:
    ranges = [(day(0), day(9)), (day(40), day(40))]
    found = verdicts.gaps(ranges, 50, closed_from=day(20)).findings
    assert [(finding.text, finding.serious) for finding in found] == [
        ("2020-01-01 to 2020-01-10 are missing, 10 days", False),
        ("2020-02-10 is missing", True),
    ]


def standstill(days: int, *, code: str = "USD", longest: int = 4) -> pd.DataFrame:
    """Return a history with a currency unchanged for `longest` days once, and for the last `days`."""
    values = (frame := walk())[code].to_numpy(copy=True)
    values[50 : 50 + longest] = values[50]
    values[200 - days :] = values[200 - days]
    return frame.assign(**{code: values})


@pytest.mark.parametrize(
    ("days", "longest", "found"),
    [
        (7, 1, False),
        (8, 1, True),
        (9, 5, False),
        (11, 5, True),
        (60, 32, False),
        (63, 31, True),
        (65, 32, False),
    ],
)
def test_a_currency_may_be_unchanged_for_a_week_or_twice_as_long_as_before(
    days: int, longest: int, found: bool
) -> None:
    frame = standstill(days, longest=longest)
    still = verdicts.unchanged(frame, base="EUR")
    verdict = verdicts.stale({code: frame[code] for code in still}, len(CODES))
    expected = [f"USD has not moved for {days} days; the longest before was {longest}"] if found else []
    assert [finding.text for finding in verdict.findings] == expected
    assert verdict.serious is found


def test_one_unchanged_minor_currency_is_a_warning_and_half_of_all_are_serious() -> None:
    frame = standstill(20, code="THB")
    assert not verdicts.stale({"THB": frame["THB"]}, 8).serious
    assert verdicts.stale({"THB": frame["THB"]}, 2).serious


def test_a_rejected_value_is_named_with_its_reason() -> None:
    rejects = pd.DataFrame(
        [("2024-01-02", "USD", "-1.1", "not above zero")], columns=["date", "currency", "value", "reason"]
    )
    verdict = verdicts.rejected(rejects, 1)
    assert verdict.findings == (
        Finding("USD was -1.1: not above zero", dt.date(2024, 1, 2), "USD", True, "USD not above zero"),
    )
    assert not verdict.as_warning().serious
    assert not verdict.as_warning().passed


@pytest.mark.parametrize("rows", [0, 1])
def test_without_two_days_nothing_is_judged(rows: int) -> None:
    frame = walk(1).iloc[:rows]
    assert verdicts.jumps(frame, [START], base="EUR").judged == 0
    assert verdicts.incomplete(frame, [START], base="EUR").judged == 0
    assert verdicts.unchanged(frame.iloc[:0], base="EUR") == []
