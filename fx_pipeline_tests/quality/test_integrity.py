"""Every kind of damage to a database is found, with its remedy, and nothing is found in a sound one."""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from fx_pipeline.api.tokens.mark import LOST, OLD
from fx_pipeline.commands.access import Access
from fx_pipeline.commands.cli import main
from fx_pipeline.fixer.errors import FixerError
from fx_pipeline.fixer.parsing import parse_stored
from fx_pipeline.quality.integrity import findings, token_findings
from fx_pipeline.quality.invariants import RULES
from fx_pipeline.settings import load_settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import RESTORE, StoreError, open_database
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.every_kind import store_every_kind
from fx_pipeline_tests.quality.corruption import change_body, copy_files, execute, flip, one, root_page
from fx_pipeline_tests.seeds import seeded_random
from fx_pipeline_tests.stored import dump

TERMS = {
    "REVISED": "(date, currency) = (SELECT date, currency FROM revisions ORDER BY date, currency LIMIT 1)",
    "FIRST": "(SELECT min(fetch_id) FROM revisions)",
    "THE_DOLLAR": "WHERE (date, currency) = ('2024-03-01', 'USD')",
}
"""What these words in a statement mean."""


def in_full(statement: str) -> str:
    """Return a statement with TERMS written out."""
    return re.sub("|".join(TERMS), lambda term: TERMS[term[0]], statement)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "fx.db"
    store_every_kind(path)
    return path


@pytest.fixture
def path(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(filled, tmp_path / "fx.db"))


def test_a_sound_database_has_no_findings(path: Path) -> None:
    for table in ("rates", "days", "revisions", "rejected_rates", "symbols", "wanted_ranges"):
        assert one(path, f"SELECT count(*) > 0 FROM {table}") == (1,)  # noqa: S608
    assert one(path, "SELECT count(*) > 0 FROM fetches WHERE status <> 'ok'") == (1,)
    assert findings(path) == findings(path, full=True) == []


REBUILT = [
    ("DELETE FROM rates WHERE date = '2024-03-01'", "1 days without a rate: 2024-03-01."),
    ("DELETE FROM days WHERE date = '2024-03-01'", "1 days with rates that are not marked as stored"),
    ("DELETE FROM rates THE_DOLLAR", "1 days with more or fewer rates than they count: 2024-03-01."),
    ("DELETE FROM rates WHERE REVISED", "1 revisions that do not lead to the next value"),
    ("UPDATE rates SET fetch_id = FIRST WHERE REVISED", "revisions that do not lead to the next value"),
    (
        "UPDATE revisions SET superseded_by = FIRST WHERE REVISED",
        "revisions that do not lead to the next",
    ),
    ("DELETE FROM revisions WHERE REVISED", " rates, such as "),
    ("UPDATE revisions SET rate = rate * 1.01 WHERE REVISED", " rates, such as "),
    (
        "UPDATE rates SET rate = 1.5 THE_DOLLAR",
        "2024-03-01: 1 of 31 rates, such as USD, stored 1.5, received 1.",
    ),
    (
        "UPDATE symbols SET last_date = '2024-03-11' WHERE code = 'USD'",
        "1 currencies whose first or last day",
    ),
    ("UPDATE symbols SET name = 'Dollars' WHERE code = 'USD'", "The names of the currencies are not as"),
    (
        "UPDATE fetches SET unchanged = unchanged + 1 WHERE id = FIRST",
        "differs from the tables: its counts are",
    ),
    ("UPDATE rejected_rates SET value = 'another'", "other values were rejected"),
    (
        "UPDATE days SET timestamp = 0 WHERE date = '2024-03-01'",
        "1 days are not as their newest response says",
    ),
    (
        "INSERT INTO rates SELECT '2024-04-01', currency, rate, fetch_id FROM rates THE_DOLLAR",
        " stored values are for days that it does not have",
    ),
]


