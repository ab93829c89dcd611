"""The restore drill: a sound copy passes, and damage to the copy or to the live database is found."""

import datetime as dt
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.cli import main
from fx_pipeline.drilled import read_drill
from fx_pipeline.replication import drill as drills
from fx_pipeline.replication import fencing, litestream
from fx_pipeline.replication.addresses import ReplicaAddress
from fx_pipeline.replication.backup import backups
from fx_pipeline.replication.drill import Drill, drill
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import RESTORE
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.quality.corruption import change_body, copy_files, execute, flip, one, root_page
from fx_pipeline_tests.responses import store_days

FIRST = dt.date(2024, 1, 1)


@pytest.fixture
def database() -> Path:
    path = load_settings().fx_database
    with RateStore(path) as store:
        store_days(store, FIRST, 20)
        store_days(store, FIRST, 5, rate=1.6)  # revisions
    TokenFile(path.with_name("tokens.db")).make()
    return path


@pytest.fixture
def backup(database: Path) -> Path:
    done = CliRunner().invoke(main, ["backup", "kept"], catch_exceptions=False)
    assert done.exit_code == 0
    [backup] = backups(Path("kept").absolute()).values()
    return backup


def run() -> Drill:
    """Do a drill. Fail if it leaves anything behind, or does not keep its result."""
    done = drill(load_settings())
    database = load_settings().fx_database
    assert not [*database.parent.glob(f"{drills.SCRATCH}*")]
    assert read_drill(database) == done.state
    return done


def failed(done: Drill) -> str:
    """Return the only finding of a failed drill."""
    [line] = done.findings
    assert (done.state.result, done.state.finding) == ("failed", line)
    return line


def test_without_a_replica_and_a_backup_it_is_skipped(database: Path) -> None:
    done = run()
    assert (done.state.result, done.state.source, done.findings) == ("skipped", None, ())
    assert done.state.problem(utc_now() + dt.timedelta(days=9), 2) is None


def test_an_older_backup_equals_the_database_as_it_was_then(database: Path, backup: Path) -> None:
    with RateStore(database) as store:
        store_days(store, FIRST, 20, rate=1.7)
        store_days(store, FIRST + dt.timedelta(days=20), 3)
    done = run()
    assert (done.state.result, done.findings, done.state.source) == ("good", (), f"backup {backup}")
    assert done.state.bytes == sum(file.stat().st_size for file in backup.iterdir())
    assert done.state.good_at == done.state.at
    [then] = one(backup / "fx.db", "SELECT max(fetched_at) FROM fetches")
    assert done.state.newest == then


@pytest.mark.parametrize("kind", ["flipped", "truncated", "body", "rate"])
def test_a_damaged_backup_fails_the_drill_and_the_database_is_not_blamed(backup: Path, kind: str) -> None:
    copy = backup / "fx.db"
    if kind == "flipped":
        flip(copy, root_page(copy, "rates"), 12)
    elif kind == "truncated":
        os.truncate(copy, 9_000)
    elif kind == "body":
        change_body(copy, 25, rates={"EUR": 1, "USD": 9})
    else:
        execute(copy, "UPDATE rates SET rate = 9 WHERE (date, currency) = ('2024-01-09', 'USD')")
    found = run().findings
    assert found
    for line in found:
        assert line.startswith(f"The backup {backup} "), line
        assert line.endswith("finds nothing, make a new backup: `fx-pipeline backup`.")


@pytest.mark.parametrize(
    ("table", "statement"),
    [
        ("rates", "UPDATE rates SET rate = 9 WHERE (date, currency) = ('2024-01-09', 'USD')"),
        ("rates", "DELETE FROM rates WHERE (date, currency) = ('2024-01-20', 'USD')"),
        ("revisions", "UPDATE revisions SET fetch_id = 2 WHERE (date, currency) = ('2024-01-01', 'USD')"),
        ("fetches", "UPDATE fetches SET body = x'00' WHERE id = 9"),
        ("fetches", "DELETE FROM fetches WHERE id = 9"),
        ("rejected rates", "INSERT INTO rejected_rates VALUES (1, '2024-01-01', 'X', 'y', 'z')"),
    ],
)
def test_a_live_database_that_changed_its_past_is_found(
    database: Path, backup: Path, table: str, statement: str
) -> None:
    execute(database, statement)
    found = run().findings
    assert any(line.startswith(f"The {table} differ: restored ") for line in found), found


