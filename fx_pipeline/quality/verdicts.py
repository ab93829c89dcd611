"""Judge whether stored rates look wrong, from the rates only: no clock, no file, no list of events.

A frame of rates has one row per stored day (a DatetimeIndex, oldest first) and one column per currency. A
currency without a value that day is NaN. Each function judges all dates in one pass. Its rule describes a
wrong value, not a market. Days are compared with the stored days at most REACH days away. A date without any
is not judged.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fx_pipeline.quality.moves import MIN_MOVES, REACH, Matrix, Moves, ordinals
from fx_pipeline.rates import MAJORS, counted

LONGEST_REST = 7
"""Days that any currency may be unchanged: the longest holidays and a weekend."""

PEG = 31
"""A currency that was unchanged for this many days counts as pegged, now and later."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, with its day and currency; None if it concerns all of them.

    A `serious` finding needs attention now. Two findings with the same `subject` report the same problem.
    """

    text: str
    date: dt.date | None = None
    currency: str | None = None
    serious: bool = True
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings, the number of values or days judged, and a note. No findings is a pass."""

    findings: tuple[Finding, ...]
    judged: int
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether there are no findings."""
        return not self.findings

    @property
    def serious(self) -> bool:
        """Whether any finding needs attention now."""
        return any(finding.serious for finding in self.findings)

    def as_warning(self) -> "Verdict":
        """Return the same findings, none of them serious."""
        return replace(self, findings=tuple(replace(finding, serious=False) for finding in self.findings))


def incomplete(
    frame: pd.DataFrame, dates: Iterable[dt.date], *, base: str, symbols: Sequence[str] = ()
) -> Verdict:
    """Judge whether a date lacks a currency that the stored days around it have.

    The currency must be present both before and after, if there are days on both sides. With `symbols`, only
    these were requested, and each must be present. Serious: a requested currency, one of MAJORS, or more than
    a tenth of all.
    """
    frame = frame.drop(columns=base, errors="ignore")
    if symbols:
        frame = frame.reindex(columns=[code for code in symbols if code != base])
    present = ~np.isnan(frame.to_numpy(dtype=float))
    before, has_before = _around(present, frame.index, range(1, REACH + 1))
    after, has_after = _around(present, frame.index, range(-1, -REACH - 1, -1))
    both = (has_before & has_after)[:, None]
    expected = np.where(both, before & after, before | after)
    required = np.ones_like(present) if symbols else expected
    chosen = _rows(frame.index, dates)
    isolated = chosen & ~has_before & ~has_after
    findings = []
    codes = np.array(frame.columns)
    for row in np.flatnonzero((required & ~present).any(axis=1) & chosen):
        missing = codes[required[row] & ~present[row]]
        many = len(missing) > 0.1 * required[row].sum() and not symbols
        for code in missing:
            known = bool(expected[row][codes == code][0])
            what = "is missing, but the days around have it" if known else "was requested but is missing"
            findings.append(
                Finding(
                    f"{code} {what}",
                    _date(frame.index[int(row)]),
                    code,
                    serious=known and (bool(symbols) or many or code in MAJORS),
                    subject=code,
                )
            )
    judged = int(chosen.sum() if symbols else (chosen & ~isolated).sum())
    return Verdict(tuple(findings), judged, _not_judged(int(chosen.sum()) - judged))


def unequal_base(frame: pd.DataFrame, dates: Iterable[dt.date], *, base: str) -> Verdict:
    """Judge whether the base is exactly 1. Without a column for it there is nothing to judge."""
    if base not in frame:
        return Verdict((), 0)
    values = frame[base][_rows(frame.index, dates)].dropna()
    findings = [
        Finding(f"{base} is {rate!r} but must be 1", _date(day), base, subject=f"{day.date()} {base}")
        for day, rate in values[values != 1.0].items()
        if isinstance(day, pd.Timestamp)
    ]
    return Verdict(tuple(findings), len(values))


def jumps(frame: pd.DataFrame, dates: Iterable[dt.date], *, base: str) -> Verdict:
    """Judge whether a value differs too much from most of the stored days next to it.

    A value is compared with the two stored days before and the two after. It is a jump if more of them are
    beyond the limit than within it. So the newest day is a jump until later days confirm it, and the day
    after a wrong value is not one. Until limits can be learned, CAP is the limit. A move beyond SLIP is
    compared with REACH days on either side.

    The move of the median currency is judged like another currency, under the name of the base. It shows a
    response that is wrong as a whole.
    """
    moves = Moves(frame.drop(columns=base, errors="ignore"), base)
    found = moves.beyond_limit() | moves.slipped()
    chosen = _rows(frame.index, dates)
    compared = chosen & moves.has_neighbour()
    rows, columns = np.nonzero(found & compared[:, None])
    findings = [_jump(moves, int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
    judged = int(compared.sum())
    notes = [_not_judged(int(chosen.sum()) - judged)]
    if judged and bool(np.isnan(moves.learned[compared]).all()):
        notes.append(f"The limit is a factor of 2, because learning one takes {MIN_MOVES} moves.")
    return Verdict(tuple(findings), judged, " ".join(filter(None, notes)))


def rejected(rejects: pd.DataFrame, judged: int) -> Verdict:
    """Report values that were rejected. Columns of `rejects`: date, currency, value, reason."""
    findings = [
        Finding(
            f"{row.currency} was {row.value}: {row.reason}",
            dt.date.fromisoformat(str(row.date)),
            str(row.currency),
            subject=f"{row.currency} {row.reason}",
        )
        for row in rejects.itertuples(index=False)
    ]
    return Verdict(tuple(findings), judged)


def revised(revisions: pd.DataFrame, judged: int, *, limit: float) -> Verdict:
    """Judge whether a value was replaced by one that differs by `limit` or more (0.01 is 1 %).

    Columns of `revisions`: date, currency, old, new.
    """
    change = revisions["new"] / revisions["old"] - 1
    # A change of exactly the limit counts, despite rounding in the division.
    large = revisions.assign(change=change)[change.abs() >= limit * (1 - 1e-9)]
    findings = [
        Finding(
            f"{row.currency} was {row.old!r} and is now {row.new!r}: {row.change:+.2%}",
            dt.date.fromisoformat(str(row.date)),
            str(row.currency),
            subject=f"{row.date} {row.currency} {row.new!r}",
        )
        for row in large.itertuples(index=False)
    ]
    return Verdict(tuple(findings), judged, f"Values replaced: {len(revisions)}." if len(revisions) else "")


def outdated(newest: dt.date | None, *, today: dt.date, max_age_days: int) -> Verdict:
    """Judge whether the newest stored day is more than `max_age_days` days old."""
    if newest is None:
        return Verdict((Finding("no day is stored", subject="none"),), 0)
    age = (today - newest).days
    if age <= max_age_days:
        return Verdict((), 1, f"The newest day is {newest}, {counted(age, 'day')} old.")
    text = f"the newest day is {counted(age, 'day')} old; at most {max_age_days} are allowed"
    return Verdict((Finding(text, newest, subject=str(newest)),), 1)


def gaps(ranges: Iterable[tuple[dt.date, dt.date]], judged: int, *, closed_from: dt.date) -> Verdict:
    """Report ranges of missing days (first, last).

    A gap at or after `closed_from` is serious: the daily run should have filled it.
    """
    findings = [
        Finding(
            f"{first} is missing"
            if first == last
            else f"{first} to {last} are missing, {(last - first).days + 1} days",
            first,
            serious=last >= closed_from,
            subject=f"{first}",
        )
        for first, last in ranges
    ]
    return Verdict(tuple(findings), judged)


def unchanged(frame: pd.DataFrame, *, base: str) -> list[str]:
    """Return the currencies that have not moved in the last LONGEST_REST days, for `stale`."""
    if frame.empty:
        return []
    week = frame.index > frame.index[-1] - pd.Timedelta(days=LONGEST_REST + 1)
    values = frame.to_numpy(dtype=float)[week]
    still = ((values == values[-1]) | np.isnan(values)).all(axis=0) & ~np.isnan(values[-1])
    return [str(code) for code in frame.columns[still] if code != base]


def stale(histories: Mapping[str, pd.Series], currencies: int) -> Verdict:
    """Judge whether a currency has been unchanged for more than twice as long as ever before.

    `histories` has the whole history of each `unchanged` currency. One that moved fewer than MIN_MOVES times,
    or was unchanged for PEG days before, counts as pegged and passes. Serious: one of MAJORS, or half of all
    `currencies`.
    """
    found = {}
    for code, history in histories.items():
        *earlier, now = _rests(history)
        longest = max(earlier, default=0)
        if len(earlier) >= MIN_MOVES and longest <= PEG and now > max(LONGEST_REST, 2 * longest):
            found[code] = (now, longest, _date(history.index[-1]))
    many = 2 * len(found) >= currencies
    findings = [
        Finding(
            f"{code} has not moved for {now} days; the longest before was {longest}",
            newest,
            code,
            serious=many or code in MAJORS,
            subject=code,
        )
        for code, (now, longest, newest) in found.items()
    ]
    return Verdict(tuple(findings), currencies)


def _jump(moves: Moves, row: int, column: int) -> Finding:
    """Return the finding for a jump: the move from the nearest day that has a value."""
    date, code, limit = (
        _date(moves.days[row]),
        moves.codes[column],
        float(np.expm1(moves.limits[row, column])),
    )
    subject = f"{date} {code}"
    if column == len(moves.codes) - 1:
        return Finding(f"all currencies moved together against {code}", date, code, subject=subject)
    values = moves.logs[:, column]
    away = np.where(np.isnan(values), np.inf, np.abs(moves.day - moves.day[row]))
    away[row] = np.inf
    other = int(np.argmin(away))
    move = float(np.expm1(values[row] - values[other]))
    return Finding(
        f"{code} is {np.exp(values[row]):.10g}, but was {np.exp(values[other]):.10g} on "
        f"{_date(moves.days[other])}: {move:+,.1%}, with a limit of {limit:.1%} a day",
        date,
        code,
        subject=subject,
    )


def _around(present: Matrix, index: pd.Index, offsets: Iterable[int]) -> tuple[Matrix, Matrix]:
    """Return what is present on a row before (or after, for negative offsets), and if there is one."""
    found = np.zeros_like(present)
    exists = np.zeros(len(present), dtype=bool)
    day = ordinals(index)
    for offset in offsets:
        if len(present) <= abs(offset):
            break
        here, there = (
            (slice(offset, None), slice(None, -offset))
            if offset > 0
            else (
                slice(None, offset),
                slice(-offset, None),
            )
        )
        near = np.abs(day[here] - day[there]) <= REACH
        found[here] |= present[there] & near[:, None]
        exists[here] |= near
    return found, exists


def _rests(series: pd.Series) -> list[int]:
    """Return how many days each value lasted, the newest last. A hole of more than REACH days ends it."""
    values = series.dropna()
    day = ordinals(values.index)
    ends = np.flatnonzero((np.diff(values.to_numpy()) != 0) | (np.diff(day) > REACH))
    first = np.append(0, ends + 1)
    last = np.append(ends, len(day) - 1)
    return [int(days) for days in day[last] - day[first] + 1]


def _rows(index: pd.Index, dates: Iterable[dt.date]) -> Matrix:
    return np.asarray(index.isin(pd.DatetimeIndex(list(dates))))


def _date(day: object) -> dt.date:
    return pd.Timestamp(day).date()  # type: ignore[arg-type]


def _not_judged(count: int) -> str:
    return f"Not judged, without a stored day within {REACH} days: {count}." if count else ""
