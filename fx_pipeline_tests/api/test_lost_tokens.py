"""Tokens stay on until `token off`: a lost, old or foreign tokens.db does not make the API public."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.mark import LOST, OLD, read_mark
from fx_pipeline.commands.access import Access, AccessState
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError
from fx_pipeline_tests.api.conftest import OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import ask, one_connection_each, serving
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.waiting import wait_for

LATEST = "/rates/2026-03-09?symbols=USD"


@pytest.fixture
def access(history: History) -> Access:
    """Return the tokens of an installation."""
    return Access(Settings(fx_database=history.path))


def mark(access: Access) -> int | None:
    return read_mark(access.database)


def test_the_mark_follows_the_tokens(access: Access) -> None:
    seen: list[tuple[int | None, AccessState]] = []
    for change in (
        lambda: None,
        lambda: access.create("a"),
        lambda: access.create("b"),
        lambda: access.revoke("a"),
        lambda: access.revoke("b"),
        access.off,
        lambda: access.create("a"),
    ):
        change()
        seen.append((mark(access), access.state()))
    assert seen == [
        (None, AccessState("open", 0)),
        (1, AccessState("tokens", 1)),
        (2, AccessState("tokens", 2)),
        (3, AccessState("tokens", 1)),
        (4, AccessState("tokens", 0)),
        (None, AccessState("open", 0)),
        (1, AccessState("tokens", 1)),
    ]


def test_a_refused_change_keeps_the_mark(access: Access) -> None:
    access.create("a")
    for change in (lambda: access.create("a"), lambda: access.create("/"), lambda: access.revoke("b")):
        with pytest.raises(Exception, match="token"):
            change()
    assert mark(access) == 1


def test_tokens_without_a_mark_set_it(access: Access) -> None:
    access.file.create("a")
    access.file.revoke("a")
    access.file.create("b")
    assert mark(access) is None
    access.keep_mark()
    assert mark(access) == 3
    access.keep_mark()
    assert mark(access) == 3


def test_reading_never_lowers_the_mark(access: Access) -> None:
    access.create("a")
    access.file.path.unlink()
    access.keep_mark()
    assert mark(access) == 1
    assert access.state() == AccessState("closed", 0, LOST)


def test_a_token_is_revoked_even_if_the_mark_cannot_be_written(access: Access) -> None:
    access.create("a")
    with closing(sqlite3.connect(access.database)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON token_mark BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        connection.commit()
    with pytest.raises(StoreError):
        access.revoke("a")
    assert access.state() == AccessState("tokens", 0)


def missing(access: Access) -> None:
    access.file.path.unlink()


def emptied(access: Access) -> None:
    access.file.path.write_bytes(b"")


def recreated(access: Access) -> None:
    access.file.path.unlink()
    access.file.make()


def deleted_without_the_mark(access: Access) -> None:
    access.file.forget_all()


def overwritten_by_a_backup(access: Access) -> None:
    """Restore a backup in which a revoked token is still valid."""
    shutil.copy(access.file.path.with_name("tokens.backup"), access.file.path)


def replaced_by_a_backup(access: Access) -> None:
    """Restore the same backup as another file."""
    access.file.path.with_name("tokens.backup").replace(access.file.path)


LOSSES = [
    (missing, LOST),
    (emptied, LOST),
    (recreated, LOST),
    (deleted_without_the_mark, LOST),
    (overwritten_by_a_backup, OLD),
    (replaced_by_a_backup, OLD),
]


@pytest.fixture
def with_tokens(access: Access) -> tuple[str, str]:
    """Return a revoked and a valid token. The revoked one is valid in the file `tokens.backup`."""
    return revoked_and_valid(access, "")


def revoked_and_valid(access: Access, suffix: str) -> tuple[str, str]:
    first = access.create(f"first{suffix}")
    shutil.copy(access.file.path, access.file.path.with_name("tokens.backup"))
    access.revoke(f"first{suffix}")
    return first, access.create(f"second{suffix}")


@pytest.mark.parametrize(("lose", "why"), LOSSES, ids=[lose.__name__ for lose, _ in LOSSES])
async def test_tokens_lost_before_the_start_do_not_make_the_api_public(
    history: History,
    access: Access,
    with_tokens: tuple[str, str],
    open_api: OpenApi,
    lose: Callable[[Access], None],
    why: str,
) -> None:
    lose(access)
    api = open_api(history.path)
    first, second = with_tokens
    for headers in ({}, {"apikey": first}, {"apikey": second}):
        refusal = await api.get(LATEST, **headers)
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (401, 101)
    health = await api.get("/-/health")
    assert (health.status_code, health.json()["closed"]) == (200, why)
    assert access.state() == AccessState("closed", 0, why)
    new = access.create("new")
    assert (await api.get(LATEST, apikey=new)).status_code == 200
    assert (await api.get(LATEST)).status_code == 401
    assert "closed" not in (await api.get("/-/health")).json()
    access.off()
    assert (await api.get(LATEST)).status_code == 200


@pytest.mark.slow
def test_tokens_lost_while_serving_do_not_make_the_api_public(
    history: History, access: Access, tmp_path: Path
) -> None:
    with (
        serving(history.path, tmp_path / "log", workers=2) as server,
        one_connection_each(server, 2) as workers,
    ):

        def answers(headers: dict[str, str]) -> list[tuple[int, bytes]]:
            """Ask each worker."""
            return [ask(connection, LATEST, headers) for connection in workers.values()]

        def wait_until_refused(token: str) -> None:
            # Each worker checks once a second whether the file was replaced.
            wait_for(lambda: {status for status, _ in answers({"apikey": token})} == {401})

        for number, (lose, why) in enumerate(LOSSES):
            first, second = revoked_and_valid(access, str(number))
            assert {status for status, _ in answers({"apikey": second})} == {200}
            lose(access)
            wait_until_refused(second)
            for headers in ({}, {"apikey": first}, {"apikey": second}):
                assert [(status, json.loads(body)["error"]["code"]) for status, body in answers(headers)] == [
                    (401, 101),
                    (401, 101),
                ], lose.__name__
            status, body = server.get("/-/health")
            assert (status, json.loads(body)["closed"]) == (200, why)
            assert f"{why} ({access.file.path})" in server.log.read_text()
            new = access.create(f"new{number}")
            assert {status for status, _ in answers({"apikey": new})} == {200}
            assert {status for status, _ in answers({})} == {401}
            assert "closed" not in json.loads(server.get("/-/health")[1])

        missing(access)
        done = run_command(tmp_path, "status", "--json", FX_DATABASE=str(history.path))
        assert json.loads(done.stdout)["access"] == {"mode": "closed", "valid": 0, "problem": LOST}
        done = run_command(tmp_path, "token", "create", "new", FX_DATABASE=str(history.path))
        # The open connections may have been closed for want of a request.
        new = done.stdout.strip()
        assert {server.get(LATEST, {"apikey": new})[0] for _ in range(8)} == {200}
        assert run_command(tmp_path, "token", "off", FX_DATABASE=str(history.path)).returncode == 0
        assert {server.get(LATEST)[0] for _ in range(8)} == {200}


@pytest.mark.slow
def test_an_unreadable_file_does_not_make_the_api_public(
    history: History, access: Access, tmp_path: Path
) -> None:
    access.create("a")
    with serving(history.path, tmp_path / "log") as server:
        access.file.path.write_bytes(b"x" * 4096)
        assert server.get(LATEST)[0] == 401
        assert json.loads(server.get("/-/health")[1])["closed"] == ("The tokens cannot be read: see the log.")
        assert f"{access.file.path} cannot be read" in server.log.read_text()


@pytest.mark.slow
def test_token_off_makes_the_api_public_after_a_loss(
    history: History, access: Access, tmp_path: Path
) -> None:
    access.create("a")
    access.file.path.unlink()
    with serving(history.path, tmp_path / "log", workers=2) as server:
        assert server.get(LATEST)[0] == 401
        assert run_command(tmp_path, "token", "off", FX_DATABASE=str(history.path)).returncode == 0
        assert {server.get(LATEST)[0] for _ in range(8)} == {200}


@pytest.mark.slow
def test_a_documented_backup_is_as_closed_as_the_original(
    history: History, access: Access, tmp_path: Path
) -> None:
    """Restored with its tokens, it accepts them; without them, it refuses every request."""
    token = access.create("reports")
    whole, part = tmp_path / "whole", tmp_path / "part"
    for folder in (whole, part):
        folder.mkdir()
        vacuum(history.path, folder / "fx.db")
    vacuum(access.file.path, whole / "tokens.db")
    for folder, expected in ((whole, 200), (part, 401)):
        with serving(folder / "fx.db", tmp_path / "log") as server:
            assert server.get(LATEST)[0] == 401
            assert server.get(LATEST, {"apikey": token})[0] == expected


@pytest.mark.slow
def test_the_server_sets_a_missing_mark_at_its_start(
    history: History, access: Access, tmp_path: Path
) -> None:
    access.file.create("reports")
    with serving(history.path, tmp_path / "log"):
        assert mark(access) == 1


def vacuum(source: Path, copy: Path) -> None:
    program = Path(sys.executable).with_name("sqlite-utils")
    subprocess.run([program, source, f"vacuum into '{copy}'"], check=True)
