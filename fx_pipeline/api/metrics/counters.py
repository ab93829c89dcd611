"""Counts of requests, in one memory-mapped file per worker, which any process of the server can sum.

A worker only ever adds to its own file. A worker that replaces a killed one continues the file that it left,
so no count goes back while the server runs, and there are never more files than workers. The file is locked
as long as its worker lives, which distinguishes the connections of a living worker from those of a dead one.
"""

import fcntl
import functools
import logging
import mmap
import os
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "_FX_COUNTERS"
"""The environment variable with which `serve` names the folder of the files to its workers."""

BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
"""Upper bounds of the histogram's buckets, in seconds. A cached response takes less than the first."""

_BOUNDS = tuple(round(seconds * 1e9) for seconds in BUCKETS)
_NANOSECONDS = len(BUCKETS) + 1
"""Where a record has its sum of durations, in words after the buckets."""
_BYTES = _NANOSECONDS + 1
_KEY_WORDS = 8
_KEY_BYTES = _KEY_WORDS * 8
_RECORD_WORDS = _KEY_WORDS + _BYTES + 1
_RECORDS, _CONNECTIONS, _HEADER_WORDS = 0, 1, 2
"""The first words of a file: the number of its records, and the open connections of its worker."""
MOST_RECORDS = 1_000
"""More than there are operations, statuses and cache results together. The rest is counted as other."""
SIZE = (_HEADER_WORDS + MOST_RECORDS * _RECORD_WORDS) * 8


class Kind(NamedTuple):
    """What is counted together. Each has few values: a path never becomes a label."""

    operation: str
    status: int
    cache: str
    """`hit`, `miss`, or `bypass` for a request that is never cached."""


@dataclass(slots=True)
class Sums:
    """The counted requests of one kind."""

    buckets: list[int] = field(default_factory=lambda: [0] * _NANOSECONDS)
    """The number of requests in each bucket. The last is for those above all bounds."""
    nanoseconds: int = 0
    size: int = 0
    """Bytes of the bodies."""

    def add(self, values: Sequence[int]) -> None:
        """Add the values of a record."""
        self.buckets = [mine + other for mine, other in zip(self.buckets, values, strict=False)]
        self.nanoseconds += values[_NANOSECONDS]
        self.size += values[_BYTES]


@dataclass(slots=True)
class Totals:
    """The sum over all workers."""

    requests: dict[Kind, Sums] = field(default_factory=lambda: defaultdict(Sums))
    connections: int = 0
    workers: int = 0
    """Living ones."""

    def add(self, words: Sequence[int], *, alive: bool) -> None:
        """Add the words of a worker's file."""
        for kind, values in _records(words):
            self.requests[kind].add(values)
        if alive:
            self.workers += 1
            self.connections += words[_CONNECTIONS]


class Counters:
    """The counts of this worker: in a file in `folder`, or only in memory. For one thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._map = mmap.mmap(-1, SIZE)
        if folder is not None:
            try:
                self._map = mmap.mmap(_own_file(folder), SIZE)
            except OSError as error:
                # A full disk, for example, is no reason not to serve.
                logger.warning("The requests of this worker are missing from /-/metrics: %s.", error)
        # A view of 64-bit words reads and writes each in one step, unlike `struct`.
        self._words = memoryview(self._map).cast("Q")
        self._words[_CONNECTIONS] = 0
        self.add = _adding(self._words)
        """Counts a request: its record, the `perf_counter_ns` at which it started, the bytes of its body.

        Call it before the last part of the response is sent: then no response is sent without being counted.
        """
        self._known = {
            kind: _HEADER_WORDS + number * _RECORD_WORDS + _KEY_WORDS
            for number, (kind, _) in enumerate(_records(self._words))
        }

    def record(self, operation: str, status: int, cache: str) -> int:
        """Return the place of the record for this kind of request, for `add`."""
        kind = Kind(operation, status, cache)
        found = self._known.get(kind)
        return self._make(kind) if found is None else found

    def set_connections(self, number: int) -> None:
        """Record the number of open connections."""
        self._words[_CONNECTIONS] = number

    def totals(self) -> Totals:
        """Return the sum over all workers. Without a folder, this is the only one."""
        if self._folder is not None:
            return totals_in(self._folder)
        totals = Totals()
        totals.add(self._words.tolist(), alive=True)
        return totals

    def _make(self, kind: Kind) -> int:
        number = self._words[_RECORDS]
        if number >= MOST_RECORDS - 1:
            kind, number = Kind("other", 0, "bypass"), MOST_RECORDS - 1
            if kind in self._known:
                return self._known[kind]
        start = _HEADER_WORDS + number * _RECORD_WORDS
        key = " ".join(map(str, kind)).encode()[:_KEY_BYTES]
        self._map[start * 8 : start * 8 + _KEY_BYTES] = key.ljust(_KEY_BYTES)
        self._words[_RECORDS] = number + 1  # last, so that no reader sees half a key
        self._known[kind] = start + _KEY_WORDS
        return start + _KEY_WORDS


def _adding(words: "memoryview[int]") -> Callable[[int, int, int], None]:
    # Each cached response is counted. A function with its own variables takes less time than a method.
    shortest, bounds, nanoseconds, size_at, now = _BOUNDS[0], _BOUNDS, _NANOSECONDS, _BYTES, perf_counter_ns

    def add(record: int, started: int, size: int) -> None:
        elapsed = now() - started
        words[record if elapsed <= shortest else record + bisect_left(bounds, elapsed)] += 1
        words[record + nanoseconds] += elapsed
        words[record + size_at] += size

    return add


def totals_in(folder: Path) -> Totals:
    """Return the sum over the files of all workers, living and dead."""
    totals = Totals()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < SIZE:
                continue  # just being made
            alive = not _locks(file.fileno(), fcntl.LOCK_SH)
            with (
                mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
                view.cast("Q") as words,
            ):
                totals.add(words.tolist(), alive=alive)
    return totals


@functools.cache
def of_process() -> Counters:
    """Return the counters of this process, in the folder that `serve` has named to its workers."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Counters(Path(folder) if folder else None)


def _own_file(folder: Path) -> int:
    """Return the descriptor of a file that no other worker uses: a dead worker's, or a new one.

    It stays open and locked until the process ends.
    """
    for number in count():
        descriptor = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if _locks(descriptor, fcntl.LOCK_EX):
                if os.fstat(descriptor).st_size < SIZE:
                    # Not a sparse file: a write to one on a full disk would kill the process (SIGBUS).
                    _fill(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise AssertionError  # `count` does not end


def _fill(descriptor: int) -> None:
    written = 0
    while written < SIZE:
        written += os.pwrite(descriptor, bytes(SIZE - written), written)


def _locks(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _records(words: Sequence[int]) -> Iterator[tuple[Kind, Sequence[int]]]:
    for number in range(words[_RECORDS]):
        start = _HEADER_WORDS + number * _RECORD_WORDS
        key = b"".join(word.to_bytes(8, sys.byteorder) for word in words[start : start + _KEY_WORDS])
        operation, status, cache = key.decode().split()
        yield Kind(operation, int(status), cache), words[start + _KEY_WORDS : start + _RECORD_WORDS]
