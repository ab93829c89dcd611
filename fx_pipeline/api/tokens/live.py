"""A worker's view of the tokens, which is read again as soon as their file changes."""

import hmac
import logging
import os
import time
import weakref
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fx_pipeline.api.reading.commits import Commits
from fx_pipeline.api.reading.files import is_locked
from fx_pipeline.api.tokens.file import TokenError, TokenFile, digest
from fx_pipeline.api.tokens.mark import problem, read_mark
from fx_pipeline.sqlite import sqlite3

logger = logging.getLogger(__name__)

_WITH_LOG = b"\x02"
"""The file format of a database with a write-ahead log."""

CHECK_SECONDS = 1.0
"""How often a worker checks whether the file was replaced by another."""

WAIT_SECONDS = 2.0
"""How long a worker waits for another process to finish writing. After that it refuses all requests."""


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a valid token: its name, and a key that identifies the token without revealing it."""

    name: str
    key: str
    digest: bytes


class Tokens:
    """The tokens in the file `path` and the mark in `database`, fast enough for every request.

    Each call sees the changes of other processes. It reads the counter in the file's header, which SQLite
    increments with every commit (its documentation, "Database File Format", 1.3.7), or that of the
    write-ahead log: a replicated file has one. The tokens are read again only if the counter has changed.
    All methods but `write_counts` are for the event loop's thread.
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
        self._header = b""
        self._next_check = 0.0
        self._counts: Counter[bytes] = Counter()
        self._can_count = True

    def are_required(self) -> bool:
        """Return whether a request needs a token now. If the tokens cannot be read, it does."""
        self._refresh()
        return self._required or self._mark is not None

    def problem(self) -> str | None:
        """Return why every request is refused, for the operator; None if tokens work."""
        self._refresh()
        return "The tokens cannot be read: see the log." if self._failure else self._problem

    def find(self, token: str) -> Holder | None:
        """Return the holder of a valid token, else None. Raise TokenError if tokens cannot be read."""
        hashed = digest(token)
        return self._find(_key(hashed), hashed)

    def find_by_key(self, key: str) -> Holder | None:
        """Return the holder of the token with this key (see `Holder`), as `find` does."""
        self._refresh()
        holder = self._holders.get(key)
        return self._find(key, holder.digest) if holder else self._find(key, b"")

    def count(self, holder: Holder) -> None:
        """Count one request of this holder, for `write_counts`."""
        self._counts[holder.digest] += 1

    def write_counts(self) -> None:
        """Add the requests since the last call to the file. If that fails, keep them for the next call."""
        counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            TokenFile(self._path).add_requests(counts)
            self._can_count = True
        except TokenError as error:
            if self._can_count:  # a full disk stays full for a while
                logger.warning("The requests of token holders cannot be counted for now: %s", error)
            self._can_count = False
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
            if now >= self._next_check or self._problem:
                self._read_mark()
            if self._file is None or now >= self._next_check:
                self._next_check = now + CHECK_SECONDS
                self._check_file()
            if self._file is not None:
                header = self._file.version()
                if self._failure or header != self._header:
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
            return  # Keep the last known mark of a lost database.
        except sqlite3.Error as error:
            if self._has_read_mark and is_locked(error):
                return  # The process with the lock has not committed yet, so the mark is the same.
            raise sqlite3.OperationalError(f"their mark in {self._database}: {error}") from error
        self._has_read_mark = True
        if mark != self._mark:
            # Read the tokens again: they may be older than the mark.
            self._mark, self._header = mark, b""

    def _check_file(self) -> None:
        try:
            found = os.stat(self._path)  # noqa: PTH116  # takes half the time of Path.stat
        except FileNotFoundError:
            if self._file is not None:
                # Tokens stay required: losing the file must not make the API public.
                logger.error("%s is gone, so no token is valid", self._path)
            self._file, self._header, self._holders, self._changes = None, b"", {}, 0
            return
        if self._file is None or self._file.identity != (found.st_dev, found.st_ino):
            self._file, self._header = _OpenFile(self._path), b""

    def _read(self, header: bytes) -> None:
        # Another process may be writing for a few milliseconds. Wait, because the tokens read earlier may
        # miss the last finished change.
        waiting = 0.0 if self._failure else WAIT_SECONDS
        self._read_mark()
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=waiting)) as connection:
            ((version,),) = connection.execute("PRAGMA user_version")
            if version == 0:
                # Empty: just created, or lost.
                self._holders, self._header, self._changes = {}, b"", 0
                return
            rows = connection.execute("SELECT name, hash, revoked_at FROM tokens").fetchall()
        self._holders = {
            _key(digest): Holder(name, _key(digest), digest) for name, digest, end in rows if not end
        }
        self._required = self._always or bool(rows)
        self._changes = len(rows) + sum(end is not None for _, _, end in rows)
        self._header, self._failure = header, None

    def _fail(self, error: Exception) -> None:
        failure = f"The tokens in {self._path} cannot be read: {error}."
        if failure != self._failure:
            logger.error("All requests are refused. %s", failure)
        self._required, self._holders, self._failure = True, {}, failure


class _OpenFile:
    """A file that stays open as long as this object lives.

    Closing any descriptor of a file drops all locks of this process on it. That is safe here, because the
    object is only dropped after the file was replaced or removed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        found = os.fstat(self._descriptor)
        self.identity = (found.st_dev, found.st_ino)
        self._commits: Commits | None = None

    def version(self) -> bytes:
        """Return a value that changes with each commit. Raise sqlite3.OperationalError."""
        header = os.pread(self._descriptor, 10, 18)  # the file formats and the counter
        if header[:1] != _WITH_LOG:
            return header
        if self._commits is None:
            self._commits = Commits(self._path)
            for end in (self._commits.release, self._commits.close):  # called last to first
                weakref.finalize(self, end)
        version = self._commits.version()
        return header[:2] + (version if isinstance(version, bytes) else b"%d" % version)


def _key(digest: bytes) -> str:
    """Return 64 bits of the hash, which identify the token and cannot be used in its place."""
    return digest[:8].hex()
