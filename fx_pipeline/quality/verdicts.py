"""What makes stored rates look wrong, judged from the rates themselves: no clock, no file, no list of events.

A frame of rates has one row for each stored day (a DatetimeIndex, oldest first) and one column for each
currency; a currency without a value that day is NaN. Each judgement is made of all dates at once, and each
rule is about what a wrong value looks like, not about how markets may move. Days are compared with the stored
days around them, at most REACH days away; a date that has none is not judged.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from fx_pipeline.quality.moves import MIN_MOVES, REACH, Matrix, Moves, ordinals
from fx_pipeline.rates import MAJORS

LONGEST_REST = 7
"""Days that any currency may stand still: the longest holidays and a weekend."""

PEG = 31
"""Days of standing still after which a currency is taken for pegged, now or later."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: on which day, with which currency, and what; None where it concerns all.

    `grave`: someone has to look now. Two findings with one `subject` are the same news.
    """

    text: str
    date: dt.date | None = None
    currency: str | None = None
    grave: bool = True
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, among how many, and what else is to be said. Nothing found is a pass."""

    findings: tuple[Finding, ...]
    judged: int
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    @property
    def grave(self) -> bool:
        """Whether something is so wrong that someone has to look now."""
        return any(finding.grave for finding in self.findings)

    def without_alarm(self) -> "Verdict":
        """The same findings, none of them grave."""
        return replace(self, findings=tuple(replace(finding, grave=False) for finding in self.findings))


def incomplete(
    frame: pd.DataFrame, dates: Iterable[dt.date], *, base: str, symbols: Sequence[str] = ()
) -> Verdict:
    """Currencies that a date lacks and the stored days around it have, before and after where both exist.

    With `symbols`, those were asked for, and each must be there. Grave: a currency that was asked for, one of
    MAJORS, or more than a tenth of all.
    """
    frame = frame.drop(columns=base, errors="ignore")
    if symbols:
        frame = frame.reindex(columns=[code for code in symbols if code != base])
    present = ~np.isnan(frame.to_numpy(dtype=float))
    before, has_before = _around(present, frame.index, range(1, REACH + 1))
    after, has_after = _around(present, frame.index, range(-1, -REACH - 1, -1))
    both = (has_before & has_after)[:, None]
    expected = np.where(both, before & after, before | after)
    wanted = np.ones_like(present) if symbols else expected
    chosen = _rows(frame.index, dates)
    alone = chosen & ~has_before & ~has_after
    findings = []
    codes = np.array(frame.columns)
    for row in np.flatnonzero((wanted & ~present).any(axis=1) & chosen):
        missing = codes[wanted[row] & ~present[row]]
        many = len(missing) > 0.1 * wanted[row].sum() and not symbols
        for code in missing:
            known = bool(expected[row][codes == code][0])
            what = "is missing, and the days around have it" if known else "was asked for and is not there"
            findings.append(
                Finding(
                    f"{code} {what}",
                    _date(frame.index[int(row)]),
                    code,
                    grave=known and (bool(symbols) or many or code in MAJORS),
                    subject=code,
                )
            )
    judged = int(chosen.sum() if symbols else (chosen & ~alone).sum())
    return Verdict(tuple(findings), judged, _not_judged(int(chosen.sum()) - judged))


def unequal_base(frame: pd.DataFrame, dates: Iterable[dt.date], *, base: str) -> Verdict:
    """Dates on which the base is not exactly 1. Where it is not given, there is nothing to judge."""
    if base not in frame:
        return Verdict((), 0)
    values = frame[base][_rows(frame.index, dates)].dropna()
    findings = [
        Finding(f"{base} is {rate!r} and must be 1", _date(day), base, subject=f"{day.date()} {base}")
        for day, rate in values[values != 1.0].items()
        if isinstance(day, pd.Timestamp)
    ]
    return Verdict(tuple(findings), len(values))


