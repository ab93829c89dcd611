"""Small files: a reader sees a whole document, whatever happens to a process that replaces it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fx_pipeline.small_files import read_document, replace_document, replace_text


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    for document in ({"at": "2026-03-10", "fault": None}, {"fault": "Zürich\n"}, {}):
        replace_document(file, document)
        assert read_document(file) == document
        assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("content", [b"", b'{"at": ', b"[1]", b"1", b'"\xff"', b"\x00" * 64])
def test_a_damaged_document_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    assert read_document(tmp_path / "state.json") == {}


def test_a_missing_document_is_empty(tmp_path: Path) -> None:
    assert read_document(tmp_path / "none" / "state.json") == {}
    (tmp_path / "file").touch()
    assert read_document(tmp_path / "file" / "state.json") == {}


def test_a_document_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        read_document(tmp_path)


def test_a_document_that_cannot_be_replaced_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    replace_document(file, {"number": 1})
    with pytest.raises(UnicodeEncodeError):
        replace_text(file, "\udcff")
    assert read_document(file) == {"number": 1}
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_text(tmp_path / "folder", "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "state.json"]


@pytest.mark.usefixtures("usual_umask")
@pytest.mark.parametrize(("options", "mode"), [({}, 0o644), ({"mode": 0o600}, 0o600)])
def test_the_permissions_are_those_of_the_last_writer(
    tmp_path: Path, options: dict[str, Any], mode: int
) -> None:
    file = tmp_path / "note"
    file.touch(0o640)
    replace_text(file, "first\r\nsecond\n", **options)
    assert file.stat().st_mode & 0o777 == mode
    assert file.read_bytes() == b"first\r\nsecond\n"


def test_many_writers_never_show_a_reader_a_part(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    documents = [{"writer": number, "text": str(number) * 100_000} for number in range(4)]
    replace_document(file, documents[0])
    with ThreadPoolExecutor() as pool:
        writes = [pool.submit(replace_document, file, document) for document in documents * 10]
        seen = [read_document(file) for _ in range(20)]
        for write in writes:
            write.result()
    assert all(document in documents for document in seen)
    assert list(tmp_path.iterdir()) == [file]
