"""A database that Litestream replicates: its tables are accepted, and are on no page and in no list."""

from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenError, TokenFile
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.database import StoreError, open_database
from fx_pipeline_tests.api.conftest import Api
from fx_pipeline_tests.api.history import History

TABLES = ("_litestream_seq", "_litestream_lock")


def add_tables(path: Path, *names: str) -> None:
    """Create what Litestream creates in a file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        for name in names:
            connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, seq INTEGER)")


async def test_no_page_and_no_list_has_the_tables(history: History, api: Api) -> None:
    add_tables(history.path, *TABLES)
    for path in ("/", "/fx", "/fx.json", "/public"):
        answer = await api.get(path)
        assert answer.status_code == 200
        assert "litestream" not in answer.text
    for table in TABLES:
        for ending in ("", ".json", ".csv"):
            assert (await api.get(f"/fx/{table}{ending}")).status_code == 403


def test_files_that_litestream_has_opened_first_can_be_used(tmp_path: Path) -> None:
    add_tables(tmp_path / "fx.db", *TABLES)
    with closing(open_database(tmp_path / "fx.db").conn) as connection:
        assert connection.execute("SELECT count(*) FROM days").fetchone() == (0,)
    add_tables(tmp_path / "tokens.db", *TABLES)
    assert TokenFile(tmp_path / "tokens.db").create("reports")


def test_other_databases_are_still_refused(tmp_path: Path) -> None:
    add_tables(tmp_path / "other.db", "litestreams", *TABLES)
    with pytest.raises(StoreError, match="not one of fx-pipeline"):
        open_database(tmp_path / "other.db")
    with pytest.raises(TokenError, match="a database without tokens"):
        TokenFile(tmp_path / "other.db").make()
