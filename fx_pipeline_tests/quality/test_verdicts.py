"""What is found wrong in rates: in made-up histories by rule, in 27 years of real ones by number."""

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fx_pipeline.fixer.sandbox.ecb import EcbHistory
from fx_pipeline.fixer.sandbox.faults import Fault, Faults, spoil
from fx_pipeline.quality import moves, verdicts
from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.rates import FIRST_DATE, RejectedRate, date_range, read_rates

START = dt.date(2020, 1, 1)
CODES = ("AUD", "BRL", "CHF", "GBP", "JPY", "SEK", "THB", "USD")


def walk(days: int = 200, *, codes: tuple[str, ...] = CODES, seed: int = 0) -> pd.DataFrame:
    """A calm history: each currency moves by about half a percent a day; the base is EUR."""
    moves = np.random.default_rng(seed).normal(0, 0.005, (days, len(codes)))
    frame = pd.DataFrame(
        np.exp(moves.cumsum(axis=0)), index=pd.date_range(START, periods=days), columns=codes
    )
    return frame.assign(EUR=1.0)


def times(frame: pd.DataFrame, factor: float, code: str, first: int, last: int | None = None) -> pd.DataFrame:
    """The frame with a currency's values from one row up to (without) another multiplied; or of one row."""
    values = frame[code].to_numpy(copy=True)
    values[first : first + 1 if last is None else last] *= factor
    return frame.assign(**{code: values})


def dates_of(frame: pd.DataFrame) -> list[dt.date]:
    return [day.date() for day in frame.index]


def subjects(verdict: Verdict) -> set[tuple[dt.date | None, str | None]]:
    return {(finding.date, finding.currency) for finding in verdict.findings}


def day(number: int) -> dt.date:
    return START + dt.timedelta(days=number)


def test_a_calm_history_has_nothing_wrong() -> None:
    frame = walk()
    dates = dates_of(frame)
    assert verdicts.jumps(frame, dates, base="EUR") == Verdict((), 200)
    assert verdicts.incomplete(frame, dates, base="EUR") == Verdict((), 200)
    assert verdicts.unequal_base(frame, dates, base="EUR") == Verdict((), 200)
    assert verdicts.standing(frame, base="EUR") == []


@pytest.mark.parametrize("factor", [100, 0.01, 10, 1.2, 1 / 1.2])
@pytest.mark.parametrize("number", [0, 1, 2, 60, 198, 199])
def test_a_wrong_value_is_found_on_its_day_and_on_no_other(number: int, factor: float) -> None:
    frame = times(walk(), factor, "JPY", number)
    found = verdicts.jumps(frame, dates_of(frame), base="EUR")
    assert subjects(found) == {(day(number), "JPY")}
    assert found.grave


def test_a_jump_is_told_with_both_values_the_move_and_the_limit() -> None:
    calm = walk()
    frame = calm.assign(JPY=calm["JPY"].to_numpy() / calm["JPY"].iloc[-2] * 1.2)
    frame = times(frame, 120 / frame["JPY"].iloc[-1], "JPY", 199)
    [finding] = verdicts.jumps(frame, [day(199)], base="EUR").findings
    text, limit = finding.text.split(", where ")
    assert text == "JPY is 120, and on 2020-07-17 1.2: +9,900.0%"
    assert limit.endswith("% a day is the limit")
    assert 4 < float(limit.split("%")[0]) < 12


def test_a_level_that_later_days_confirm_is_no_jump_any_more() -> None:
    frame = times(walk(), 0.85, "CHF", 100, 200)  # as the franc did on 2015-01-15
    for newest, expected in (
        (100, {(day(100), "CHF")}),
        (101, {(day(100), "CHF")}),
        (102, set()),
        (150, set()),
    ):
        seen = frame.iloc[: newest + 1]
        assert subjects(verdicts.jumps(seen, dates_of(seen), base="EUR")) == expected


def test_a_move_of_the_base_is_one_finding_about_the_base() -> None:
    frame = walk()
    for code in CODES:
        frame = times(frame, 1.15, code, 150)
    assert subjects(verdicts.jumps(frame, dates_of(frame), base="EUR")) == {(day(150), "EUR")}


def test_limits_are_wide_where_a_currency_moves_much_and_narrow_where_it_does_not() -> None:
    frame = walk()
    frame["BRL"] = np.exp(np.random.default_rng(9).normal(0, 0.03, 200).cumsum())
    frame = times(times(frame, 1.15, "BRL", 180), 1.15, "SEK", 180)
    assert subjects(verdicts.jumps(frame, dates_of(frame), base="EUR")) == {(day(180), "SEK")}


