"""The tokens as a worker knows them: read from their file, and again as soon as that file changes."""

import hmac
import logging
import os
import sqlite3
import time
import weakref
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fx_pipeline.api.reading.served import is_locked
from fx_pipeline.api.tokens.file import TokenError, TokenFile, digest
from fx_pipeline.api.tokens.mark import problem, read_mark

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often a worker looks whether another file has been put in the place of the one it reads."""

WAIT_SECONDS = 2.0
"""How long a worker waits for another process that is writing the file; then nobody is answered."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who sent a valid token: the token's name, and a key that stands for the token without being it."""

    name: str
    key: str
    digest: bytes


class Tokens:
    """The tokens in a file, as a worker asks for them on every request, and the mark in `database`.

    A change made by another process is seen by the next call. That costs one read of the counter that SQLite
    keeps in the file's header and raises with every commit (its documentation, "Database File Format",
    1.3.7); only when it has moved are the tokens read again. All is for one thread, the event loop's, but
    `write_counts`, which may be called from any.
    """

    def __init__(self, path: Path, database: Path, *, required: bool) -> None:
        self._path = path
        self._database = database
        self._always = required
        self._required = required
        self._holders: dict[str, Holder] = {}
        self._failure: str | None = None
        self._mark: int | None = None
        self._has_read_mark = False
        self._changes = 0
        self._problem: str | None = None
        self._file: _OpenFile | None = None
        self._seen = b""
        self._look_at = 0.0
        self._counts: Counter[bytes] = Counter()

    def are_required(self) -> bool:
        """Whether a request needs a token now. True too where the tokens cannot be read. Raises nothing."""
        self._refresh()
        return self._required or self._mark is not None

    def problem(self) -> str | None:
        """Return why every request is refused, for whoever runs the service; None where that is not so."""
        self._refresh()
        return "The tokens cannot be read: the log says why." if self._failure else self._problem

    def find(self, token: str) -> Holder | None:
        """Who holds this token; None if it is not valid. Raises TokenError where tokens cannot be read."""
        hashed = digest(token)
        return self._find(_key(hashed), hashed)

    def find_by_key(self, key: str) -> Holder | None:
        """Who holds the token that `key` stands for (see `Holder`), if it is still valid; else as `find`."""
        self._refresh()
        holder = self._holders.get(key)
        return self._find(key, holder.digest) if holder else self._find(key, b"")

    def count(self, holder: Holder) -> None:
        """Remember one more request of this holder, for `write_counts`."""
        self._counts[holder.digest] += 1

    def write_counts(self) -> None:
        """Add the requests since the last time to the file; if it cannot be written, they wait."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            TokenFile(self._path).add_requests(counts)
        except TokenError as error:
            logger.warning("requests are not counted for now: %s", error)
            self._counts += counts

    def _find(self, key: str, hashed: bytes) -> Holder | None:
        self._refresh()
        if self._failure:
            raise TokenError(self._failure)
        if self._problem:
            return None
        holder = self._holders.get(key)
        return holder if holder and hmac.compare_digest(holder.digest, hashed) else None

    def _refresh(self) -> None:
        try:
            now = time.monotonic()
            if now >= self._look_at or self._problem:
                self._read_mark()
            if self._file is None or now >= self._look_at:
                self._look_at = now + LOOK_SECONDS
                self._look()
            if self._file is not None:
                # The formats (1 or 2: with a write-ahead log, which has its own counter) and the counter.
                header = os.pread(self._file.descriptor, 10, 18)
                if self._failure or header != self._seen or header[:1] != b"\x01":
                    self._read(header)
        except (OSError, sqlite3.Error) as error:
            self._fail(error)
        found = problem(self._mark, self._changes)
        if found and found != self._problem:
            logger.error("%s (%s)", found, self._path)
        self._problem = found

    def _read_mark(self) -> None:
        try:
            mark = read_mark(self._database, wait=0 if self._has_read_mark else WAIT_SECONDS)
        except FileNotFoundError:
            return  # What was known of a database that is gone is still true.
        except sqlite3.Error as error:
            if self._has_read_mark and is_locked(error):
                return  # Nor can it have changed: whoever holds the lock has not committed yet.
            raise sqlite3.OperationalError(f"their mark in {self._database}: {error}") from error
        self._has_read_mark = True
        if mark != self._mark:
            # Tokens that were read before their mark may be older than it.
            self._mark, self._seen = mark, b""

    def _look(self) -> None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  # half the time of Path.stat, on every request
        except FileNotFoundError:
            if self._file is not None:
                # A lost file opens nothing: where a token was needed, it is needed still.
                logger.error("%s is gone: no token is known any more", self._path)
            self._file, self._seen, self._holders, self._changes = None, b"", {}, 0
            return
        if self._file is None or self._file.identity != (found.st_dev, found.st_ino):
            self._file, self._seen = _OpenFile(self._path), b""

    def _read(self, header: bytes) -> None:
        # Another process may be writing just now, for a few milliseconds. What was read before is no answer:
        # it may be older than a change that was finished before that.
        waiting = 0.0 if self._failure else WAIT_SECONDS
        self._read_mark()
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=waiting)) as connection:
            ((version,),) = connection.execute("PRAGMA user_version")
            if version == 0:
                # Empty: just being made, or lost. Either way it decides nothing.
                self._holders, self._seen, self._changes = {}, b"", 0
                return
            rows = connection.execute("SELECT name, hash, revoked_at FROM tokens").fetchall()
        self._holders = {
            _key(digest): Holder(name, _key(digest), digest) for name, digest, end in rows if not end
        }
        self._required = self._always or bool(rows)
        self._changes = len(rows) + sum(end is not None for _, _, end in rows)
        self._seen, self._failure = header, None

    def _fail(self, error: Exception) -> None:
        failure = f"The tokens in {self._path} cannot be read: {error}."
        if failure != self._failure:
            logger.error("nobody is answered: %s", failure)
        self._required, self._holders, self._failure = True, {}, failure


class _OpenFile:
    """A file that stays open for as long as this object lives."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        found = os.fstat(self.descriptor)
        self.identity = (found.st_dev, found.st_ino)


def _key(digest: bytes) -> str:
    """64 bits of the hash: enough to tell tokens apart, useless to whoever reads them."""
    return digest[:8].hex()
