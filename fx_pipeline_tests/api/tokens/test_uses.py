"""How often each token was used on this machine."""

from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.api.tokens.live import Tokens


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
