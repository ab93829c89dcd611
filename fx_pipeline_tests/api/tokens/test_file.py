"""The file of tokens: what it holds, and which changes it accepts."""

import hashlib
import re
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.live import Tokens


def test_a_token_is_random_and_only_its_hash_is_stored(file: TokenFile, path: Path) -> None:
    tokens = [file.create(f"client{number}") for number in range(20)]
    assert len(set(tokens)) == 20
    assert all(re.fullmatch(r"fxp_[A-Za-z0-9_-]{43}", token) for token in tokens)
    stored = path.read_bytes()
    for token in tokens:
        assert token.encode() not in stored
        assert token.removeprefix("fxp_").encode() not in stored
        assert hashlib.sha256(token.encode()).digest() in stored


def test_lists_every_token_ever_created(file: TokenFile) -> None:
    file.create("first")
    file.create("second")
    file.revoke("first")
    file.create("first")
    records = file.records()
    assert [(record.name, record.revoked_at is None) for record in records] == [
        ("first", False),
        ("second", True),
        ("first", True),
    ]
    instant = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert all(re.fullmatch(instant, record.created_at) for record in records)
    assert re.fullmatch(instant, records[0].revoked_at or "")
    assert [(record.requests, record.last_used_at) for record in records] == [(0, None)] * 3


@pytest.mark.parametrize("name", ["reports", "Ann.Lee+rates@example.org", "_", "9", "x" * 64])
def test_accepts_a_name(file: TokenFile, name: str) -> None:
    file.create(name)
    assert [record.name for record in file.records()] == [name]


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "a/b", "é", "x" * 65, "a'b", "<b>", "root"])
def test_rejects_a_name(file: TokenFile, path: Path, name: str) -> None:
    with pytest.raises(TokenError, match=r"is not a token name|cannot be named"):
        file.create(name)
    assert not path.exists()


def test_a_name_has_one_valid_token(file: TokenFile) -> None:
    first = file.create("reports")
    with pytest.raises(TokenError, match=r"^There is already a valid token named reports: revoke it first, "):
        file.create("reports")
    file.revoke("reports")
    assert file.create("reports") != first


def test_only_a_valid_token_can_be_revoked(file: TokenFile, path: Path) -> None:
    message = r"^There is no valid token named reports: `fx-pipeline token list` lists the tokens\.$"
    with pytest.raises(TokenError, match=message):
        file.revoke("reports")
    assert not path.exists()
    file.create("reports")
    assert file.revoke("reports") == 0
    with pytest.raises(TokenError, match=message):
        file.revoke("reports")


def test_reading_creates_no_file(file: TokenFile, worker: Tokens, path: Path) -> None:
    assert file.records() == []
    assert file.forget_all() == 0
    assert not worker.are_required()
    assert not path.exists()