@pytest.mark.parametrize(("statement", "says"), REBUILT)
def test_wrong_rows_are_found_and_a_rebuild_corrects_them(path: Path, statement: str, says: str) -> None:
    execute(path, in_full(statement))
    found = findings(path)
    assert any(says in line for line in found), found
    assert all(line.endswith("from the stored responses: `fx-pipeline rebuild`.") for line in found), found
    with RateStore(path) as store:
        store.rebuild(parse_stored)
    assert findings(path, full=True) == []


RESTORED = [
    ("UPDATE days SET base = 'USD' WHERE date = '2024-03-01'", "1 days in another base than the newest day"),
    (
        "UPDATE fetches SET provider = 'fixer' WHERE id = (SELECT max(fetch_id) FROM days)",
        "fetches from another provider than the newest day's",
    ),
    (
        "DELETE FROM fetches WHERE id = (SELECT max(fetch_id) FROM days)",
        "1 fetches that rates or days refer to, but that are missing or have no response",
    ),
    (
        "UPDATE fetches SET body = NULL WHERE id = (SELECT max(fetch_id) FROM days)",
        "1 stored fetches without a response or an instant",
    ),
    (
        "UPDATE fetches SET fetched_at = '2000-01-01' WHERE id = FIRST + 1",
        "1 fetches dated before an earlier one",
    ),
    ("INSERT INTO wanted_ranges VALUES ('2024-02-25', '2024-02-20')", "ranges of wanted days that overlap"),
    ("DROP INDEX rates_by_currency", "The index rates_by_currency is missing."),
    ("UPDATE fetches SET body = x'00' WHERE id = FIRST", " is damaged (Error "),
    ("UPDATE fetches SET start_date = '2024-02-xx' WHERE id = FIRST", " is damaged (Invalid "),
]


@pytest.mark.parametrize(("statement", "says"), RESTORED)
def test_rows_that_a_rebuild_cannot_correct_need_a_restore(path: Path, statement: str, says: str) -> None:
    execute(path, in_full(statement))
    found = findings(path)
    [line] = [line for line in found if says in line]
    assert line.endswith("restore the database: `fx-pipeline restore --force`.")


def test_every_rule_is_tested() -> None:
    tested = " ".join(says for _, says in (*REBUILT, *RESTORED))
    assert [rule.problem for rule in RULES if rule.problem[:25] not in tested] == []


def test_a_response_that_was_changed_is_found(path: Path) -> None:
    [fetch_id] = one(path, "SELECT fetch_id FROM days WHERE date = '2024-03-01'")
    change_body(path, fetch_id, rates={"EUR": 1, "USD": 1.5})
    [line] = findings(path)
    assert line.startswith(
        f"The response of fetch {fetch_id} (historical 2024-03-01) differs from the tables: "
    )
    change_body(path, fetch_id, success=False)
    [line] = findings(path)
    assert line.startswith(f"The response of fetch {fetch_id} (historical 2024-03-01) cannot be read: ")
    with RateStore(path) as store, pytest.raises(FixerError):
        store.rebuild(parse_stored)


def test_a_rebuild_names_a_damaged_response(path: Path) -> None:
    execute(path, in_full("UPDATE fetches SET body = x'00' WHERE id = FIRST"))
    with RateStore(path) as store, pytest.raises(StoreError, match=r"^The response of fetch \d+ is damaged"):
        store.rebuild(parse_stored)


@pytest.mark.parametrize("table", ["rates", "fetches", "days", "revisions", "rates_by_currency"])
def test_flipped_bytes_in_a_page_are_found(path: Path, table: str) -> None:
    flip(path, root_page(path, table), 12)
    found = findings(path)
    assert found
    assert all(line.endswith("restore the database: `fx-pipeline restore --force`.") for line in found), found


def test_flipped_bytes_anywhere_lead_to_findings_and_never_to_an_error(filled: Path, tmp_path: Path) -> None:
    chosen = seeded_random()
    path = tmp_path / "fx.db"
    harmless = []
    for _ in range(int(os.environ.get("FX_TESTS_FLIPS", "25"))):
        shutil.copyfile(filled, path)
        at = chosen.randrange(path.stat().st_size)
        flip(path, at, 16)
        try:
            before = dump(filled)
            changed = dump(path) != before
        except (sqlite3.Error, UnicodeError, TypeError):
            changed = True
        found = findings(path, full=True)
        assert all(line.isprintable() for line in found), found
        if not found:
            harmless.append(at)
            assert not changed, f"the damage at {at} is not found"
    print("not found, because these bytes are unused:", harmless)


