"""API tokens: made once, shown once, and from then on known by their hash alone.

They stand in a file of their own beside the rates. As soon as one is made, the API asks everybody for a
token; it goes on asking when the last one has been revoked, so that a right taken away is never given to
everybody. Only `TokenFile.forget_all` opens it again.

A token is 256 random bits: nobody can guess it from its hash, so SHA-256 does. (A slow hash protects what
people choose.)
"""

import datetime as dt
import hashlib
import hmac
import logging
import os
import re
import secrets
import sqlite3
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from fx_pipeline.api.served import is_locked
from fx_pipeline.api.token_mark import problem, read_mark

logger = logging.getLogger(__name__)

PREFIX = "fxp_"
"""How a token begins, so that people and scanners of secrets know one when they see it."""

LOOK_SECONDS = 1.0
"""How often a worker looks whether another file has been put in the place of the one it reads."""

WAIT_SECONDS = 2.0
"""How long a worker waits for another process that is writing the file; then nobody is answered."""

SCHEMA_VERSION = 1

_SCHEMA = (
    """
    CREATE TABLE tokens (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL,
        hash BLOB NOT NULL UNIQUE,
        created_at TEXT NOT NULL,
        revoked_at TEXT,
        requests INTEGER NOT NULL DEFAULT 0,
        last_used_at TEXT
    ) STRICT
    """,
    "CREATE UNIQUE INDEX one_valid_token_of_a_name ON tokens (name) WHERE revoked_at IS NULL",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")


class TokenError(Exception):
    """Something cannot be done with tokens; the message is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """What is known of a token, valid or revoked. Instants are UTC, to the second."""

    name: str
    created_at: str
    revoked_at: str | None
    requests: int
    last_used_at: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who sent a valid token: the token's name, and a key that stands for the token without being it."""

    name: str
    key: str
    digest: bytes


class TokenFile:
    """The file of tokens, as it is changed: each method is one transaction, seen by every worker at once.

    Methods raise TokenError where the file cannot be used. `make` and `create` make it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        """Make the file, without a token, if there is none."""
        with self._transaction(make=True):
            pass

    def create(self, name: str) -> str:
        """Make a token of that name and return it, this once. A name can have one valid token."""
        if _NAME.fullmatch(name) is None:
            raise TokenError(
                f"{name!r} cannot be the name of a token: take up to 64 letters, digits and _ . @ + -."
            )
        if name == "root":
            # Datasette would let it see its inside.
            raise TokenError("A token cannot be named 'root': take another name.")
        token = PREFIX + secrets.token_urlsafe(32)
        row = (name, _digest(token), _now())
        with self._transaction(make=True) as connection:
            try:
                connection.execute("INSERT INTO tokens (name, hash, created_at) VALUES (?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise TokenError(
                    f"There is a valid token named {name} already: revoke it first, or take another name."
                ) from None
        return token

    def revoke(self, name: str) -> int:
        """End the validity of the token of that name; returns how many valid ones are left."""
        with self._transaction() as connection:
            revoked = connection.execute(
                "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (_now(), name)
            )
            if revoked.rowcount == 0:
                raise TokenError(
                    f"There is no valid token named {name}: `fx-pipeline token list` shows which there are."
                )
            ((left,),) = connection.execute("SELECT count(*) FROM tokens WHERE revoked_at IS NULL")
        return int(left)

    def forget_all(self) -> int:
        """Delete every token and every trace of one: none is needed any more. Returns how many they were."""
        with self._transaction() as connection:
            return connection.execute("DELETE FROM tokens").rowcount

    def records(self) -> list[TokenRecord]:
        """All tokens, oldest first."""
        columns = ", ".join(field.name for field in fields(TokenRecord))
        with self._transaction() as connection:
            rows = connection.execute(f"SELECT {columns} FROM tokens ORDER BY id").fetchall()  # noqa: S608
        return [TokenRecord(*row) for row in rows]

    def add_requests(self, counts: Counter[bytes]) -> None:
        """Count requests for the tokens with these hashes."""
        rows = [(count, _now(), digest) for digest, count in counts.items()]
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE tokens SET requests = requests + ?, last_used_at = ? WHERE hash = ?", rows
            )

    @contextmanager
    def _transaction(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            path = self.path if make or self.path.exists() else ":memory:"
            with closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    _bring_schema(connection, self.path)
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
        except (OSError, sqlite3.Error) as error:
            raise TokenError(f"The tokens in {self.path} cannot be used: {error}.") from error


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
        digest = _digest(token)
        return self._find(_key(digest), digest)

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

    def _find(self, key: str, digest: bytes) -> Holder | None:
        self._refresh()
        if self._failure:
            raise TokenError(self._failure)
        if self._problem:
            return None
        holder = self._holders.get(key)
        return holder if holder and hmac.compare_digest(holder.digest, digest) else None

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


def _bring_schema(connection: sqlite3.Connection, path: Path) -> None:
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if version == 0 and tables == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
    elif version != SCHEMA_VERSION:
        raise TokenError(f"{path} is a database, but not one of tokens: move it away.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _key(digest: bytes) -> str:
    """64 bits of the hash: enough to tell tokens apart, useless to whoever reads them."""
    return digest[:8].hex()


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
