"""API tokens: made once, shown once, and from then on known by their hash alone.

They stand in a file of their own beside the rates. As soon as one is made, the API asks everybody for a
token; it goes on asking when the last one has been revoked, so that a right taken away is never given to
everybody. Only `TokenFile.forget_all` opens it again.

A token is 256 random bits: nobody can guess it from its hash, so SHA-256 does. (A slow hash protects what
people choose.)
"""

import datetime as dt
import hashlib
import re
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

PREFIX = "fxp_"
"""How a token begins, so that people and scanners of secrets know one when they see it."""

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
        row = (name, digest(token), _now())
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


def _bring_schema(connection: sqlite3.Connection, path: Path) -> None:
    ((version,),) = connection.execute("PRAGMA user_version")
    ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master")
    if version == 0 and tables == 0:
        for statement in _SCHEMA:
            connection.execute(statement)
    elif version != SCHEMA_VERSION:
        raise TokenError(f"{path} is a database, but not one of tokens: move it away.")


def digest(token: str) -> bytes:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