def test_a_live_database_that_has_lost_commits_is_found(database: Path) -> None:
    """As after the removal of both its log and the index of the log."""
    older = database.read_bytes()
    with RateStore(database) as store:
        store_days(store, FIRST + dt.timedelta(days=20), 3)
    assert CliRunner().invoke(main, ["backup"]).exit_code == 0
    database.write_bytes(older)
    line = failed(run())
    assert line.startswith("The live database ends at fetch 25, the restored one at 28: ")
    assert line.endswith(RESTORE)


def test_a_live_database_without_its_log_is_found(database: Path, backup: Path) -> None:
    with RateStore(database) as store:
        store_days(store, FIRST + dt.timedelta(days=20), 3)
        copy_files(database, database.with_name("copy.db"), without=["-wal"])
    for end in ("", "-shm"):
        database.with_name(f"copy.db{end}").replace(database.with_name(f"fx.db{end}"))
    line = failed(run())
    assert line.startswith("fx.db-wal is missing, although fx.db-shm is there")
    assert line.endswith(RESTORE)


@pytest.fixture
def replica(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReplicaAddress:
    """Replicate the database once, into a folder."""
    url = f"file://{tmp_path}/replica"
    monkeypatch.setenv("FX_REPLICA_URL", url)
    address = ReplicaAddress.parse(url)
    claim = fencing.require_writer(address, database)
    litestream.replicate_once(claim.address(address).of("fx.db"), database)
    return address


def test_the_replica_is_restored_and_compared(database: Path, backup: Path, replica: ReplicaAddress) -> None:
    done = run()
    assert (done.state.result, done.findings, done.state.source) == ("good", (), f"replica {replica}")
    good_at = done.state.good_at
    with RateStore(database, now=lambda: utc_now() - dt.timedelta(minutes=4)) as store:
        store_days(store, FIRST + dt.timedelta(days=20), 1)
    assert run().findings == ()
    with RateStore(database, now=utc_now) as store:
        store_days(store, FIRST + dt.timedelta(days=21), 1)
    later = drill(load_settings(), now=lambda: utc_now() + dt.timedelta(hours=1))
    assert failed(later).startswith("The replica lacks the last 2 responses, since ")
    assert (later.state.good_at or "") >= (good_at or "")

    folder = replica.folder
    assert folder is not None
    files = sorted(folder.glob("1/fx.db/**/*.ltx"))
    assert files
    for file in files:
        flip(file, file.stat().st_size // 2, 40)
    line = failed(run())
    assert line.startswith(f"The replica {replica} ")
    assert line.endswith("set FX_REPLICA_URL to an empty place for a new replica.")
    shutil.rmtree(folder)
    assert failed(run()).startswith(f"The replica {replica} cannot be restored: There is no")


def test_it_does_not_fill_the_disk(database: Path, backup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills, "FREE_MB", 2**40)
    assert " MB free, and the drill needs " in failed(run())


def test_the_scratch_folder_of_a_killed_drill_is_removed(database: Path, backup: Path) -> None:
    left = database.with_name(f"{drills.SCRATCH}killed")
    left.mkdir()
    (left / "fx.db").touch()
    os.utime(left, (0, 0))
    assert run().state.result == "good"


def test_the_age_of_the_last_good_drill_counts(backup: Path) -> None:
    good = run().state
    at = dt.datetime.fromisoformat(good.at)
    assert good.problem(at + dt.timedelta(days=2), 2) is None
    assert (good.too_old(at + dt.timedelta(days=2, minutes=1), 2) or "").startswith(
        f"The last good restore drill was at {good.at}, so nothing proves "
    )
    os.truncate(backup / "fx.db", 9_000)
    bad = run().state
    assert (bad.good_at, bad.since) == (good.at, good.at)
    assert (bad.problem(at, 2) or "").startswith(f"The restore drill of {bad.at} failed: The backup ")
    assert bad.document(at + dt.timedelta(hours=3)) == {
        "result": "failed",
        "at": bad.at,
        "last_good": good.at,
        "age_hours": 3.0,
    }
    shutil.rmtree(backup)
    gone = failed(run())
    assert gone.startswith(f"The backup {backup} cannot be restored: it is no longer there, or its disk is ")


def test_a_backup_in_an_object_store_is_restored(database: Path, tmp_path: Path) -> None:
    (tmp_path / "store" / "writers").mkdir(parents=True)
    assert CliRunner().invoke(main, ["backup", f"file://{tmp_path}/store"]).exit_code == 0
    done = run()
    assert (done.state.result, done.findings) == ("good", ())
    assert (done.state.source or "").startswith(f"backup file://{tmp_path}/store/2")
    assert database.with_name("fx.db-backup").stat().st_mode & 0o077 == 0
