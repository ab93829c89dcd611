"""The pace that all requests of one run share: how long they wait, and when the run stops.

A provider that is down or limits requests does so for every day. So a wait that one thread must observe
applies to all threads, and failed requests are counted together. An outage then costs a run about as many
calls as a single day would.
"""

import datetime as dt
import random
import threading
import time
from dataclasses import dataclass

from fx_pipeline.clock import utc_now
from fx_pipeline.fixer.errors import FixerError, LongWaitRequested, ProviderDown

UNANSWERED = 8
"""Failed requests in a row that stop a run. With the waits between them, that takes a minute."""

LONGEST_WAIT = 60.0
"""Maximum Retry-After in seconds that a run waits. A longer one stops it."""

LONGEST_BACKOFF = 30.0
"""Maximum seconds between two requests to a provider that is not responding."""


class Stopped(Exception):
    """The run is over. No further request may be made."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The permission to make one request. `probe`: no other is made until its result is known."""

    began: float
    probe: bool


class Pace:
    """Admits requests: concurrently while the provider responds, one by one after a failure.

    Waits between failed requests double from `backoff` seconds, with jitter. After `patience` failures in a
    row, or if the provider asks for a wait longer than LONGEST_WAIT, the run stops and `reason` says why.
    Requests in flight together count once.

    `outage`: the provider did not respond to an earlier run. Only one request is then made first, and it
    stops the run if it fails too.

    Safe for concurrent use.
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

    def begin(self) -> Turn:
        """Wait until one more request may be made. Raise Stopped if none may."""
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
        """Note the result of a request. An error that is not `retryable` counts as a response."""
        with self._changed:
            self._release(turn)
            if error is None or not error.retryable:
                self._in_a_row = self._requests = 0
                self._resume_at = 0.0
            else:
                self._failed(turn, error)

    def cancel(self, turn: Turn) -> None:
        """Give back a turn for which no request was made."""
        with self._changed:
            self._release(turn)

    def wait(self, seconds: float) -> None:
        """Wait for this time, or until the run is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.over, seconds)

    def stop(self, reason: Exception | None = None) -> None:
        """Admit no further request. The reason of the first call counts."""
        with self._changed:
            self._stop(reason)

    def _release(self, turn: Turn) -> None:
        if turn.probe:
            self._probing = False
        self._changed.notify_all()

    def _failed(self, turn: Turn, error: FixerError) -> None:
        now = time.monotonic()
        self._requests += 1
        if turn.began >= self._failed_at:
            self._in_a_row += 1
            self._failed_at = now
            self._resume_at = now + self._backoff_time()
        if error.retry_after is not None:
            self._asked_until = max(self._asked_until, now + min(error.retry_after, LONGEST_WAIT))
            if error.retry_after > LONGEST_WAIT:
                at = utc_now() + dt.timedelta(seconds=error.retry_after)
                self._stop(LongWaitRequested.until(at, error))
        if self._in_a_row >= self._patience:
            self._stop(ProviderDown.after(self._requests, error))

    def _backoff_time(self) -> float:
        """Return the wait before the next request. As in urllib3, the first retry follows immediately."""
        if self._in_a_row < 2:
            return 0.0
        doubled = self._backoff * 2.0 ** (self._in_a_row - 1)
        return min(LONGEST_BACKOFF, doubled + random.uniform(0, self._backoff))  # noqa: S311  # only jitter

    def _stop(self, reason: Exception | None) -> None:
        if not self.over:
            self.over, self.reason = True, reason
            self._changed.notify_all()
