"""When a database file may be read as immutable: only if nothing next to it has to be applied to it."""

from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.reading.files import open_file
from fx_pipeline.sqlite import sqlite3


@pytest.mark.parametrize("end", [None, "-wal", "-journal"])
def test_a_file_with_a_log_or_a_journal_is_not_read_as_immutable(
    monkeypatch: pytest.MonkeyPatch, written: Path, tmp_path: Path, end: str | None
) -> None:
    """SQLite fails here because it does not follow the link. On a full disk it fails alike."""
    path = tmp_path / "fx.db"
    path.write_bytes(written.read_bytes())
    (tmp_path / "fx.db-shm").symlink_to(tmp_path / "missing" / "folder")
    if end is None:
        connection, immutable = open_file(path)
        with closing(connection):
            assert immutable
            assert connection.execute("SELECT count(*) FROM days").fetchone() == (7,)
        return
    (tmp_path / f"fx.db{end}").write_bytes(b"x")
    with pytest.raises(sqlite3.OperationalError):
        open_file(path)


def test_an_empty_or_missing_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        open_file(tmp_path / "missing.db")
