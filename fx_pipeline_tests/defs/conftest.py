"""An access key in the settings of each test."""

import dagster as dg
import pytest


@pytest.fixture(autouse=True)
def _access_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")


@pytest.fixture(autouse=True)
def _no_delay_between_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Dagster retry a step of a run in this process immediately, not after 5 and 10 seconds."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
