"""The file of API tokens. A token is shown once, when it is created; the file holds only its hash.

The file is separate from the database of rates. Once it has a token, the API requires one from every client,
even after the last token is revoked: revoking a token must not make the API public. Only
`TokenFile.forget_all` does.

A token is 256 random bits, which cannot be guessed from a SHA-256 hash. (Slow hashes protect passwords that
people choose.)
"""

import datetime as dt
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fx_pipeline.api.reading.files import one_commit
from fx_pipeline.api.tokens.uses import FILE_NAME, add_uses, read_uses
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.wal import written

PREFIX = "fxp_"
"""The start of every token, so that people and secret scanners recognise one."""

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
    """An operation on tokens failed. The message is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token, valid or revoked. Instants are UTC, to the second."""

    name: str
    created_at: str
    revoked_at: str | None
    requests: int
    last_used_at: str | None


class TokenFile:
    """The file of tokens, for changes. Each method is one transaction, which workers see immediately.

    Methods raise TokenError if the file cannot be used. `make` and `create` create a missing file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._uses = path.with_name(FILE_NAME)

    def make(self) -> None:
        """Create the file, without a token, if it does not exist. Otherwise only check that it is one."""
        with self._reading() if self._has_content() else self._transaction(make=True):
            pass

    def create(self, name: str) -> str:
        """Create a token named `name` and return it. A name can have only one valid token."""
        if _NAME.fullmatch(name) is None:
            raise TokenError(f"{name!r} is not a token name: use up to 64 letters, digits and _ . @ + -.")
        if name == "root":
            # Datasette gives an actor with this name access to its internals.
            raise TokenError("A token cannot be named 'root': choose another name.")
        token = PREFIX + secrets.token_urlsafe(32)
        row = (name, digest(token), _now())
        with self._transaction(make=True) as connection:
            try:
                connection.execute("INSERT INTO tokens (name, hash, created_at) VALUES (?, ?, ?)", row)
            except sqlite3.IntegrityError:
                raise TokenError(
                    f"There is already a valid token named {name}: revoke it first, or choose another name."
                ) from None
        return token

    def revoke(self, name: str) -> int:
        """Revoke the token named `name`. Return the number of tokens that are still valid."""
        with self._transaction() as connection:
            revoked = connection.execute(
                "UPDATE tokens SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", (_now(), name)
            )
            if revoked.rowcount == 0:
                raise TokenError(
                    f"There is no valid token named {name}: `fx-pipeline token list` lists the tokens."
                )
            ((left,),) = connection.execute("SELECT count(*) FROM tokens WHERE revoked_at IS NULL")
        return int(left)

    def forget_all(self) -> int:
        """Delete all tokens, so that none is required. Return the number of deleted tokens."""
        with self._transaction() as connection:
            deleted = connection.execute("DELETE FROM tokens").rowcount
        self._uses.unlink(missing_ok=True)
        return deleted

    def records(self) -> list[TokenRecord]:
        """Return all tokens, oldest first, with their use on this machine."""
        # Earlier versions counted in this file. What they counted stays there.
        columns = "hash, name, created_at, revoked_at, requests, last_used_at"
        with self._reading() as connection:
            rows = connection.execute(f"SELECT {columns} FROM tokens ORDER BY id").fetchall()  # noqa: S608
        with _explained(self._uses):
            uses = read_uses(self._uses)
        records = []
        for hashed, name, created_at, revoked_at, requests, last_used_at in rows:
            more, last = uses.get(hashed, (0, last_used_at))
            records.append(TokenRecord(name, created_at, revoked_at, requests + more, last))
        return records

    def counts(self) -> tuple[int, int]:
        """Return the number of valid tokens, and the number of changes, as the mark counts them."""
        query = "SELECT count(*) - count(revoked_at), count(*) + count(revoked_at) FROM tokens"
        with self._reading() as connection:
            ((valid, changes),) = connection.execute(query)
        return valid, changes

    def add_requests(self, counts: Counter[bytes]) -> None:
        """Add to the number of requests of the tokens with these hashes, on this machine."""
        with _explained(self._uses):
            add_uses(self._uses, counts)

    def _has_content(self) -> bool:
        # A file that could not be written, because the disk was full, is empty.
        return self.path.exists() and self.path.stat().st_size > 0

    @contextmanager
    def _transaction(self, *, make: bool = False) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            if make:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            path = self.path if make or self.path.exists() else ":memory:"
            with (
                closing(sqlite3.connect(path, isolation_level=None)) as connection,
                written(connection, self.path),
            ):
                if not _has_schema(connection, self.path):
                    _create_schema(connection)
                yield connection

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that reads one commit: no tokens if there is no file."""
        with _explained(self.path), ExitStack() as stack:
            connection = None
            if self._has_content():
                connection = stack.enter_context(one_commit(self.path))
            if connection is None or not _has_schema(connection, self.path):
                connection = stack.enter_context(closing(sqlite3.connect(":memory:")))
                _create_schema(connection)
            yield connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the file system into a TokenError."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise TokenError(f"The tokens in {path} cannot be used: {error}.") from error


def _has_schema(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the file has the table of tokens. Raise TokenError if it is another database."""
    ((version,),) = connection.execute("PRAGMA user_version")
    # Litestream adds tables of its own, even to an empty file.
    others = "SELECT count(*) FROM sqlite_master WHERE substr(name, 1, 12) <> '_litestream_'"
    ((tables,),) = connection.execute(others)
    if version == 0 and tables == 0:
        return False
    if version != SCHEMA_VERSION:
        raise TokenError(f"{path} is a database without tokens: move it to another folder.")
    return True


def _create_schema(connection: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        connection.execute(statement)


def digest(token: str) -> bytes:
    """Return the hash of a token."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
