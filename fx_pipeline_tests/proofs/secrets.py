"""Where a secret can be found that should be nowhere: in files, in what is kept in databases, in output."""

import json
import sqlite3
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

KEY = "k3y/Mark+7f3a9c=d&e%"
"""An access key that is another in every encoding."""

ALERTS = "json://operator:p4ssMark7f3a9c@127.0.0.1:9/t0kenMark7f3a9c"
"""An address of Apprise's with a password and a token, where nobody listens."""


def forms_of(secret: str) -> Iterator[bytes]:
    """A secret as text carries it: in each encoding by itself, in lower case."""
    data = secret.encode()
    texts = [
        secret,
        escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        quote(quote(secret, safe="")),
        json.dumps(secret)[1:-1],
        data.hex(),
        data.hex(" "),
        *("".join(form.format(byte) for byte in data) for form in LETTER_FORMS),
    ]
    for text in texts:
        for codec in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
            yield text.lower().encode(codec)


def base64_of(secret: str) -> Iterator[bytes]:
    """The letters of base64 that a secret always gives, for each place where it may begin among others."""
    for before in range(3):
        for table in (None, b"-_"):
            letters = b64encode(b"\0" * before + secret.encode(), table)
            yield letters[-(-before * 8 // 6) :].rstrip(b"=")[:-1]


LETTER_FORMS = ("%{:02x}", "%25{:02x}", "&#{};", "&#{:03};", "&#x{:x};", "\\u{:04x}", "\\x{:02x}")


class Secrets:
    """The key, the address's password and token, and `more`: as they are, and in the usual encodings."""

    def __init__(self, *more: str) -> None:
        told = (KEY, "Mark+7f3a9c", "operator:p4ssMark7f3a9c", "p4ssMark7f3a9c", "t0kenMark7f3a9c", *more)
        self._forms = {form for secret in told for form in forms_of(secret)}
        self._base64 = {form for secret in told for form in base64_of(secret)}

    def found_in(self, data: bytes) -> list[bytes]:
        """Those forms of the secrets that `data` holds."""
        folded = data.lower()
        return [form for form in self._forms if form in folded] + [
            form for form in self._base64 if form in data
        ]

    def traces(self, folder: Path) -> Iterator[str]:
        """Every file below `folder` that holds a secret, and every value of a database, also a packed one."""
        # All are read before any is opened as a database: SQLite makes and removes files beside it.
        files = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
        for file, data in files.items():
            if self.found_in(data):
                yield str(file.relative_to(folder))
        for file, data in files.items():
            if data.startswith(b"SQLite format 3\0"):
                yield from self._traces_in_tables(file)

    def _traces_in_tables(self, database: Path) -> Iterator[str]:
        with closing(sqlite3.connect(database)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (table,) in tables:
                for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608  # its own
                    if any(self.found_in(_unpacked(value)) for value in row):
                        yield f"{database.name}: {table}: {row[0]}"


def _unpacked(value: object) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    with suppress(zlib.error):  # what is not packed is as it is
        return zlib.decompress(data)
    return data
