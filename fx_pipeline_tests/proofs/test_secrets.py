"""Tests of the search for secrets itself: without them its other users would prove nothing."""

import zlib
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest

from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.proofs.secrets import ALERTS, KEY, Secrets

TOKEN = "a-token-made-here"


def stored(file: Path, value: object) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE kept (id INTEGER, value)")
        connection.execute("INSERT INTO kept VALUES (7, ?)", [value])


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        quote(KEY),
        quote(KEY, safe=""),
        ALERTS,
        b64encode(b"operator:p4ssMark7f3a9c").decode(),
        *(b64encode(b"x" * before + KEY.encode() + b"y").decode() for before in range(4)),
        f"user_{KEY}_x",
        KEY.upper(),
        KEY.encode().hex(),
        "\0".join(KEY),
        escape(KEY),
        quote(quote(KEY, safe="")),
        "".join(f"&#{ord(letter)};" for letter in KEY),
        "".join(f"\\u{ord(letter):04X}" for letter in KEY),
        TOKEN,
        f"GET /rates/latest?access_key={TOKEN}",
    ],
)
@pytest.mark.parametrize(
    ("put", "found"),
    [
        (lambda file, secret: file.write_text(f"a line\n{secret}\n", encoding="utf-8"), ["kept"]),
        (stored, ["kept", "kept: kept: 7"]),
        (lambda file, secret: stored(file, zlib.compress(secret.encode())), ["kept: kept: 7"]),
        (lambda file, secret: stored(file, "long " * 2000 + secret), ["kept: kept: 7"]),
    ],
    ids=["in a file", "in a table", "packed in a table", "in a long value"],
)
def test_a_secret_is_found(
    tmp_path: Path, put: Callable[[Path, str], object], found: list[str], secret: str
) -> None:
    (tmp_path / "a").mkdir()
    put(tmp_path / "a" / "kept", secret)
    traces = [trace.removeprefix("a/") for trace in Secrets(TOKEN).traces(tmp_path)]
    assert set(found) <= set(traces)


def test_nothing_else_is_found(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("operator reads fx.db with ***", encoding="utf-8")
    stored(tmp_path / "kept", zlib.compress(b"nothing"))
    assert list(Secrets(TOKEN).traces(tmp_path)) == []
