"""The API while its database file is replaced, overwritten, deleted and restored."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.reading import served
from fx_pipeline.api.replies import RETRY_SECONDS
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.api.conftest import Api, OpenApi
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.server import ask, one_connection_each, rate_in, serving
from fx_pipeline_tests.waiting import wait_for

LATEST = "/rates/2026-03-09?symbols=USD"
AS_OF = f"{LATEST}&as_of=2026-03-10"
LONG = "/rates/1999-01-04..2026-03-09?symbols=USD"
TABLE = "/fx/rates.json?date=2026-03-09&currency=USD&_shape=array"
OLD, NEW = 1.165, 2.5


@pytest.fixture(autouse=True)
def always_checking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the file for every request."""
    monkeypatch.setattr(served, "CHECK_SECONDS", 0)


@pytest.fixture
def other(history: History, tmp_path: Path) -> Path:
    """Copy the database, and set one rate to NEW."""
    (tmp_path / "other").mkdir()
    path = tmp_path / "other" / "fx.db"
    with closing(sqlite3.connect(path)) as connection:
        history.db.conn.backup(connection)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE rates SET rate = ? WHERE date = '2026-03-09' AND currency = 'USD'", [NEW])
        connection.commit()
    return path


class Cached:
    """The API behind a cache."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.client = api.client

    async def rates(self) -> set[float]:
        """Return the rate as the cache, the event loop, the lanes and Datasette's threads read it."""
        found = set()
        for path in (LATEST, LATEST, AS_OF, LONG):
            response = await self.client.get(path)
            assert response.status_code == 200, response.text
            rates = response.json()["rates"]
            found.add(rates.get("2026-03-09", rates)["USD"])
        for _ in range(5):
            (row,) = (await self.client.get(TABLE)).json()
            found.add(row["rate"])
        assert (await self.client.get("/-/health")).status_code == 200
        assert (await self.client.get("/")).status_code == 200
        return found

    async def is_unavailable(self) -> bool:
        """Return whether every kind of request gets a 503, with the right headers and body."""
        statuses = set()
        for path in (LATEST, LATEST, AS_OF, LONG, TABLE, "/", "/fx/rates", "/-/health/freshness"):
            response = await self.client.get(path)
            statuses.add(response.status_code)
            if path != "/-/health/freshness":
                assert response.headers["retry-after"] == str(RETRY_SECONDS)
            if path == LATEST:
                assert response.json()["error"] == {
                    "code": 503,
                    "type": "database_unavailable",
                    "info": "The database cannot be read.",
                }
        health = await self.client.get("/-/health")
        assert health.json() == {"status": "error", "message": "The database cannot be read."}
        return {*statuses, health.status_code} == {503}


@pytest.fixture
async def cached(history: History, open_api: OpenApi) -> Cached:
    cached = Cached(open_api(history.path, fx_cache_mb=1))
    assert await cached.rates() == {OLD}
    return cached


