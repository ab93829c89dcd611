"""A run config can change how dates are treated, but neither hosts nor files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.defs.resources import DatabaseResource, FixerResource, without_config
from fx_pipeline.defs.run_config import range_tags
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.defs.rates_run import QUIET
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox

DAY = "2024-01-03"

EXECUTION = {
    "execution.config.marker_to_close",  # Dagster ignores it
    "execution.config.retries.disabled",
    "execution.config.retries.enabled",
    "execution.config.step_dependency_config.require_upstream_step_success",
    "loggers.console.config.log_level",
    "loggers.console.config.name",
}
RESOURCES = {"resources.database.config", "resources.fixer.config", "resources.io_manager.config"}
"""Accepted because stored runs have them, and ignored."""
RATES = {"ops.rates.config.only", "ops.rates.config.refetch_from", "ops.rates.config.skip_stored"}
SYMBOLS = {"ops.symbols.config"}
DATABASE = {"ops.database_integrity.config", "ops.database_restorable.config"}
DRILL_AGE = {"ops.database_drill_age.config"}
HISTORY = {"ops.history.config"}

FIELDS = {
    **dict.fromkeys(("rates_job", "missing_job", "refetch_job"), EXECUTION | RESOURCES | RATES),
    "checks_job": EXECUTION | RESOURCES | RATES | DRILL_AGE,
    "database_job": EXECUTION | RESOURCES | DATABASE,
    "history_job": EXECUTION | RESOURCES | HISTORY,
    "symbols_job": EXECUTION | RESOURCES | SYMBOLS,
    "__ASSET_JOB": EXECUTION | RESOURCES | RATES | SYMBOLS | DATABASE | DRILL_AGE,
}
"""Every field of the run config of each job."""


@pytest.fixture
def thief() -> Iterator[Sandbox]:
    """Yield another server with Fixer's protocol, which would receive the key."""
    with running_sandbox() as sandbox:
        yield sandbox


def fields(config_type: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every field without further fields."""
    within = getattr(config_type, "fields", None)
    if not within:
        yield path
        return
    for name, field in within.items():
        yield from fields(field.config_type, f"{path}.{name}" if path else name)


def test_the_run_config_has_no_other_fields() -> None:
    jobs = defs.get_repository_def().get_all_jobs()
    found = {job.name: set(fields(job.run_config_schema.config_type)) for job in jobs}
    assert found == FIELDS


def run_rates(sandbox: Sandbox, config: dict[str, Any]) -> tuple[dg.ExecuteInProcessResult, list[str]]:
    """Execute rates_job for one day with `config`. Return the result and the log."""
    fixer = FixerResource(base_url=sandbox.url, base="EUR", symbols=[], concurrency=1)
    with dg.DagsterInstance.ephemeral() as instance:
        result = defs.resolve_job_def("rates_job").execute_in_process(
            instance=instance,
            tags=range_tags(DAY, DAY),
            run_config={**QUIET, **config},
            raise_on_error=False,
            resources={
                "fixer": without_config(fixer),
                "database": without_config(DatabaseResource(path="fx.db")),
            },
        )
        return result, [event.user_message for event in instance.all_logs(result.run_id)]


def test_a_run_config_cannot_set_the_provider_or_a_file(
    sandbox: Sandbox, thief: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("ELSEWHERE", str(elsewhere))
    hostile = {
        "fixer": {"config": {"base_url": thief.url, "base": "USD", "symbols": ["GBP"], "concurrency": 1000}},
        "database": {"config": {"path": {"env": "ELSEWHERE"}}},
        "io_manager": {"config": {"base_dir": str(elsewhere)}},
    }
    result, log = run_rates(sandbox, {"resources": hostile})
    assert result.success
    assert thief.stats()["total"] == 0
    assert sandbox.asked_dates() == {DAY: 1}
    assert not elsewhere.exists()
    with RateStore(Path("fx.db")) as store:
        assert store.coverage().days == 1
    for name in ("FixerResource", "DatabaseResource"):
        assert f"The run config of {name} is ignored: only the settings configure it." in log


def test_a_run_stored_with_all_defaults_can_be_re_executed(sandbox: Sandbox) -> None:
    """The Launchpad stores all defaults, here those of earlier versions."""
    stored = {
        "execution": {"config": {"retries": {"enabled": {}}}},
        "ops": {"rates": {"config": {"skip_stored": False, "refetch_from": None}}},
        "resources": {
            "database": {"config": {"path": "data/fx.db"}},
            "fixer": {
                "config": {
                    "base_url": "http://127.0.0.1:8002",
                    "base": "EUR",
                    "symbols": [],
                    "concurrency": 4,
                    "timeseries": False,
                }
            },
            "io_manager": {"config": {}},
        },
    }
    result, _ = run_rates(sandbox, stored)
    assert result.success
    assert sandbox.asked_dates() == {DAY: 1}


@pytest.mark.parametrize("field", ["skip_stored", "refetch_from", "only"])
def test_a_field_cannot_read_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-secret-key")
    with pytest.raises(dg.DagsterInvalidConfigError) as refused:
        run_rates(sandbox, {"ops": {"rates": {"config": {field: {"env": "FIXER_ACCESS_KEY"}}}}})
    assert "a-secret-key" not in str(refused.value)
    assert sandbox.stats()["total"] == 0
    assert not Path("fx.db").exists()


@pytest.mark.parametrize(("field", "value"), [("refetch_from", "yesterday"), ("only", ["yesterday"])])
def test_an_invalid_date_in_the_config_fails_with_a_clear_message(
    sandbox: Sandbox, field: str, value: object
) -> None:
    config = {"ops": {"rates": {"config": {"skip_stored": True, field: value}}}}
    result, _ = run_rates(sandbox, config)
    assert not result.success
    [failure] = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert data.description is not None
    assert data.description.startswith(f"The run config's {field} must be a date such as 2024-01-31")
    assert sandbox.stats()["total"] == 0
