"""Fixtures of all tests: no settings from the environment, a folder without `.env`, no process left over."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from fx_pipeline.settings import Settings
from fx_pipeline_tests.child_processes import running_children

# How long an example takes depends on what else the machine does: no test asserts a time.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name.upper() for name in Settings.model_fields]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert not Path(".env").exists()
    os.environ.pop("DAGSTER_HOME", None)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Fail the test that leaves a process behind, and no other one that happens to run when it ends."""
    before = running_children()
    yield
    left = {pid: command for pid, command in running_children().items() if pid not in before}
    assert left == {}, "the test ended before these processes did"
