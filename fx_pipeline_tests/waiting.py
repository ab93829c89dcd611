"""Waiting for another thread or process, as long as a busy machine may need."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 300
"""Seconds until a test gives up. A quiet machine needs a few; only a test that fails waits this long."""

T = TypeVar("T")


def wait_for(look: Callable[[], T], is_good: Callable[[T], object] = bool, *, pause: float = 0.02) -> T:
    """Call `look` until its value is good, and return that value."""
    deadline = time.monotonic() + PATIENCE
    while not is_good(value := look()):
        _check(deadline, value)
        time.sleep(pause)
    return value


async def wait_for_async(look: Callable[[], T], is_good: Callable[[T], object] = bool) -> T:
    """Call `look` until its value is good, and return that value. The event loop runs in between."""
    deadline = time.monotonic() + PATIENCE
    while not is_good(value := look()):
        _check(deadline, value)
        await asyncio.sleep(0.01)
    return value


def _check(deadline: float, value: object) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError(f"Still not good after {PATIENCE} seconds: {value!r}")
