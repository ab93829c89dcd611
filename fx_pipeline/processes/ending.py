"""How a process that can be the first of a container ends: in order, with exit code 0, within a limit.

The kernel drops signals to the first process of a container that have no handler. So each role sets one
before it imports anything that takes long.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Timer
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)

LIMIT = 9.0
"""Seconds until a process has ended after a signal. Containers are usually given 10."""

SERVER_LIMIT = 4.0
"""The same for a server that uvicorn stops. It gives open requests 5 seconds, and then raises the signal
again."""

FINAL = 3
"""The exit code of a process that must not be started again: another host has taken over."""

_ending = Event()


def end_on_signals(first: Callable[[], None] = lambda: None, *, limit: float = LIMIT) -> None:
    """Let SIGINT or SIGTERM call `first` and raise SystemExit(0). Call this in the main thread.

    Once the process is ending, further signals do nothing. After `limit` seconds, it ends even if something
    hangs. A shell starts programs in the background with SIGINT ignored: this replaces that, too.
    """

    def end(number: int, frame: FrameType | None) -> None:
        end_within_limit(limit)
        first()
        raise SystemExit(0)

    for number in SIGNALS:
        signal.signal(number, end)


def end_within_limit(limit: float = LIMIT) -> None:
    """Ignore further signals, and end the process after `limit` seconds if it has not ended by itself."""
    _ending.set()
    for number in SIGNALS:
        # Not SIG_IGN, which new processes would inherit.
        signal.signal(number, lambda *_: None)
    timer = Timer(limit, _leave)
    timer.daemon = True
    timer.start()


def _leave() -> None:
    if not _ending.is_set():
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # a closed terminal
            stream.flush()
    os._exit(0)


# Registered before those of imports that follow, it is called after them. What follows it would take gRPC's
# destructors up to 5 seconds.
atexit.register(_leave)
