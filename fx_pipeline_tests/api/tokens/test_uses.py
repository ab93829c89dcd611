"""How often each token was used on this machine."""

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile, digest
from fx_pipeline.api.tokens.live import Tokens
from fx_pipeline.sqlite import sqlite3
from fx_pipeline_tests.disks import NO_MOUNT, remount, small_disk


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


def test_a_list_neither_waits_for_a_worker_nor_changes_anything(
    file: TokenFile, worker: Tokens, path: Path
) -> None:
    holder = worker.find(file.create("a"))
    assert holder is not None
    worker.count(holder)
    worker.write_counts()
    before = {place: place.read_bytes() for place in path.parent.iterdir()}
    with closing(sqlite3.connect(path.with_name("token-uses.db"), isolation_level=None)) as counting:
        counting.execute("BEGIN IMMEDIATE")
        assert [record.requests for record in file.records()] == [1]
    assert {place: place.read_bytes() for place in path.parent.iterdir()} == before


@pytest.mark.parametrize("content", [None, b""])
def test_a_file_without_content_has_no_uses(file: TokenFile, path: Path, content: bytes | None) -> None:
    file.create("a")
    uses = path.with_name("token-uses.db")
    if content is not None:
        uses.write_bytes(content)
    assert [record.requests for record in file.records()] == [0]
    assert (uses.read_bytes() if uses.exists() else None) == content


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_tokens_are_listed_on_a_read_only_disk(tmp_path: Path, mode: str) -> None:
    """Litestream puts the file of tokens into WAL mode, whose index cannot be created there."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, "2m") as mounted:
        if not mounted:
            pytest.skip(NO_MOUNT)
        file = TokenFile(folder / "tokens.db")
        file.add_requests(Counter({digest(file.create("a")): 1}))
        with closing(sqlite3.connect(file.path)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
        remount(folder, "ro")
        assert [(record.name, record.requests) for record in file.records()] == [("a", 1)]
        assert file.counts() == (1, 1)
