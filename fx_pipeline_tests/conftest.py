"""Fixtures of every test: no settings from outside, an empty working directory, no process left over."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from fx_pipeline.settings import Settings
from fx_pipeline_tests.child_processes import running_children
from fx_pipeline_tests.inbox import inbox
from fx_pipeline_tests.sandbox_server import sandbox
from fx_pipeline_tests.storages import dagster_tables, instance, postgres, storage

__all__ = ["dagster_tables", "inbox", "instance", "postgres", "sandbox", "storage"]

# The time of an example depends on what else the machine does, so no test asserts it.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the settings of the environment and of `.env`, and make an empty folder the working directory."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "FX_DAGSTER_POSTGRES_URL"):  # open_instance exports them
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fail the test that leaves a process behind, not a later one that runs when the process ends."""
    before = running_children()
    yield
    left = {pid: command for pid, command in running_children().items() if pid not in before}
    assert left == {}, "the test ended before these processes did"