def jumps(frame: pd.DataFrame, dates: Iterable[dt.date], *, base: str) -> Verdict:
    """Values that are too far from most of the stored days next to them.

    A value is held against those of the two stored days before and after; it is a jump where more of them are
    beyond the limit than within. So the newest day is a jump until later ones agree with it, and the day that
    follows a wrong value is none. Where limits cannot be learnt yet, CAP is the limit. A move beyond SLIP is
    held against REACH days on either side.

    The move of the median currency is judged like a currency of its own, under the name of the base: an
    answer that is wrong as a whole.
    """
    moves = Moves(frame.drop(columns=base, errors="ignore"), base)
    found = moves.beyond_limit() | moves.slipped()
    chosen = _rows(frame.index, dates)
    compared = chosen & moves.has_neighbour()
    rows, columns = np.nonzero(found & compared[:, None])
    findings = [_jump(moves, int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
    judged = int(compared.sum())
    notes = [_not_judged(int(chosen.sum()) - judged)]
    if judged and bool(np.isnan(moves.learnt[compared]).all()):
        notes.append(
            f"There is too little history to learn limits from ({MIN_MOVES} moves): a factor of 2 is."
        )
    return Verdict(tuple(findings), judged, " ".join(filter(None, notes)))


def rejected(rejects: pd.DataFrame, judged: int) -> Verdict:
    """Values that were not stored. Columns of `rejects`: date, currency, value, reason."""
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
    """Values replaced by one that differs by `limit` or more (0.01 is 1 %).

    Columns of `revisions`: date, currency, old, new.
    """
    change = revisions["new"] / revisions["old"] - 1
    # A change of exactly the limit counts, whatever the last bit of the division says.
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
    """Whether the newest stored day is more than `max_age_days` days old."""
    if newest is None:
        return Verdict((Finding("no day is stored", subject="none"),), 0)
    age = (today - newest).days
    if age <= max_age_days:
        return Verdict((), 1, f"The newest day is {newest}, {age} days old.")
    text = f"the newest day is {age} days old, and {max_age_days} are allowed"
    return Verdict((Finding(text, newest, subject=str(newest)),), 1)


def gaps(ranges: Iterable[tuple[dt.date, dt.date]], judged: int, *, closed_from: dt.date) -> Verdict:
    """Ranges of days (first, last) that are missing between stored ones.

    Grave from `closed_from` on: the daily run should have closed it.
    """
    findings = [
        Finding(
            f"nothing is stored of {first}"
            + (f" to {last}, {(last - first).days + 1} days" if last > first else ""),
            first,
            grave=last >= closed_from,
            subject=f"{first}",
        )
        for first, last in ranges
    ]
    return Verdict(tuple(findings), judged)


def standing(frame: pd.DataFrame, *, base: str) -> list[str]:
    """The currencies that have not moved on the last LONGEST_REST days: those whose history `stale` needs."""
    if frame.empty:
        return []
    week = frame.index > frame.index[-1] - pd.Timedelta(days=LONGEST_REST + 1)
    values = frame.to_numpy(dtype=float)[week]
    still = ((values == values[-1]) | np.isnan(values)).all(axis=0) & ~np.isnan(values[-1])
    return [str(code) for code in frame.columns[still] if code != base]


def stale(histories: Mapping[str, pd.Series], currencies: int) -> Verdict:
    """Currencies that have stood still for more than twice as long as they ever did, of the `standing` ones.

    `histories` has the whole history of each of them. One that moved fewer than MIN_MOVES times, or stood
    still for PEG days before, is pegged and may stand still. Grave: one of MAJORS, or half of all
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
            grave=many or code in MAJORS,
            subject=code,
        )
        for code, (now, longest, newest) in found.items()
    ]
    return Verdict(tuple(findings), currencies)


def _jump(moves: Moves, row: int, column: int) -> Finding:
    """What is said of a jump: the move from the nearest day that has a value."""
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
        f"{code} is {np.exp(values[row]):.10g}, and on {_date(moves.days[other])} "
        f"{np.exp(values[other]):.10g}: {move:+,.1%}, where {limit:.1%} a day is the limit",
        date,
        code,
        subject=subject,
    )


def _around(present: Matrix, index: pd.Index, offsets: Iterable[int]) -> tuple[Matrix, Matrix]:
    """What is present on any of the rows before (after, for negative offsets), and whether there is one."""
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
    """For how many days each value stood, the newest last; a hole of more than REACH days ends its time."""
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
    return f"Not judged, having no stored day within {REACH} days: {count}." if count else ""
