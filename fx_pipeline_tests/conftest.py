"""What all tests share: no setting leaks in from the environment, and a folder without `.env`."""

import os
from pathlib import Path

import hypothesis
import pytest

from fx_pipeline.settings import Settings

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
