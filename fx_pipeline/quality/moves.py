"""Compute how far each rate has moved, and which moves are too far, given the currency's earlier moves.

A currency's limit follows from its own moves on the LEARN stored days before. A move that all currencies
share is a move of the base, and is subtracted first. So limits widen by themselves in turbulent times.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

REACH = 5
"""Days. Values further away than this are not compared."""

LEARN = 120
"""Stored days from which a limit is learned: rates move on about 82 of them; the others are weekends."""

BLOCK = 15
"""Stored days that share a limit, learned before the first of them."""

MIN_MOVES = 30
"""Moves needed to learn a limit. With fewer, the cap applies."""

QUANTILE = 0.95
FACTOR = 9.0
"""A limit is FACTOR times the QUANTILE of a currency's move sizes. The largest twentieth does not count,
so a few wrong values do not change the limit."""

FLOOR = 0.02
CAP = float(np.log(2))
"""Bounds of a limit, as logarithms: at least 2 %, at most a factor of 2 in a day."""

SLIP = float(np.log(20))
"""A shifted decimal point or a wrong unit: more than any currency has moved in REACH days."""

FEW = 5
"""With at least this many currencies, their median move counts as the move of the base."""

Matrix = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


class Moves:
    """The moves in a frame, as logarithms: each currency's without the common move, then the base's."""

    def __init__(self, frame: pd.DataFrame, base: str) -> None:
        self.days = frame.index
        self.codes = [*frame.columns, base]
        self.logs: Numbers = np.log(frame.to_numpy(dtype=float))
        self.day = ordinals(frame.index)
        self._whole = {offset: self._differences(offset) for offset in range(1, REACH + 1)}
        self._own = {offset: self._without_common(offset) for offset in (1, 2)}
        self.learned = self._learn()
        self.limits = np.clip(np.where(np.isnan(self.learned), CAP, self.learned), FLOOR, CAP)
        """How far each currency may move in a day, as a logarithm."""

    def _differences(self, offset: int) -> Numbers:
        """Return each row's logarithms minus those `offset` rows before; NaN beyond REACH days."""
        moves = np.full_like(self.logs, np.nan)
        if len(moves) > offset:
            moves[offset:] = self.logs[offset:] - self.logs[:-offset]
            moves[offset:][self.day[offset:] - self.day[:-offset] > REACH] = np.nan
        return moves

    def _without_common(self, offset: int) -> Numbers:
        """Return the moves from `offset` rows before, minus the median move of the currencies that moved.

        The median is added as the last column. All are scaled to one day, by the square root of time.

        For example, with moves of 0.5, 1, 1, 1.5, 2 and 0 %, five currencies moved and the median is 1 %. The
        result is -0.5, 0, 0, 0.5, 1, 0 and, as the base's, 1 %.
        """
        moves = self._whole[offset]
        ordered = np.sort(np.where(moves == 0, np.nan, moves), axis=1)  # NaN sorts last
        moved = np.isfinite(ordered).sum(axis=1)[:, None]
        middle = np.maximum(np.hstack([moved - 1, moved]) // 2, 0)
        common = np.take_along_axis(ordered, middle, axis=1).mean(axis=1, keepdims=True)
        common[moved < FEW] = np.nan
        own = np.hstack([np.where(moves == 0, 0.0, moves - np.nan_to_num(common)), common])
        own[offset:] /= np.sqrt(self.day[offset:] - self.day[:-offset])[:, None]
        return own

    def _learn(self) -> Numbers:
        """Return the limit of each currency on each day, from its earlier moves; NaN if there are too few."""
        sizes = np.abs(self._own[1])
        starts = range(0, len(sizes), BLOCK)
        limits = [_limit(sizes[max(0, start - LEARN) : start]) for start in starts]
        # bfill: at the start of a history, or one that is filled backwards, there are only later days.
        learned = pd.DataFrame([*limits, _limit(sizes[-LEARN:])]).bfill().to_numpy()[:-1]
        return np.repeat(learned, BLOCK, axis=0)[: len(sizes)]

    def has_neighbour(self) -> Matrix:
        """Return whether each day has a stored day next to it that is near enough to compare."""
        near = np.diff(self.day) <= REACH
        return np.asarray(np.append(False, near) | np.append(near, False))

    def beyond_limit(self) -> Matrix:
        """Return where a value is beyond its limit from most of the two days on either side."""
        return self._outvoted(self._own, self.limits)

    def slipped(self) -> Matrix:
        """Return where a value is beyond SLIP from most of the REACH days on either side; never the base."""
        found = self._outvoted(self._whole, np.full_like(self.logs, SLIP))
        return np.hstack([found, np.zeros((len(found), 1), dtype=bool)])

    def _outvoted(self, moves: Mapping[int, Numbers], limits: Numbers) -> Matrix:
        """Return where more moves, from rows before and to rows after, are beyond the limit than within."""
        votes = np.zeros(limits.shape, dtype=np.int8)
        for offset, all_moves in moves.items():
            move = all_moves[offset:]
            beyond = np.where(np.abs(move) > limits[offset:], 1, -1)
            vote = np.where(np.isnan(move), 0, beyond).astype(np.int8)
            votes[offset:] += vote
            votes[: len(vote)] += vote
        return np.asarray(votes > 0)


def _limit(sizes: Numbers) -> Numbers:
    """Return the limit of each column, from the sizes of its moves; NaN if there are too few."""
    moved = np.sort(np.where(sizes > 0, sizes, np.nan), axis=0)  # NaN sorts last
    count = (sizes > 0).sum(axis=0)
    limit = np.full(sizes.shape[1], np.nan)
    # A currency that was present but hardly moved is pegged.
    limit[np.isfinite(sizes).sum(axis=0) > LEARN / 2] = FLOOR
    known = count >= MIN_MOVES
    row = (QUANTILE * (count[known] - 1)).astype(int)
    limit[known] = moved[row, np.flatnonzero(known)] * FACTOR
    return limit


def ordinals(index: pd.Index) -> npt.NDArray[np.int64]:
    """Return the days of a DatetimeIndex as numbers."""
    return np.asarray(index.to_numpy().astype("datetime64[D]").astype(np.int64))
