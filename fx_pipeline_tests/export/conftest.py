"""A small history."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fx_pipeline_tests.api.history import History
from fx_pipeline_tests.export.exporting import DAYS


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    history = History(tmp_path / "fx.db")
    history.fetch("2026-03-10T00:05:00.000000Z", DAYS)
    history.name(USD="United States Dollar", ZWL="Zimbabwean Dollar")
    yield history
    history.close()