def test_a_few_wrong_values_among_those_learnt_from_hide_no_other() -> None:
    frame = times(times(times(walk(), 1.5, "JPY", 90), 1.5, "JPY", 140), 1.2, "JPY", 180)
    found = verdicts.jumps(frame, dates_of(frame), base="EUR")
    assert subjects(found) == {(day(90), "JPY"), (day(140), "JPY"), (day(180), "JPY")}


def test_without_enough_history_a_factor_of_two_is_the_limit_and_that_is_said() -> None:
    frame = times(walk(10), 1.9, "JPY", 6)
    verdict = verdicts.jumps(frame, dates_of(frame), base="EUR")
    assert verdict.passed
    assert verdict.note == "There is too little history to learn limits from (30 moves): a factor of 2 is."
    frame = times(frame, 1.9, "JPY", 6)
    assert subjects(verdicts.jumps(frame, dates_of(frame), base="EUR")) == {(day(6), "JPY")}


def test_a_day_is_compared_over_a_small_hole_with_a_wider_limit_and_not_over_a_large_one() -> None:
    frame = times(walk(), 1.15, "USD", 195, 200)
    hole = frame.drop(frame.index[192:195])
    assert subjects(verdicts.jumps(frame.iloc[:196], [day(195)], base="EUR")) == {(day(195), "USD")}
    assert verdicts.jumps(hole.iloc[:193], [day(195)], base="EUR") == Verdict((), 1)
    alone = times(frame.drop(frame.index[190:195]).iloc[:191], 100, "USD", 190)
    assert verdicts.jumps(alone, [day(195)], base="EUR") == Verdict(
        (), 0, "Not judged, having no stored day within 5 days: 1."
    )