@pytest.mark.parametrize("size", [0, 50, 5_000, 40_000])
def test_a_truncated_file_is_found(path: Path, size: int) -> None:
    os.truncate(path, size)
    [line] = findings(path)
    assert line.startswith(f"{path} ")
    assert ("is empty" if not size else "is truncated") in line


def test_a_file_that_is_missing_or_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fx.db"
    assert findings(path) == [f"There is no file at {path}. {RESTORE}"]
    path.write_text("these are notes, and long enough to be read as a header" * 9, encoding="utf-8")
    assert findings(path) == [f"{path} cannot be read: file is not a database. {RESTORE}"]
    path.unlink()
    execute(path, "CREATE TABLE other (a)")
    [line] = findings(path)
    assert line.startswith("This is not a database of fx-pipeline.")
    path.unlink()
    open_database(path).close()
    execute(path, "INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('fx_pipeline', 'later')")
    [line] = findings(path)
    assert line.startswith("A newer version wrote this file (schema: later).")


def test_a_log_that_was_removed_or_cut_is_found(path: Path, tmp_path: Path) -> None:
    """As when a running database is copied without its log."""
    copies = tmp_path / "copies"
    copies.mkdir()
    with RateStore(path) as store:
        store.refuse_symbols(["XXX"])
        sound = copy_files(path, copies / "sound.db")
        assert findings(sound) == []
        without = copy_files(path, copies / "without.db", without=["-wal"])
        [line] = findings(without)
        assert line.startswith("without.db-wal is missing, although without.db-shm is there")
        assert " changed page with it. Commits may be lost. " in line
        assert findings(without) == [line]  # looking does not hide it
        cut = copy_files(path, copies / "cut.db")
        os.truncate(copies / "cut.db-wal", 32)
        [line] = findings(cut)
        assert line.startswith("cut.db-wal is shorter than cut.db-shm says")
    assert findings(path) == []  # closed, so both files are gone


def test_a_database_is_checked_while_a_writer_works(path: Path) -> None:
    ended = threading.Event()

    def write() -> None:
        with RateStore(path) as store:
            while not ended.is_set():
                store.rebuild(parse_stored)
                store.refuse_symbols(["XXX"])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [findings(path) for _ in range(5)] == [[]] * 5
    finally:
        ended.set()
        writer.join()


def test_damage_to_the_file_of_tokens_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FX_DATABASE", str(path))
    tokens = path.with_name("tokens.db")
    assert token_findings(tokens, path) == []
    access = Access(load_settings())
    access.create("a")
    assert token_findings(tokens, path) == []
    older = shutil.copyfile(tokens, path.with_name("older.db"))
    access.revoke("a")
    assert token_findings(older, path) == [OLD]
    assert token_findings(path.with_name("none.db"), path) == [LOST]
    flip(tokens, root_page(tokens, "tokens"), 12)
    found = token_findings(tokens, path)
    assert found
    assert all(line.endswith(RESTORE) for line in found), found
    os.truncate(tokens, 5_000)
    [line] = token_findings(tokens, path)
    assert line.startswith(f"{tokens} is truncated: its last ")


def test_the_command_prints_findings_and_fails_if_there_are_any(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FX_DATABASE", str(path))
    result = CliRunner().invoke(main, ["check", "--full"])
    assert (result.exit_code, result.stderr) == (
        0,
        f"Database {path}, tokens {path.with_name('tokens.db')}.\n",
    )
    assert re.fullmatch(r"Sound: 20 days, 6\d\d rates, \d\d responses\.\n", result.stdout), result.stdout
    execute(path, "DELETE FROM days WHERE date = '2024-03-01'")
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == findings(path)
