"""How far each rate has moved, and which moves are too far by what the currency did before.

A currency's limit follows from its own moves on the LEARN stored days before, after what moved all currencies
alike (the base itself) is taken out: in a storm the limits are wide by themselves.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

REACH = 5
"""Days: what is further away says nothing of a day."""

LEARN = 120
"""Stored days from which a limit is learnt: about 82 of them move, the others are weekends."""

BLOCK = 15
"""Stored days that share what was learnt before the first of them."""

MIN_MOVES = 30
"""Moves without which no limit is learnt, and the cap serves."""

QUANTILE = 0.95
FACTOR = 9.0
"""A limit is FACTOR times the size that QUANTILE of a currency's moves stay within: one in twenty does not,
and a few wrong values among those learnt from change nothing."""

FLOOR = 0.02
CAP = float(np.log(2))
"""Limits, in log terms: at least 2 %, at most a factor of 2 in a day."""

SLIP = float(np.log(20))
"""A slipped decimal point or a wrong unit: further than any currency has moved in REACH days."""

FEW = 5
"""Currencies from which on their median move is taken for that of the base."""

Matrix = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


class Moves:
    """The moves in a frame, in log terms: each currency's without what moved all, and the base's as last."""

    def __init__(self, frame: pd.DataFrame, base: str) -> None:
        self.days = frame.index
        self.codes = [*frame.columns, base]
        self.logs: Numbers = np.log(frame.to_numpy(dtype=float))
        self.day = ordinals(frame.index)
        self._whole = {offset: self._differences(offset) for offset in range(1, REACH + 1)}
        self._own = {offset: self._without_common(offset) for offset in (1, 2)}
        self.learnt = self._learn()
        self.limits = np.clip(np.where(np.isnan(self.learnt), CAP, self.learnt), FLOOR, CAP)
        """How far each currency may move in a day, in log terms."""

    def _differences(self, offset: int) -> Numbers:
        """Each day's logs less those `offset` rows before; NaN where that is more than REACH days ago."""
        moves = np.full_like(self.logs, np.nan)
        if len(moves) > offset:
            moves[offset:] = self.logs[offset:] - self.logs[:-offset]
            moves[offset:][self.day[offset:] - self.day[:-offset] > REACH] = np.nan
        return moves

    def _without_common(self, offset: int) -> Numbers:
        """The moves from `offset` rows before, less that of the median currency of those that moved.

        That median is added as a last column. All are as of one day: chance moves with the root of time.
        """
        moves = self._whole[offset]
        ordered = np.sort(np.where(moves == 0, np.nan, moves), axis=1)  # NaN is last
        moved = np.isfinite(ordered).sum(axis=1)[:, None]
        middle = np.maximum(np.hstack([moved - 1, moved]) // 2, 0)
        common = np.take_along_axis(ordered, middle, axis=1).mean(axis=1, keepdims=True)
        common[moved < FEW] = np.nan
        own = np.hstack([np.where(moves == 0, 0.0, moves - np.nan_to_num(common)), common])
        own[offset:] /= np.sqrt(self.day[offset:] - self.day[:-offset])[:, None]
        return own

    def _learn(self) -> Numbers:
        """The limit of each currency on each day by what it did before; NaN where that is too little."""
        sizes = np.abs(self._own[1])
        starts = range(0, len(sizes), BLOCK)
        limits = [_limit(sizes[max(0, start - LEARN) : start]) for start in starts]
        # bfill: where a history begins, or is filled backwards, what came next is all there is.
        learnt = pd.DataFrame([*limits, _limit(sizes[-LEARN:])]).bfill().to_numpy()[:-1]
        return np.repeat(learnt, BLOCK, axis=0)[: len(sizes)]

    def has_neighbour(self) -> Matrix:
        """Whether a day has a stored day next to it that it can be compared with."""
        near = np.diff(self.day) <= REACH
        return np.asarray(np.append(False, near) | np.append(near, False))

    def beyond_limit(self) -> Matrix:
        """Where a value is further than its limit from most of the two days on either side."""
        return self._outvoted(self._own, self.limits)

    def slipped(self) -> Matrix:
        """Where a value is further than SLIP from most of the REACH days on either side; never the base."""
        found = self._outvoted(self._whole, np.full_like(self.logs, SLIP))
        return np.hstack([found, np.zeros((len(found), 1), dtype=bool)])

    def _outvoted(self, moves: Mapping[int, Numbers], limits: Numbers) -> Matrix:
        """Where more moves from the rows before and to those after are beyond the limit than within."""
        votes = np.zeros(limits.shape, dtype=np.int8)
        for offset, all_moves in moves.items():
            move = all_moves[offset:]
            beyond = np.where(np.abs(move) > limits[offset:], 1, -1)
            vote = np.where(np.isnan(move), 0, beyond).astype(np.int8)
            votes[offset:] += vote
            votes[: len(vote)] += vote
        return np.asarray(votes > 0)


def _limit(sizes: Numbers) -> Numbers:
    """The limit of each column by the sizes of its moves; NaN where it is not known for long enough."""
    moved = np.sort(np.where(sizes > 0, sizes, np.nan), axis=0)  # NaN is last
    count = (sizes > 0).sum(axis=0)
    limit = np.full(sizes.shape[1], np.nan)
    # What was there all the time and hardly moved is pegged.
    limit[np.isfinite(sizes).sum(axis=0) > LEARN / 2] = FLOOR
    known = count >= MIN_MOVES
    row = (QUANTILE * (count[known] - 1)).astype(int)
    limit[known] = moved[row, np.flatnonzero(known)] * FACTOR
    return limit


def ordinals(index: pd.Index) -> npt.NDArray[np.int64]:
    """The days of a DatetimeIndex, counted."""
    return np.asarray(index.to_numpy().astype("datetime64[D]").astype(np.int64))
