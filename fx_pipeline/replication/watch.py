"""Notices that replication has failed: it compares Litestream's position with that of the store."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

BEHIND = 30.0
"""Seconds without a confirmation that the newest commits are in the store, after which this is a fault."""

ENDS, ENDS_WITHIN = 3, 300.0
"""Litestream's ending this often within so many seconds is a fault, even if it catches up each time."""


class Position(NamedTuple):
    """The newest transaction of a file that Litestream has read, and the newest that is in the store."""

    read: int
    stored: int


class _Aim(NamedTuple):
    transaction: int
    seen: float
    """When it was the newest one."""


class Watch:
    """Observes the replication of several files. Times are seconds of one monotonic clock."""

    def __init__(self, names: Iterable[str], now: float) -> None:
        self._aims = {name: _Aim(0, now) for name in names}
        self._confirmed = dict.fromkeys(self._aims, now)
        self._ends: deque[float] = deque(maxlen=ENDS)
        self._first = now
        self.positions: dict[str, int] = {}
        """The newest transaction of each file in the store."""

    def see(self, now: float, positions: Mapping[str, Position]) -> None:
        """Take note of positions. A file without one was not confirmed."""
        for name, (read, stored) in positions.items():
            aim = self._aims[name]
            if stored >= min(aim.transaction, read):
                self._confirmed[name] = now if stored >= read else aim.seen
                self._aims[name] = _Aim(read, now)
            self.positions[name] = stored

    def saw_end(self, now: float) -> None:
        """Take note that Litestream has ended by itself."""
        self._ends.append(now)

    def confirmed(self) -> float:
        """Return until when all commits are in the store."""
        return min(self._confirmed.values())

    def has_confirmed(self) -> bool:
        """Return whether each file was confirmed at least once."""
        return self.confirmed() > self._first

    def fault(self, now: float) -> str | None:
        """Return what is wrong, or None."""
        behind = now - self.confirmed()
        if behind > BEHIND:
            return f"For {behind:.0f} s, the newest commits have not been in the replica"
        if len(self._ends) == ENDS and now - self._ends[0] < ENDS_WITHIN:
            return f"Litestream has ended {ENDS} times within {now - self._ends[0]:.0f} s"
        return None
