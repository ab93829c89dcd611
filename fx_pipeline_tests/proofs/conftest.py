"""A folder in memory, where Dagster's many flushes cost nothing, and a Dagster instance in it."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.storages import Storage

MEMORY = Path("/dev/shm")  # noqa: S108  # TemporaryDirectory makes an unguessable folder in it


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty folder, which is also the working directory."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.fixture
def instance(folder: Path, storage: Storage) -> Iterator[dg.DagsterInstance]:
    """Yield a Dagster instance like the command's, in `dagster` of the folder."""
    with open_instance(folder / "dagster") as instance:
        yield instance


@pytest.fixture(autouse=True)
def _no_delay_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Dagster retry a step of a run in this process immediately, not after 5 and 10 seconds."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
