"""A rebuild from the stored responses creates the same rows, without a call."""

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from fx_pipeline.fixer.errors import BadResponse
from fx_pipeline.fixer.parsing import parse_body, parse_stored
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.every_kind import store_every_kind

TABLES = ("rates", "days", "revisions", "rejected_rates", "symbols", "fetches")


def everything(path: Path) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}  # noqa: S608
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "fx.db"
    store_every_kind(path)
    return path


def test_a_rebuild_restores_the_same_tables(path: Path) -> None:
    before = everything(path)
    assert min(len(rows) for rows in before.values()) > 0
    assert sum(1 for row in before["fetches"] if "ok" not in row) > 0
    with RateStore(path) as store:
        assert store.rebuild(parse_body) == sum(1 for row in before["fetches"] if "ok" in row)
    assert everything(path) == before


def test_a_rebuild_restores_lost_rows(path: Path) -> None:
    before = everything(path)
    connection = sqlite3.connect(path)
    with connection:
        for name in TABLES[:-1]:
            connection.execute(f"DELETE FROM {name}")  # noqa: S608
    connection.close()
    with RateStore(path) as store:
        store.rebuild(parse_body)
    assert everything(path) == before


def test_an_unreadable_response_leaves_everything_unchanged(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE fetches SET body = (SELECT body FROM fetches WHERE endpoint = 'symbols')")
    connection.close()
    before = everything(path)
    with RateStore(path) as store, pytest.raises(BadResponse):
        store.rebuild(parse_body)
    assert everything(path) == before


def rows(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(query, values).fetchall()
    finally:
        connection.close()


def test_a_rebuild_skips_only_responses_with_a_wrong_base(path: Path) -> None:
    [(newest, date, packed)] = rows(
        path,
        "SELECT id, start_date, body FROM fetches WHERE status = 'ok' AND endpoint = 'historical' "
        "ORDER BY id DESC LIMIT 1",
    )
    document = json.loads(zlib.decompress(packed))
    document["rates"]["EUR"] = 0.9  # as if the rates were for one dollar
    body = zlib.compress(json.dumps(document).encode())
    rows(path, "UPDATE fetches SET body = ? WHERE id = ?", body, newest)
    other_days = "SELECT * FROM rates WHERE date <> ? ORDER BY date, currency"
    before = rows(path, other_days, date)
    for _ in range(2):  # the second time it is an error like any other
        with RateStore(path) as store:
            store.rebuild(parse_stored)
        assert rows(path, other_days, date) == before
    assert rows(path, "SELECT status, inserted + updated + unchanged FROM fetches WHERE id = ?", newest) == [
        ("the response's rates are not in EUR, the base it names", 0)
    ]
    # The day keeps what an earlier answer said.
    [(status,)] = rows(
        path, "SELECT status FROM days JOIN fetches ON fetches.id = days.fetch_id WHERE date = ?", date
    )
    assert status == "ok"


def test_a_rebuild_compacts_the_file(path: Path) -> None:
    def unused() -> int:
        connection = sqlite3.connect(path)
        ((pages,),) = connection.execute("PRAGMA freelist_count").fetchall()
        connection.close()
        return int(pages)

    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE large (body); INSERT INTO large VALUES (zeroblob(100000))")
    connection.executescript("DROP TABLE large")
    connection.close()
    assert unused() > 20
    with RateStore(path) as store:
        store.rebuild(parse_body)
    assert unused() == 0
