"""What the requests of one run have in common: how long all of them wait, and when the run stops asking.

A provider that is down or limits requests does so for every day. One thread that is asked to wait makes all
of them wait, and requests without an answer are counted together, so that an outage costs the run about as
many calls as one day would.
"""

import datetime as dt
import random
import threading
import time
from dataclasses import dataclass

from fx_pipeline.fixer.errors import FixerError, LongWaitRequested, ProviderDown

UNANSWERED = 8
"""Unanswered requests, one after the other, that stop a run. With the waits between them that is a minute."""

LONGEST_WAIT = 60.0
"""Seconds of a Retry-After that a run waits; a longer one stops it."""

LONGEST_BACKOFF = 30.0
"""Seconds between two requests to a provider that does not answer."""


class Stopped(Exception):
    """The run is over: no further request may be made."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The permission to make one request. `probe`: no other is made until its outcome is known."""

    began: float
    probe: bool


class Pace:
    """Lets requests through: all of them while the provider answers, one by one after it did not.

    Waits between unanswered requests double from `backoff` seconds, with jitter. After `patience` of them in
    a row, or when the provider asks for a wait longer than LONGEST_WAIT, it stops and `reason` says why.
    Requests that were under way together count once.

    `outage`: the provider did not answer an earlier run. The first request is then made alone, and stops the
    run if it is not answered either.

    Safe for use by many threads.
    """

    def __init__(self, backoff: float = 0.5, patience: int = UNANSWERED, *, outage: bool = False) -> None:
        self._backoff = backoff
        self._patience = patience
        self._changed = threading.Condition()
        self._in_a_row = patience - 1 if outage else 0
        self._requests = 0
        self._failed_at = 0.0
        self._resume_at = 0.0
        self._asked_until = 0.0
        self._probing = False
        self.over = False
        self.reason: Exception | None = None

    @property
    def unanswered(self) -> bool:
        """Whether the last request that was made had no answer."""
        return self._requests > 0

    def begin(self) -> Turn:
        """Wait until one more request may be made. Raises Stopped if none may."""
        with self._changed:
            while not self.over:
                left = max(self._resume_at, self._asked_until) - time.monotonic()
                if left <= 0 and not self._probing:
                    break
                self._changed.wait(left if left > 0 else None)
            if self.over:
                raise Stopped
            self._probing = self._in_a_row > 0
            return Turn(time.monotonic(), self._probing)

    def end(self, turn: Turn, error: FixerError | None) -> None:
        """Note what a request came to. An error that is not `retryable` is an answer like any other."""
        with self._changed:
            self._release(turn)
            if error is None or not error.retryable:
                self._in_a_row = self._requests = 0
                self._resume_at = 0.0
            else:
                self._unanswered(turn, error)

    def cancel(self, turn: Turn) -> None:
        """Give back a turn for which no request was made."""
        with self._changed:
            self._release(turn)

    def wait(self, seconds: float) -> None:
        """Wait so long, or until the run is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.over, seconds)

    def stop(self, reason: Exception | None = None) -> None:
        """Let no further request through. The reason of the first call counts."""
        with self._changed:
            self._stop(reason)

    def _release(self, turn: Turn) -> None:
        if turn.probe:
            self._probing = False
        self._changed.notify_all()

    def _unanswered(self, turn: Turn, error: FixerError) -> None:
        now = time.monotonic()
        self._requests += 1
        if turn.began >= self._failed_at:
            self._in_a_row += 1
            self._failed_at = now
            self._resume_at = now + self._backoff_time()
        if error.retry_after is not None:
            self._asked_until = max(self._asked_until, now + min(error.retry_after, LONGEST_WAIT))
            if error.retry_after > LONGEST_WAIT:
                at = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=error.retry_after)
                self._stop(LongWaitRequested.until(at, error))
        if self._in_a_row >= self._patience:
            self._stop(ProviderDown.after(self._requests, error))

    def _backoff_time(self) -> float:
        """As urllib3 has it: the first repetition follows immediately."""
        if self._in_a_row < 2:
            return 0.0
        doubled = self._backoff * 2.0 ** (self._in_a_row - 1)
        return min(LONGEST_BACKOFF, doubled + random.uniform(0, self._backoff))  # noqa: S311  # only jitter

    def _stop(self, reason: Exception | None) -> None:
        if not self.over:
            self.over, self.reason = True, reason
            self._changed.notify_all()