def test_a_jump_is_told_with_the_nearest_day_and_not_the_nearest_row() -> None:
    frame = times(walk(), 100, "JPY", 197)
    frame = frame.drop(frame.index[10:197])
    [finding] = verdicts.jumps(frame, [day(197)], base="EUR").findings
    assert f", and on {day(198)} " in finding.text


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(0, 149),
    column=st.integers(0, 7),
    factor=st.sampled_from([100.0, 0.01]),
    holes=st.sets(st.integers(0, 149), max_size=60),
    seed=st.integers(0, 9),
    unit=st.floats(1e-6, 1e6),
)
def test_a_slipped_point_is_found_whatever_is_missing_around_it_and_whatever_the_unit(
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
def test_a_currency_that_the_days_around_have_is_missed(
    missing: dict[int, list[str]], symbols: tuple[str, ...], expected: list[tuple[int, str, bool]]
) -> None:
    frame = walk()
    for number, codes in missing.items():
        frame.loc[pd.Timestamp(day(number)), codes] = np.nan
    found = verdicts.incomplete(frame, dates_of(frame), base="EUR", symbols=symbols).findings
    assert [(finding.date, finding.currency, finding.grave) for finding in found] == [
        (day(number), code, grave) for number, code, grave in expected
    ]


def test_one_of_many_that_is_no_major_is_missed_without_alarm() -> None:
    many = tuple(f"Q{letter}{other}" for letter in "ABCD" for other in "ABCDE")
    frame = walk(codes=(*CODES, *many))
    frame.loc[pd.Timestamp(day(199)), "QAA"] = np.nan
    verdict = verdicts.incomplete(frame, [day(199)], base="EUR")
    assert verdict.findings == (
        Finding("QAA is missing, and the days around have it", day(199), "QAA", False, "QAA"),
    )
    assert not verdict.grave


def test_a_currency_that_begins_or_has_ended_is_not_missed() -> None:
    frame = walk()
    frame.loc[: pd.Timestamp(day(99)), "THB"] = np.nan
    frame.loc[pd.Timestamp(day(150)) :, "BRL"] = np.nan
    assert verdicts.incomplete(frame, dates_of(frame)[:195], base="EUR").passed


def test_a_currency_that_was_asked_for_and_never_came_is_told_without_alarm() -> None:
    verdict = verdicts.incomplete(walk(), [day(150)], base="EUR", symbols=("USD", "XAU"))
    assert verdict == Verdict(
        (Finding("XAU was asked for and is not there", day(150), "XAU", False, "XAU"),), 1
    )


def test_the_base_must_be_exactly_one_where_it_is_given() -> None:
    frame = times(walk(), 1.0000001, "EUR", 10)
    verdict = verdicts.unequal_base(frame, [day(9), day(10)], base="EUR")
    assert verdict == Verdict(
        (Finding("EUR is 1.0000001 and must be 1", day(10), "EUR", subject="2020-01-11 EUR"),), 2
    )
    assert verdicts.unequal_base(frame.drop(columns="EUR"), [day(10)], base="EUR") == Verdict((), 0)


@pytest.mark.parametrize(
    ("new", "found"), [(1.0099, False), (1.01, True), (0.99, True), (0.9901, False), (2.0, True)]
)
def test_a_revision_counts_from_the_limit_on(new: float, found: bool) -> None:
    revisions = pd.DataFrame([("2024-01-02", "USD", 1.0, new)], columns=["date", "currency", "old", "new"])
    verdict = verdicts.revised(revisions, 3, limit=0.01)
    assert (not verdict.passed, verdict.judged) == (found, 3)
    assert verdict.note == "Values replaced: 1."


def test_a_revision_is_told_with_both_values() -> None:
    revisions = pd.DataFrame([("2024-01-02", "USD", 1.1, 1.122)], columns=["date", "currency", "old", "new"])
    [finding] = verdicts.revised(revisions, 1, limit=0.01).findings
    assert finding.text == "USD was 1.1 and is now 1.122: +2.00%"


@pytest.mark.parametrize(
    ("newest", "findings"),
    [
        (dt.date(2024, 3, 10), []),
        (dt.date(2024, 3, 7), []),
        (dt.date(2024, 3, 6), ["the newest day is 4 days old, and 3 are allowed"]),
        (None, ["no day is stored"]),
    ],
)
def test_the_newest_day_may_be_three_days_old(newest: dt.date | None, findings: list[str]) -> None:
    verdict = verdicts.outdated(newest, today=dt.date(2024, 3, 10), max_age_days=3)
    assert [finding.text for finding in verdict.findings] == findings


def test_a_gap_is_grave_only_where_the_daily_run_should_have_closed_it() -> None:
    ranges = [(day(0), day(9)), (day(40), day(40))]
    found = verdicts.gaps(ranges, 50, closed_from=day(20)).findings
    assert [(finding.text, finding.grave) for finding in found] == [
        ("nothing is stored of 2020-01-01 to 2020-01-10, 10 days", False),
        ("nothing is stored of 2020-02-10", True),
    ]


def standstill(days: int, *, code: str = "USD", longest: int = 4) -> pd.DataFrame:
    """A history that stood still for `longest` days once, and for the last `days` days."""
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
def test_a_currency_may_stand_still_for_a_week_or_twice_as_long_as_ever_and_a_peg_for_ever(
    days: int, longest: int, found: bool
) -> None:
    frame = standstill(days, longest=longest)
    still = verdicts.standing(frame, base="EUR")
    verdict = verdicts.stale({code: frame[code] for code in still}, len(CODES))
    expected = [f"USD has not moved for {days} days; the longest before was {longest}"] if found else []
    assert [finding.text for finding in verdict.findings] == expected
    assert verdict.grave is found


def test_one_minor_currency_standing_still_is_no_alarm_and_half_of_all_are() -> None:
    frame = standstill(20, code="THB")
    assert not verdicts.stale({"THB": frame["THB"]}, 8).grave
    assert verdicts.stale({"THB": frame["THB"]}, 2).grave


def test_rejects_are_told_with_what_came_and_why() -> None:
    rejects = pd.DataFrame(
        [("2024-01-02", "USD", "-1.1", "not above zero")], columns=["date", "currency", "value", "reason"]
    )
    verdict = verdicts.rejected(rejects, 1)
    assert verdict.findings == (
        Finding("USD was -1.1: not above zero", dt.date(2024, 1, 2), "USD", True, "USD not above zero"),
    )
    assert not verdict.without_alarm().grave
    assert not verdict.without_alarm().passed


@pytest.mark.parametrize("rows", [0, 1])
def test_with_no_day_or_one_nothing_is_judged_and_nothing_fails(rows: int) -> None:
    frame = walk(1).iloc[:rows]
    assert verdicts.jumps(frame, [START], base="EUR").judged == 0
    assert verdicts.incomplete(frame, [START], base="EUR").judged == 0
    assert verdicts.standing(frame.iloc[:0], base="EUR") == []


HISTORY = EcbHistory()

ALARMS = {
    ("jump", "2001-02-22", "TRL"),  # Turkey lets the lira float: 68 % in a day
    ("jump", "2015-01-15", "CHF"),  # Switzerland gives up its floor of 1.20: 14 %
    ("jump", "2022-02-28", "RUB"),  # the first working day after the invasion of Ukraine: 25 %
}
"""All the alarms that the history of the European Central Bank gives, each on the night of its day."""

WARNINGS = {
    # A currency is given for the last time: all but one for good, and rightly told.
    *(
        ("complete", "2005-01-01", "TRL"),
        ("complete", "2005-07-01", "ROL"),
        ("complete", "2006-12-30", "SIT"),
    ),
    *(
        ("complete", "2008-01-01", "CYP"),
        ("complete", "2008-01-01", "MTL"),
        ("complete", "2008-12-10", "ISK"),
    ),
    *(
        ("complete", "2009-01-01", "SKK"),
        ("complete", "2011-01-01", "EEK"),
        ("complete", "2014-01-01", "LVL"),
    ),
    *(
        ("complete", "2015-01-01", "LTL"),
        ("complete", "2022-03-02", "RUB"),
        ("complete", "2022-12-31", "HRK"),
    ),
    ("complete", "2026-01-01", "BGN"),
    # A currency is held still by its bank, or not quoted (the króna in 2008), for the first time for so long.
    *(
        ("stale_run", "2000-09-17", "CYP"),
        ("stale_run", "2004-07-28", "LTL"),
        ("stale_run", "2004-12-29", "BGN"),
    ),
    *(
        ("stale_run", "2005-05-15", "MTL"),
        ("stale_run", "2008-10-19", "ISK"),
        ("stale_run", "2017-01-22", "CZK"),
    ),
}


@pytest.fixture(scope="module")
def ecb() -> pd.DataFrame:
    """Every calendar day from 1999 to the last that the bank has published, as the pipeline stores it."""
    days = list(date_range(FIRST_DATE, HISTORY.last_published))
    return pd.DataFrame([HISTORY.rates(date) for date in days], index=pd.DatetimeIndex(days)).sort_index(
        axis=1
    )


def as_seen(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    """What a run reads when that row is the newest day."""
    seen = frame.iloc[max(0, row - moves.LEARN - moves.REACH) : row + 1]
    return seen.dropna(axis=1, how="all")


def night(frame: pd.DataFrame, row: int) -> Iterator[tuple[str, Finding]]:
    """All that is found when that row has just been stored, and the two before it read again."""
    seen = as_seen(frame, row)
    dates = dates_of(seen)
    # Where nothing has changed since the night before, as on weekends, these find nothing new.
    if not frame.iloc[row].equals(frame.iloc[row - 1]):
        for check, verdict in (
            ("complete", verdicts.incomplete(seen, dates[-3:], base="EUR")),
            ("identity", verdicts.unequal_base(seen, dates[-3:], base="EUR")),
            ("jump", verdicts.jumps(seen, dates[-3:], base="EUR")),
            ("recent_complete", verdicts.incomplete(seen, dates[-31:-1], base="EUR").without_alarm()),
        ):
            for finding in verdict.findings:
                yield check, finding
    still = {code: frame[code].iloc[: row + 1] for code in verdicts.standing(seen, base="EUR")}
    for finding in verdicts.stale(still, len(seen.columns)).findings:
        yield "stale_run", finding


@pytest.mark.slow
@pytest.mark.parametrize("first", [1999, 2004, 2009, 2014, 2019, 2024])
def test_in_27_years_of_nights_there_are_fewer_than_one_alarm_in_a_thousand(
    ecb: pd.DataFrame, first: int
) -> None:
    told: dict[tuple[str, str], tuple[str, str, bool]] = {}
    for row in range(1, len(ecb)):
        newest = ecb.index[row]
        # A night on which nothing has changed, as on weekends, finds nothing new.
        if first <= newest.year < first + 5:
            for check, finding in night(ecb, row):
                told.setdefault(
                    (check, finding.subject), (str(newest.date()), finding.currency or "", finding.grave)
                )
    years = {str(year) for year in range(first, first + 5)}
    for grave, expected in ((True, ALARMS), (False, WARNINGS)):
        found = {(check, date, code) for (check, _), (date, code, alarm) in told.items() if alarm is grave}
        assert found == {entry for entry in expected if entry[1][:4] in years}
    assert 1000 * len(ALARMS) / len(ecb) < 0.3


def spoilt(
    kind: str, row: int, frame: pd.DataFrame, dice: random.Random
) -> tuple[pd.Series, set[str], tuple[RejectedRate, ...]]:
    """A day as it is stored when its answer has one of the sandbox's faults: its values, the currencies that
    are wrong, and what was rejected."""
    rates = {str(code): float(rate) for code, rate in frame.iloc[row].dropna().items()}
    answer = spoil(Fault(kind, dice), {"base": "EUR", "rates": rates})
    assert answer is not None
    stored, rejects = read_rates(frame.index[row].date(), answer["rates"])
    wrong = {code for code, rate in rates.items() if stored.get(code) != rate}
    return pd.Series(stored).reindex(frame.columns), wrong, rejects


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bad-value", "off-by-100", "missing"])
def test_each_of_the_sandboxs_errors_is_found_on_the_night_of_its_day(ecb: pd.DataFrame, kind: str) -> None:
    dice = random.Random(kind)
    for row in dice.sample(range(1, len(ecb)), 400):
        seen = as_seen(ecb, row).copy()
        date = seen.index[-1].date()
        seen.iloc[-1], wrong, rejects = spoilt(kind, len(seen) - 1, seen, dice)
        verdict = {
            "bad-value": verdicts.rejected(as_rejects(rejects), 1),
            "off-by-100": verdicts.jumps(seen, [date], base="EUR"),
            "missing": verdicts.incomplete(seen, [date], base="EUR"),
        }[kind]
        assert subjects(verdict) == {(date, code) for code in wrong}, date
        assert verdict.grave


def as_rejects(rejects: tuple[RejectedRate, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [(bad.date.isoformat(), bad.currency, bad.value, bad.reason) for bad in rejects],
        columns=["date", "currency", "value", "reason"],
    )


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("kind", ["off-by-100", "missing"])
def test_in_a_backfill_full_of_errors_each_is_found_and_nothing_else(
    ecb: pd.DataFrame, kind: str, share: float
) -> None:
    dice = random.Random(f"{kind} {share}")
    for start in (2500, 5000, 7500):
        frame = ecb.iloc[start : start + 400].dropna(axis=1, how="all").copy()
        seeded = set()
        for row in range(len(frame)):
            if dice.random() < share:
                frame.iloc[row], wrong, _ = spoilt(kind, row, frame, dice)
                seeded |= {(frame.index[row].date(), code) for code in wrong}
        judge = verdicts.jumps if kind == "off-by-100" else verdicts.incomplete
        assert subjects(judge(frame, dates_of(frame), base="EUR")) == seeded


def test_each_revision_of_more_than_one_percent_is_found_and_no_smaller_one(ecb: pd.DataFrame) -> None:
    faults = Faults({"revision": 1.0}, seed=1)
    sizes = Counter[bool]()
    for row in range(0, len(ecb), 50):
        date = ecb.index[row].date()
        before = {str(code): float(rate) for code, rate in ecb.iloc[row].dropna().items()}
        after = faults.revised(date, before)
        changed = [
            (date.isoformat(), code, before[code], after[code])
            for code in before
            if after[code] != before[code]
        ]
        large = {(date, code) for _, code, old, new in changed if abs(new / old - 1) > 0.01}
        revisions = pd.DataFrame(changed, columns=["date", "currency", "old", "new"])
        assert subjects(verdicts.revised(revisions, 1, limit=0.01)) == large
        sizes.update({True: len(large), False: len(changed) - len(large)})
    assert min(sizes.values()) > 1000


@pytest.mark.slow
@pytest.mark.parametrize(("size", "share"), [(0.05, 0.05), (0.1, 0.4), (0.2, 0.85), (0.5, 0.95)])
def test_most_values_that_are_wrong_by_a_fifth_are_found(
    ecb: pd.DataFrame, size: float, share: float
) -> None:
    dice = random.Random(str(size))
    found = 0
    for row in dice.sample(range(moves.LEARN + moves.REACH, len(ecb)), 300):
        seen = as_seen(ecb, row)
        code = dice.choice([code for code in seen.columns if seen[code].notna().iloc[-1] and code != "EUR"])
        factor = 1 + size if dice.random() < 0.5 else 1 / (1 + size)
        newest = seen.index[-1].date()
        verdict = verdicts.jumps(times(seen, factor, code, len(seen) - 1), [newest], base="EUR")
        found += subjects(verdict) == {(newest, code)}
    assert found / 300 >= share
