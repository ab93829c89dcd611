"""A file of tokens that is lost, replaced or damaged: a worker accepts no token that is not in it."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.tokens import live as module
from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.live import Tokens
from fx_pipeline.sqlite import sqlite3


def test_a_lost_file_does_not_make_the_api_public(
    file: TokenFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0)
    worker, token = Tokens(path, path.with_name("fx.db"), required=False), file.create("a")
    assert worker.find(token) is not None
    saved = path.read_bytes()
    for lose in (path.unlink, lambda: path.write_bytes(b"")):
        lose()
        assert worker.are_required()
        assert worker.find(token) is None
    path.write_bytes(saved)
    assert worker.find(token) is not None
    path.unlink()
    assert worker.are_required()
    TokenFile(path).make()
    assert not worker.are_required()


def test_a_replaced_file_is_read_again(file: TokenFile, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0)
    worker, old = Tokens(path, path.with_name("fx.db"), required=False), file.create("a")
    assert worker.find(old) is not None
    other = TokenFile(path.with_name("other.db"))
    new = other.create("a")
    other.path.replace(path)
    assert worker.find(old) is None
    assert worker.find(new) is not None


def not_a_database(path: Path) -> None:
    path.write_text("name,token\n" * 1000)


def another_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE tokens (a)")
        connection.execute("PRAGMA user_version = 7")
        connection.commit()


@pytest.mark.parametrize("make", [not_a_database, another_database])
def test_unreadable_tokens_refuse_all_requests(
    path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    make(path)
    worker = Tokens(path, path.with_name("fx.db"), required=False)
    for _ in range(3):
        assert worker.are_required()
        with pytest.raises(TokenError, match=rf"^The tokens in {re.escape(str(path))} cannot be read: "):
            worker.find("fxp_x")
    assert len(caplog.records) == 1, "logged for every request"
    with pytest.raises(TokenError, match=rf"{re.escape(str(path))}"):
        TokenFile(path).create("a")
    path.unlink()
    token = TokenFile(path).create("a")
    worker = Tokens(path, path.with_name("fx.db"), required=False)
    assert worker.find(token) is not None


def test_a_worker_recovers_when_the_file_is_restored(
    file: TokenFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0)
    worker, token = Tokens(path, path.with_name("fx.db"), required=False), file.create("a")
    saved = path.read_bytes()
    path.write_bytes(b"x" * 4096)
    with pytest.raises(TokenError):
        worker.find(token)
    path.write_bytes(saved)
    assert worker.find(token) is not None


def test_a_worker_recovers_when_the_file_gets_its_old_content_back(
    file: TokenFile, worker: Tokens, path: Path
) -> None:
    token = file.create("a")
    assert worker.find(token) is not None
    saved = path.read_bytes()
    path.write_bytes(b"x" * len(saved))
    with pytest.raises(TokenError):
        worker.find(token)
    path.write_bytes(saved)
    assert worker.find(token) is not None
