"""The file of tokens, and a worker that reads it."""

from pathlib import Path

import pytest

from fx_pipeline.api.tokens.file import TokenFile
from fx_pipeline.api.tokens.live import Tokens


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "tokens.db"


@pytest.fixture
def file(path: Path) -> TokenFile:
    return TokenFile(path)


@pytest.fixture
def worker(path: Path) -> Tokens:
    """Start a worker before the file exists."""
    return Tokens(path, path.with_name("fx.db"), required=False)
