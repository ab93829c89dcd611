"""A disk that is full or read-only: stored rates are served, and tokens that are on stay on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.mark import LOST
from fx_pipeline.commands.access import Access
from fx_pipeline.settings import Settings
from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.api.public_paths import PATHS
from fx_pipeline_tests.api.server import rate_in, serving
from fx_pipeline_tests.disks import NO_MOUNT, fill, remount, small_disk
from fx_pipeline_tests.waiting import wait_for

USD = "/rates/2026-03-09?symbols=USD"
TOO_SMALL = "database or disk is full", "disk I/O error"


@pytest.fixture
def disk(tmp_path: Path, written: Path) -> Iterator[Path]:
    """Yield a disk with a database that no process has open, as after a restart of the machine."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, "2m") as mounted:
        if not mounted:
            pytest.skip(NO_MOUNT)
        shutil.copy(written, folder / "fx.db")
        yield folder


def test_a_full_disk_serves_everything_that_a_disk_with_space_does(disk: Path, tmp_path: Path) -> None:
    filler = fill(disk)
    # Temporary files of SQLite would be on the full disk too.
    with serving(disk / "fx.db", tmp_path / "log", SQLITE_TMPDIR=str(disk), FX_MAX_AGE_DAYS="9999") as server:
        assert rate_in(server.get(USD)) == 1.165
        assert {path: server.get(path)[0] for path, *_ in PATHS} == {path: code for path, code, _ in PATHS}
        log = server.log.read_text()
        assert "Stored rates are served." in log
        assert any(reason in log for reason in TOO_SMALL)
        # With space again, a new commit is served.
        filler.unlink()
        history = History(disk / "fx.db")
        history.fetch("2026-03-10T00:05:00.000000Z", {"2026-03-09": {"EUR": 1, "USD": 1.5}})
        wait_for(lambda: rate_in(server.get(USD)), lambda rate: rate == 1.5)
        history.close()
        wait_for(lambda: rate_in(server.get(USD)), lambda rate: rate == 1.5)


@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
def test_tokens_that_are_on_stay_on(disk: Path, tmp_path: Path, full: bool) -> None:
    token = Access(Settings(fx_database=disk / "fx.db")).create("reports")
    if full:
        fill(disk)
    else:
        remount(disk, "ro")
    with serving(disk / "fx.db", tmp_path / "log") as server:
        assert server.get(USD)[0] == 401
        assert rate_in(server.get(USD, {"Authorization": f"Bearer {token}"})) == 1.165
        assert server.get(USD, {"Authorization": "Bearer fxp_another"})[0] == 401


def test_lost_tokens_do_not_open_the_api(disk: Path, tmp_path: Path) -> None:
    token = Access(Settings(fx_database=disk / "fx.db")).create("reports")
    (disk / "tokens.db").unlink()
    fill(disk)
    with serving(disk / "fx.db", tmp_path / "log") as server:
        assert server.get(USD)[0] == 401
        assert server.get(USD, {"Authorization": f"Bearer {token}"})[0] == 401
        assert LOST in server.log.read_text()


def test_a_read_only_disk_without_tokens_is_served(disk: Path, tmp_path: Path) -> None:
    remount(disk, "ro")
    with serving(disk / "fx.db", tmp_path / "log") as server:
        assert rate_in(server.get(USD)) == 1.165
        assert {path.name for path in disk.iterdir()} == {"fx.db"}
