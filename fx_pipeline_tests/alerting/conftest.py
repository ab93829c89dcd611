"""An access key and a database in the settings of each test."""

import dagster as dg
import pytest

KEY = "k3yThatMustNotBeSeen"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", KEY)
    monkeypatch.setenv("FX_DATABASE", "fx.db")
    # Let Dagster retry a step immediately, not after 5 and 10 seconds.
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)
