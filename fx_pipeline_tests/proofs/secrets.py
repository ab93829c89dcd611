"""A search for secrets in files and in the values of databases, in all usual encodings."""

import json
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from html import escape
from pathlib import Path
from urllib.parse import quote, quote_plus

from fx_pipeline.sqlite import sqlite3

KEY = "k3y/Mark+7f3a9c=d&e%"
"""An access key that differs in every encoding."""

ALERTS = "json://operator:p4ssMark7f3a9c@127.0.0.1:9/t0kenMark7f3a9c"
"""An Apprise address with a password and a token, at a port where no server listens."""


def forms_of(secret: str) -> Iterator[bytes]:
    """Yield a secret in each encoding that text may have, in lower case."""
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
    """Yield the base64 letters of a secret within longer data, for each possible alignment."""
    for before in range(3):
        for table in (None, b"-_"):
            letters = b64encode(b"\0" * before + secret.encode(), table)
            yield letters[-(-before * 8 // 6) :].rstrip(b"=")[:-1]


LETTER_FORMS = ("%{:02x}", "%25{:02x}", "&#{};", "&#{:03};", "&#x{:x};", "\\u{:04x}", "\\x{:02x}")


class Secrets:
    """The key, the password and token of the alert address, and `more`, in all usual encodings."""

    def __init__(self, *more: str) -> None:
        secrets = (KEY, "Mark+7f3a9c", "operator:p4ssMark7f3a9c", "p4ssMark7f3a9c", "t0kenMark7f3a9c", *more)
        self._forms = {form for secret in secrets for form in forms_of(secret)}
        self._base64 = {form for secret in secrets for form in base64_of(secret)}

    def found_in(self, data: bytes) -> list[bytes]:
        """Return the encoded secrets that `data` contains."""
        folded = data.lower()
        return [form for form in self._forms if form in folded] + [
            form for form in self._base64 if form in data
        ]

    def traces(self, folder: Path) -> Iterator[str]:
        """Yield every file below `folder` and every database row with a secret, even a compressed one."""
        # Read all files before opening any as a database: SQLite creates and removes files next to it.
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
                for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608  # its own name
                    if any(self.found_in(_decompressed(value)) for value in row):
                        yield f"{database.name}: {table}: {row[0]}"


def _decompressed(value: object) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    with suppress(zlib.error):  # the value is not compressed
        return zlib.decompress(data)
    return data
