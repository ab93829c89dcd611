"""What the proofs share: a folder in memory, where Dagster's many flushes cost nothing, and an instance."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from fx_pipeline.commands.runs import open_instance

MEMORY = Path("/dev/shm")  # noqa: S108  # the folder in it has a name of its own


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.fixture
def instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance as the command makes it, in `dagster` of the folder."""
    with open_instance(folder / "dagster") as instance:
        yield instance
