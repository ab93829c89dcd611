"""A sandbox and a Dagster instance for each test, with an access key in the settings."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.storages import Storage


@pytest.fixture(autouse=True)
def _access_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def instance(tmp_path: Path, storage: Storage) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path / "dagster") as instance:
        yield instance


@pytest.fixture(autouse=True)
def _no_delay_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Dagster retry a step of a run in this process immediately, not after 5 and 10 seconds."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
