"""A Dagster instance, a sandbox, and an address that receives alerts, all named in the settings."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.inbox import Inbox, open_inbox
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.storages import Storage

KEY = "k3yThatMustNotBeSeen"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", KEY)
    monkeypatch.setenv("FX_DATABASE", "fx.db")
    # Let Dagster retry a step immediately, not after 5 and 10 seconds.
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda policy, attempt: 0.0)


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        yield inbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def instance(tmp_path: Path, storage: Storage) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path / "dagster") as instance:
        yield instance
