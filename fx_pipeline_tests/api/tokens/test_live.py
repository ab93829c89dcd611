"""Which tokens a worker accepts, after and during the changes of other processes."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fx_pipeline.api.tokens import live as module
from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.live import Tokens
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import open_database
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.waiting import PATIENCE


def test_tokens_are_required_from_the_first_token_until_all_are_deleted(
    file: TokenFile, worker: Tokens, path: Path
) -> None:
    seen = [worker.are_required()]
    for change in (
        file.make,
        lambda: file.create("a"),
        lambda: file.create("b"),
        lambda: file.revoke("a"),
        # Revoking the last token does not make the API public.
        lambda: file.revoke("b"),
        file.forget_all,
        lambda: file.create("a"),
    ):
        change()
        seen.append(worker.are_required())
        assert Tokens(path, path.with_name("fx.db"), required=False).are_required() == seen[-1]
    assert seen == [False, False, True, True, True, True, False, True]


def test_a_setting_requires_tokens_before_there_is_one(file: TokenFile, path: Path) -> None:
    worker = Tokens(path, path.with_name("fx.db"), required=True)
    assert worker.are_required()
    token = file.create("a")
    assert worker.find(token) is not None
    file.forget_all()
    assert worker.are_required()
    assert worker.find(token) is None


def test_sees_tokens_that_another_process_creates_and_revokes(worker: Tokens, path: Path) -> None:
    database = str(path.with_name("fx.db"))
    open_database(Path(database)).close()
    made = run_command(path.parent.parent, "token", "create", "reports", FX_DATABASE=database)
    token = made.stdout.strip()
    assert worker.are_required()
    holder = worker.find(token)
    assert holder is not None
    assert holder.name == "reports"
    assert worker.find_by_key(holder.key) == holder
    run_command(path.parent.parent, "token", "revoke", "reports", FX_DATABASE=database)
    assert worker.find(token) is None
    assert worker.find_by_key(holder.key) is None


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda token: token[:-1],
        lambda token: token + "A",
        lambda token: token.removeprefix("fxp_"),
        lambda token: hashlib.sha256(token.encode()).hexdigest(),
        lambda token: "",
        lambda token: "\ud800\x00é",
    ],
)
def test_a_changed_token_is_not_valid(file: TokenFile, worker: Tokens, change: Callable[[str], str]) -> None:
    token = file.create("a")
    assert worker.find(token) is not None
    assert worker.find(change(token)) is None


def test_a_key_is_not_a_token(file: TokenFile, worker: Tokens) -> None:
    holder = worker.find(file.create("a"))
    assert holder is not None
    assert worker.find(holder.key) is None
    assert worker.find_by_key(holder.digest.hex()) is None


class Changes(RuleBasedStateMachine):
    """Any sequence of changes to the file: two workers agree with a list after each of them."""

    names: Bundle[str] = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.file = TokenFile(Path(self.folder.name) / "tokens.db")
        database = self.file.path.with_name("fx.db")
        self.workers = [Tokens(self.file.path, database, required=False) for _ in range(2)]
        self.valid: dict[str, str] = {}
        self.revoked: list[str] = []
        self.ever = False

    @rule(target=names, name=st.sampled_from("abcdef"))
    def create(self, name: str) -> str:
        if name not in self.valid:
            self.valid[name] = self.file.create(name)
            self.ever = True
        return name

    @rule(name=consumes(names))
    def revoke(self, name: str) -> None:
        if name in self.valid:
            self.revoked.append(self.valid.pop(name))
            assert self.file.revoke(name) == len(self.valid)

    @rule()
    def forget_all(self) -> None:
        self.file.forget_all()
        self.revoked.extend(self.valid.values())
        self.valid, self.ever = {}, False

    def teardown(self) -> None:
        self.folder.cleanup()

    @invariant()
    def workers_know(self) -> None:
        for worker in self.workers:
            assert worker.are_required() == self.ever
            holders = {name: worker.find(token) for name, token in self.valid.items()}
            assert {name: holder and holder.name for name, holder in holders.items()} == {
                name: name for name in self.valid
            }
            assert not any(worker.find(token) for token in self.revoked)


Changes.TestCase.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestChanges = Changes.TestCase


def writing(path: Path) -> sqlite3.Connection:
    """Return a connection in the middle of a change, which locks the file until it is closed."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def test_a_revoked_token_stays_revoked_during_the_next_change(
    file: TokenFile, worker: Tokens, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", PATIENCE)
    token, other = file.create("a"), file.create("b")
    assert worker.find(token) is not None
    file.revoke("a")
    connection = writing(path)
    timer = threading.Timer(0.2, connection.close)
    timer.start()
    assert worker.find(token) is None
    assert worker.find(other) is not None
    timer.join()


def test_a_change_that_does_not_end_refuses_all_requests(
    file: TokenFile, worker: Tokens, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
    token = file.create("a")
    with closing(writing(path)):
        for _ in range(3):
            assert worker.are_required()
            with pytest.raises(TokenError, match="database is locked"):
                worker.find(token)
    assert worker.find(token) is not None


def test_a_lock_without_a_change_refuses_no_request(file: TokenFile, worker: Tokens, path: Path) -> None:
    token = file.create("a")
    assert worker.find(token) is not None
    with closing(writing(path)):
        assert worker.find(token) is not None


def test_reads_a_replicated_file_after_each_commit_and_only_then(
    file: TokenFile, worker: Tokens, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = file.create("a")
    with closing(sqlite3.connect(path)) as litestream:
        litestream.execute("PRAGMA journal_mode = WAL")
        assert worker.find(token) is not None
        with monkeypatch.context() as patch:
            patch.setattr(worker, "_read", None)
            assert worker.find(token) is not None
        file.revoke("a")
        assert worker.find(token) is None
        new = file.create("a")
    assert worker.find(new) is not None
