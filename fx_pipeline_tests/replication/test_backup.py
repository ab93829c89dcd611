"""Backups and what is restored from them: the commands on real files, with other processes on them."""

import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fx_pipeline.api.tokens.mark import read_mark
from fx_pipeline.commands.access import Access
from fx_pipeline.commands.cli import main
from fx_pipeline.replication.backup import back_up, backups
from fx_pipeline.settings import load_settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.fixer_days import day_of
from fx_pipeline_tests.stored import assert_consistent, dump, rows, stored_dates

FIRST, SECOND = dt.date(2024, 5, 16), dt.date(2024, 5, 17)
PERMIT = "Give this user permission to create it, or "
NOON = dt.datetime(2024, 5, 18, 12, tzinfo=dt.timezone.utc)

USING = """
import sys
from fx_pipeline.sqlite import sqlite3
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM days").fetchone(), flush=True)
sys.stdin.read()
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeeds(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fails(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    return result.output.splitlines()[-1]


def store_day(date: dt.date, **rates: float) -> None:
    with RateStore(load_settings().fx_database) as store:
        store.record([day_of(date, rates)])


@contextmanager
def in_use(database: Path) -> Iterator[None]:
    """Keep the database open in another process, which is idle."""
    arguments = [sys.executable, "-c", USING, str(database)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield


@pytest.fixture
def database() -> Path:
    """Return the database of the settings, which has one day."""
    store_day(FIRST, USD=1.08, GBP=0.85)
    return load_settings().fx_database


def test_restores_what_was_backed_up_while_everything_ran(database: Path) -> None:
    before = dump(database)
    with in_use(database):
        succeeds("backup")
    store_day(SECOND, USD=1.09)
    succeeds("restore", "--force")
    assert dump(database) == before
    assert_consistent(database)


def test_backs_up_commits_that_are_only_in_the_log(database: Path) -> None:
    with in_use(database):
        store_day(SECOND, USD=1.09)
        assert database.with_name("fx.db-wal").stat().st_size > 0
        place = load_settings().fx_database.with_name("backups")
        succeeds("backup")
    [backup] = backups(place).values()
    assert stored_dates(backup / "fx.db") == {"2024-05-16", "2024-05-17"}


def test_never_overwrites_a_backup(database: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    made = back_up(database, database.with_name("tokens.db"), place, NOON)
    content = (made / "fx.db").read_bytes()
    store_day(SECOND, USD=1.09)
    with pytest.raises(StoreError, match="exists already"):
        back_up(database, database.with_name("tokens.db"), place, NOON)
    assert (made / "fx.db").read_bytes() == content
    assert list(place.iterdir()) == [made]


def test_a_damaged_database_is_not_backed_up(database: Path, tmp_path: Path) -> None:
    damage(database)
    assert "damaged" in fails("backup", tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []


def damage(database: Path) -> None:
    """Overwrite the pages of the tables of a closed database."""
    content = bytearray(database.read_bytes())
    content[4096 + 100 : 12_000] = bytes(12_000 - 4196)
    database.write_bytes(content)


def test_an_emptied_or_foreign_database_is_not_backed_up(database: Path, tmp_path: Path) -> None:
    database.write_bytes(b"")
    assert "is empty, or not a database of fx-pipeline" in fails("backup", tmp_path / "place")
    database.unlink()
    execute(database, "CREATE TABLE other (a)")
    assert "is empty, or not a database of fx-pipeline" in fails("backup", tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_place_that_cannot_be_used_is_named(database: Path, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    assert fails("backup", tmp_path / "a-file").endswith(
        "(Not a directory). " + PERMIT + "name another PLACE."
    )
    succeeds("backup")
    assert fails("restore", "--to", tmp_path / "a-file" / "fx.db").endswith(
        PERMIT + "name another file with --to."
    )


def test_a_copy_without_days_is_restored_only_on_request(database: Path, tmp_path: Path) -> None:
    succeeds("backup")
    [backup] = backups(database.with_name("backups")).values()
    (backup / "fx.db").write_bytes(b"")
    assert "is empty, or not a database" in fails("restore", "--to", tmp_path / "new" / "fx.db")
    with RateStore(backup / "fx.db"):
        pass  # makes the tables, as a start of the API does
    assert "It has no days. Restore an earlier state" in fails("restore", "--force")
    assert stored_dates(database) == {str(FIRST)}
    assert "It has no days." in succeeds("restore", "--force", "--accept-findings")
    assert stored_dates(database) == set()


def test_restores_the_newest_backup_that_is_not_after_the_instant(database: Path, tmp_path: Path) -> None:
    tokens, place = database.with_name("tokens.db"), tmp_path / "place"
    back_up(database, tokens, place, NOON)
    store_day(SECOND, USD=1.09)
    back_up(database, tokens, place, NOON + dt.timedelta(hours=1))
    restored = tmp_path / "elsewhere" / "fx.db"
    for at, days in (("2024-05-18T12:59:59Z", 1), ("2024-05-18T15:00:00+02:00", 2), ("2024-05-18", 2)):
        succeeds("restore", place, "--at", at, "--to", restored)
        assert len(stored_dates(restored)) == days, at
        shutil.rmtree(restored.parent)
    assert "2024-05-18 12:00:00 UTC, is newer" in fails(
        "restore", place, "--at", "2024-05-17", "--to", restored
    )
    assert not restored.exists()


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("2024-05-18T12:00", "has no time zone. For UTC, write 2024-05-18T12:00Z"),
        ("yesterday", "is not a date or a time"),
        ("2999-01-01", "in the future"),
    ],
)
def test_refuses_an_instant_that_is_not_clear(at: str, message: str) -> None:
    result = invoke("restore", "--at", at)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_an_existing_database_is_moved_aside_with_its_log_only_if_forced(database: Path) -> None:
    succeeds("backup")
    store_day(SECOND, USD=1.09)
    log = database.with_name("fx.db-wal")
    with in_use(database):  # otherwise the last connection removes the log
        store_day(dt.date(2024, 5, 18), USD=1.1)
        kept = log.read_bytes()
    content = database.read_bytes()
    log.write_bytes(kept)  # as after a power cut
    assert "Add --force" in fails("restore")
    assert database.read_bytes() == content
    succeeds("restore", "--force")
    [aside] = database.parent.glob("fx.db.before-*Z")
    assert aside.read_bytes() == content
    assert aside.with_name(f"{aside.name}-wal").read_bytes() == kept
    assert not log.exists()
    assert stored_dates(database) == {"2024-05-16"}


def test_a_database_in_use_is_not_replaced(database: Path) -> None:
    succeeds("backup")
    content = database.read_bytes()
    with in_use(database):
        assert "is in use. Stop all programs" in fails("restore", "--force")
    assert database.read_bytes() == content


def test_a_damaged_backup_replaces_nothing(database: Path) -> None:
    succeeds("backup")
    [backup] = backups(database.with_name("backups")).values()
    damage(backup / "fx.db")
    content = database.read_bytes()
    assert "damaged" in fails("restore", "--force")
    assert database.read_bytes() == content
    assert list(database.parent.glob(".restore-*")) == []


def test_a_damaged_database_is_replaced(database: Path) -> None:
    succeeds("backup")
    before = dump(database)
    damage(database)
    succeeds("restore", "--force")
    assert dump(database) == before


def test_unsound_rates_are_restored_only_on_request(database: Path) -> None:
    execute(database, "UPDATE rates SET rate = 2 WHERE currency = 'GBP'")
    succeeds("backup")
    assert "Nothing was changed" in fails("restore", "--force")
    assert "GBP" in succeeds("restore", "--force", "--accept-findings")
    assert rows(database, "SELECT rate FROM rates WHERE currency = 'GBP'") == [(2.0,)]


def execute(database: Path, statement: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement)


def test_a_revoked_token_stays_revoked(database: Path) -> None:
    access = Access(load_settings())
    access.create("partner")
    succeeds("backup")
    access.revoke("partner")
    output = succeeds("restore", "--force")
    assert "tokens.db was kept" in output
    state = access.state()
    assert (state.mode, state.valid) == ("tokens", 0)
    assert read_mark(database) == 2


def test_lost_tokens_are_restored(database: Path) -> None:
    access = Access(load_settings())
    access.create("partner")
    succeeds("backup")
    for path in (database, database.with_name("tokens.db")):
        path.unlink()
    succeeds("restore")
    state = access.state()
    assert (state.mode, state.valid) == ("tokens", 1)


def test_the_api_stays_closed_without_the_tokens_that_it_required(database: Path) -> None:
    succeeds("backup")
    access = Access(load_settings())
    access.create("partner")
    database.with_name("tokens.db").unlink()
    assert "every request is refused" in succeeds("restore", "--force")
    assert access.state().mode == "closed"