def log_files(path: Path) -> list[Path]:
    """Return the files that SQLite keeps next to a database."""
    return [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm")]


def remove_log(path: Path) -> None:
    for file in log_files(path):
        file.unlink(missing_ok=True)


def rename(other: Path, path: Path) -> None:
    remove_log(path)
    other.replace(path)


def rename_in_another_order(other: Path, path: Path) -> None:
    other.replace(path)
    remove_log(path)


def delete_and_copy(other: Path, path: Path) -> None:
    path.unlink()
    remove_log(path)
    shutil.copy(other, path)


def overwrite(other: Path, path: Path) -> None:
    """Replace the content of the same file."""
    remove_log(path)
    with other.open("rb") as source, path.open("r+b") as target:
        target.truncate()
        shutil.copyfileobj(source, target)


def relink(other: Path, path: Path) -> None:
    """Replace the file by a link to the other one."""
    remove_log(path)
    path.unlink()
    path.symlink_to(other)


def rename_without_log(other: Path, path: Path) -> None:
    other.replace(path)


def copy_without_log(other: Path, path: Path) -> None:
    shutil.copy(other, path)


Replace = Callable[[Path, Path], None]
LEAVING: list[Replace] = [rename_without_log, copy_without_log]
"""The ways that leave the log of the previous file behind."""
WAYS: list[Replace] = [rename, rename_in_another_order, delete_and_copy, overwrite, relink]


@pytest.mark.parametrize("replace", WAYS)
async def test_a_replaced_database_is_served(
    cached: Cached, history: History, other: Path, replace: Replace, caplog: pytest.LogCaptureFixture
) -> None:
    replace(other, history.path)
    assert await cached.rates() == {NEW}
    assert f"{history.path} was replaced by another file, which is now open." in caplog.text
    # Commits to it are seen, too.
    with closing(sqlite3.connect(history.path)) as connection:
        connection.execute("UPDATE rates SET rate = 3.5 WHERE date = '2026-03-09' AND currency = 'USD'")
        connection.commit()
    assert await cached.rates() == {3.5}


@pytest.mark.parametrize("replace", LEAVING)
async def test_a_log_of_the_previous_file_makes_the_database_unavailable(
    cached: Cached, history: History, other: Path, replace: Replace, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite would apply the old log to the new file, and read a mixture of both."""
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-05": {"USD": 9.5}})
    assert await cached.rates() == {OLD}
    # An open connection in this process would share the log's index with the readers.
    history.close()
    replace(other, history.path)
    assert await cached.is_unavailable()
    said = f"{history.path} was replaced, but fx.db-wal next to it belongs to the previous file."
    remedy = "Stop all programs that write to the database, and remove fx.db-wal and fx.db-shm."
    assert f"{said} {remedy}" in caplog.text
    remove_log(history.path)
    assert await cached.rates() == {NEW}


@pytest.mark.parametrize("replace", LEAVING)
async def test_an_empty_log_of_the_previous_file_does_no_harm(
    cached: Cached, history: History, other: Path, replace: Replace
) -> None:
    history.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert await cached.rates() == {OLD}
    replace(other, history.path)
    assert await cached.rates() == {NEW}


def delete(path: Path) -> None:
    path.unlink()


def delete_all(path: Path) -> None:
    path.unlink()
    remove_log(path)


def spoil(path: Path) -> None:
    remove_log(path)
    path.write_bytes(b"no database" * 1000)


def empty(path: Path) -> None:
    remove_log(path)
    path.write_bytes(b"")


def make_another_kind(path: Path) -> None:
    delete_all(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE rates (a)")
        connection.commit()


def make_a_folder(path: Path) -> None:
    delete_all(path)
    path.mkdir()


Break = Callable[[Path], None]
BREAKS: list[Break] = [delete, delete_all, spoil, empty, make_another_kind, make_a_folder]


@pytest.mark.parametrize("break_", BREAKS)
async def test_without_a_database_every_request_gets_a_503_until_it_is_restored(
    cached: Cached, history: History, other: Path, break_: Break, caplog: pytest.LogCaptureFixture
) -> None:
    history.close()
    break_(history.path)
    for _ in range(3):
        assert await cached.is_unavailable()
    logged = [record for record in caplog.records if record.name == served.__name__]
    assert [record.levelno for record in logged] == [logging.ERROR]
    if history.path.is_dir():
        history.path.rmdir()
    rename(other, history.path)
    assert await cached.rates() == {NEW}


async def test_a_file_that_is_moved_away_and_back_is_served(
    cached: Cached, history: History, tmp_path: Path
) -> None:
    history.path.rename(tmp_path / "away")
    assert await cached.is_unavailable()
    (tmp_path / "away").rename(history.path)
    assert await cached.rates() == {OLD}
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-09": {"USD": NEW}})
    assert await cached.rates() == {NEW}


@pytest.mark.parametrize("ends", [("-wal", "-shm"), ("-wal",), ("-shm",)], ids=" ".join)
async def test_a_deleted_log_hides_no_later_commit(
    cached: Cached, history: History, ends: tuple[str, ...]
) -> None:
    """The next writer creates a new log, whose commits are seen."""
    history.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    history.close()
    assert await cached.rates() == {OLD}
    for end in ends:
        history.path.with_name(f"{history.path.name}{end}").unlink()
    assert await cached.rates() == {OLD}
    with closing(sqlite3.connect(history.path)) as connection:
        connection.execute("UPDATE rates SET rate = 2.5 WHERE date = '2026-03-09' AND currency = 'USD'")
        connection.commit()
    assert await cached.rates() == {NEW}


async def test_a_writer_of_the_old_file_changes_nothing(
    cached: Cached, history: History, other: Path
) -> None:
    rename(other, history.path)
    history.fetch("2026-03-10T11:00:00.000000Z", {"2026-03-09": {"USD": 7.5}})
    assert await cached.rates() == {NEW}
    history.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert await cached.rates() == {NEW}


async def test_commits_and_checkpoints_reopen_no_connection(
    cached: Cached, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    generation = cached.api.datasette.served.generation
    for minute in range(20):
        new = 1 + minute / 8
        history.fetch(f"2026-03-10T11:{minute:02}:00.000000Z", {"2026-03-09": {"USD": new}})
        if minute % 3 == 0:
            history.db.execute(
                f"PRAGMA wal_checkpoint({('PASSIVE', 'TRUNCATE', 'RESTART')[minute % 9 // 3]})"
            )
        assert await cached.rates() == {new}
    history.db.conn.commit()
    history.db.conn.execute("VACUUM")
    assert await cached.rates() == {new}
    assert cached.api.datasette.served.generation == generation
    assert served.__name__ not in {record.name for record in caplog.records}


async def test_no_connection_to_a_replaced_file_stays_open(
    cached: Cached, history: History, other: Path
) -> None:
    history.close()
    for number in range(5):
        shutil.copy(other, other.with_name(f"{number}"))
        rename(other.with_name(f"{number}"), history.path)
        assert await cached.rates() == {NEW}
    # Other threads close their connections on their next use.
    await asyncio.gather(*(cached.client.get(TABLE) for _ in range(20)))
    files = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    deleted = [name for name in files if name.startswith(str(history.path)) and "(deleted)" in name]
    # The descriptors of the shared headers stay open, see `commits`.
    assert [name for name in deleted if "-shm" not in name] == []


@pytest.mark.slow
@pytest.mark.parametrize("replace", [rename, overwrite])
def test_every_worker_notices_a_replaced_or_deleted_file(
    history: History, other: Path, tmp_path: Path, replace: Replace
) -> None:
    shutil.copy(other, other.with_name("again"))
    with (
        serving(history.path, tmp_path / "log", workers=2) as server,
        one_connection_each(server, 2) as workers,
    ):

        def statuses() -> set[tuple[int, ...]]:
            paths = (LATEST, "/-/health")
            return {tuple(ask(one, path)[0] for path in paths) for one in workers.values()}

        def rates() -> set[float]:
            return {rate_in(ask(connection, LATEST)) for connection in workers.values()}

        assert rates() == {OLD}
        replace(other, history.path)
        wait_for(rates, lambda found: found == {NEW})
        delete_all(history.path)
        wait_for(statuses, lambda found: found == {(503, 503)})
        shutil.copy(other.with_name("again"), history.path)
        wait_for(statuses, lambda found: found == {(200, 200)})
        assert rates() == {NEW}
    assert "Traceback" not in server.log.read_text()
