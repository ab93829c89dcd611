"""The file of tokens, and how workers see the changes of other processes."""

import hashlib
import re
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from fx_pipeline.api.tokens import live as module
from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.api.tokens.live import Tokens
from fx_pipeline.commands.cli import main
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import open_database
from fx_pipeline_tests.command_line import run_command


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tokens.db"


@pytest.fixture
def file(path: Path) -> TokenFile:
    return TokenFile(path)


@pytest.fixture
def worker(path: Path) -> Tokens:
    """Start a worker before the file exists."""
    return Tokens(path, path.with_name("fx.db"), required=False)


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
    file: TokenFile, worker: Tokens, path: Path
) -> None:
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


def test_requests_are_counted(file: TokenFile, worker: Tokens) -> None:
    holders = [worker.find(file.create(name)) for name in ("a", "b", "c")]
    for holder, times in zip(holders, (3, 1, 0), strict=True):
        assert holder is not None
        for _ in range(times):
            worker.count(holder)
    assert [record.requests for record in file.records()] == [0, 0, 0]
    worker.write_counts()
    worker.write_counts()
    records = file.records()
    assert [record.requests for record in records] == [3, 1, 0]
    assert [record.last_used_at is not None for record in records] == [True, True, False]


def test_counts_that_cannot_be_written_are_written_later(
    file: TokenFile, worker: Tokens, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holder = worker.find(file.create("a"))
    assert holder is not None
    worker.count(holder)
    uses = path.with_name("token-uses.db")
    uses.write_bytes(b"x" * 4096)
    worker.write_counts()
    assert f"cannot be counted for now: The tokens in {uses}" in caplog.text
    uses.unlink()
    worker.count(holder)
    worker.write_counts()
    assert [record.requests for record in file.records()] == [2]


def test_the_token_commands(tmp_path: Path) -> None:
    def run(*arguments: str, **more: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, ["token", *arguments], env={"FX_DATABASE": "fx.db", **more})
        place, _, said = done.stderr.partition("\n")
        assert place == f"Database {tmp_path}/fx.db, tokens {tmp_path}/tokens.db."
        return done.exit_code, done.stdout, said

    open_database(tmp_path / "fx.db").close()
    assert run("list") == (0, "", "No token is valid: the API is open to everyone.\n")
    assert run("list", FX_REQUIRE_TOKEN="1") == (0, "", "No token is valid: the API refuses every request.\n")
    assert not (tmp_path / "tokens.db").exists()

    code, token, said = run("create", "reports")
    assert (code, re.fullmatch(r"fxp_[A-Za-z0-9_-]{43}\n", token) is not None) == (0, True)
    assert said == (
        "This is the token of reports. Only its hash is stored, so it cannot be shown again.\n"
        "It is the first one: from now on the API requires a token.\n"
    )
    assert run("create", "reports") == (
        1,
        "",
        "Error: There is already a valid token named reports: revoke it first, or choose another name.\n",
    )
    assert run("create", "b")[2].count("\n") == 1
    _, listed, said = run("list")
    assert said == ""
    assert [line.split()[0] for line in listed.splitlines()] == ["reports", "b"]
    assert token.strip() not in listed
    assert run("revoke", "b") == (0, "", "The token of b is revoked.\n")
    assert run("revoke", "b") == (
        1,
        "",
        "Error: There is no valid token named b: `fx-pipeline token list` lists the tokens.\n",
    )
    assert run("revoke", "reports") == (
        0,
        "",
        "The token of reports is revoked.\n"
        "It was the last one, so the API now refuses every request. `fx-pipeline token create` creates "
        "another one. `fx-pipeline token off` opens the API to everyone.\n",
    )
    assert run("list")[2] == "No token is valid: the API refuses every request.\n"
    assert run("off") == (0, "", "2 tokens were deleted.\nThe API is open to everyone.\n")
    assert run("list", "--json") == (0, "[]\n", "")
    assert run("off", FX_REQUIRE_TOKEN="1") == (
        0,
        "",
        "0 tokens were deleted.\n"
        "FX_REQUIRE_TOKEN is set, so the API still requires a token, and there are none.\n",
    )
