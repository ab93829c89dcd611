"""What a run says before its first call, and what it does if the quota is too small for its backfill."""

from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.dagster_internals.tags import (
    BACKFILL_TAG,
    FORECAST_TAG,
    PARTIAL_TAG,
    SCHEDULE_TAG,
    STORED_TAG,
)
from fx_pipeline.dagster_internals.testing import add_backfill
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import RATES
from fx_pipeline.defs.run_config import range_tags
from fx_pipeline.store.database import open_database
from fx_pipeline.store.ledger import Ledger
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.defs.rates_run import QUIET, resources
from fx_pipeline_tests.proofs.runs import failure_text
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.stored import stored_dates

DAYS = dates_between("2024-01-01", "2024-01-30")
FIRST_RUN, SECOND_RUN = ("2024-01-01", "2024-01-20"), ("2024-01-21", "2024-01-30")
REASON = "Nothing was fetched, because the quota is too small: "


def leave(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Leave this many of the month's calls for backfills."""
    monkeypatch.setenv("FX_REVISION_DAYS", "0")
    open_database(Path("fx.db")).close()
    with Ledger(Path("fx.db"), limit=10_000, daily_calls=1) as ledger:
        quota = ledger.quota()
    assert quota is not None
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", str(quota.used + quota.reserved + calls))


def run(
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    span: tuple[str, str],
    tags: dict[str, str],
    job: str = "rates",
) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(f"{job}_job").execute_in_process(
        instance=instance,
        tags={**range_tags(*span), **tags},
        run_config=QUIET,
        raise_on_error=False,
        resources=resources(sandbox.url),
    )


def log_of(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(result.run_id) if not entry.is_dagster_event]


@pytest.fixture
def backfill(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the tags of the runs of a backfill of DAYS."""
    add_backfill(instance, "abcdefgh", RATES, DAYS)
    return {BACKFILL_TAG: "abcdefgh"}


def test_a_backfill_that_does_not_fit_makes_no_call(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, backfill: dict[str, str]
) -> None:
    """Its first run would fit by itself."""
    leave(monkeypatch, 25)
    refused = run(instance, sandbox, FIRST_RUN, backfill)
    said = failure_text(refused)
    assert said.startswith(
        f"{REASON}30 days need 30 calls, and 25 may be made. The newest 25 days, from 2024-01-06 on, fit: to "
        "fetch these, launch it again with the tag fx-pipeline/partial=true. "
    )
    assert said.endswith("\nNot fetched: 2024-01-01 to 2024-01-20")
    assert failure_text(run(instance, sandbox, SECOND_RUN, backfill)).startswith(REASON)
    assert sandbox.stats()["total"] == 0
    with open_database(Path("fx.db")) as db:
        assert list(db["wanted_ranges"].rows) == []


def test_a_partial_backfill_fetches_the_newest_days_of_all_its_runs(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, backfill: dict[str, str]
) -> None:
    leave(monkeypatch, 25)
    tags = {**backfill, PARTIAL_TAG: "true"}
    first, second = run(instance, sandbox, FIRST_RUN, tags), run(instance, sandbox, SECOND_RUN, tags)
    assert failure_text(first).endswith("\nNot fetched: 2024-01-01 to 2024-01-05")
    assert second.success
    assert stored_dates(Path("fx.db")) == set(DAYS[5:])
    assert sandbox.stats()["total"] == 25


def test_the_first_run_decides_and_is_tagged_with_what_the_backfill_needs(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, backfill: dict[str, str]
) -> None:
    leave(monkeypatch, 30)
    first = run(instance, sandbox, FIRST_RUN, backfill)
    assert log_of(instance, first)[0].startswith("The backfill has 30 days to fetch, 0 to skip; 30 calls, ")
    stored = instance.get_run_by_id(first.run_id)
    assert stored is not None
    assert stored.tags[FORECAST_TAG].startswith("30 days, 30 calls (")
    leave(monkeypatch, 4)
    second = run(instance, sandbox, SECOND_RUN, backfill)
    assert log_of(instance, second)[0].startswith("The backfill has 10 days to fetch, 20 to skip; 10 calls, ")
    assert failure_text(second).endswith("\nNot fetched: 2024-01-21 to 2024-01-26")
    assert sandbox.stats()["total"] == 24


def test_a_job_chooses_what_happens_to_stored_days(
    instance: dg.DagsterInstance, sandbox: Sandbox, backfill: dict[str, str]
) -> None:
    run(instance, sandbox, ("2024-01-11", "2024-01-20"), {})
    before = sandbox.stats()["total"]
    missing = run(instance, sandbox, FIRST_RUN, backfill, "missing")
    assert log_of(instance, missing)[0].startswith(
        "The backfill has 20 days to fetch, 10 to skip; 20 calls, "
    )
    assert sandbox.stats()["total"] - before == 10
    assert len(missing.asset_materializations_for_node("rates")) == 20
    add_backfill(instance, "ijklmnop", RATES, DAYS)
    refetched = run(instance, sandbox, FIRST_RUN, {BACKFILL_TAG: "ijklmnop"}, "refetch")
    assert log_of(instance, refetched)[0].startswith(
        "The backfill has 30 days to fetch, 0 to skip; 30 calls, "
    )
    assert sandbox.stats()["total"] - before == 30


def test_a_tag_chooses_too_and_must_be_known(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    span = ("2024-01-01", "2024-01-02")
    assert run(instance, sandbox, span, {}).success
    assert run(instance, sandbox, span, {STORED_TAG: "skip"}).success
    assert sandbox.stats()["total"] == 2
    assert failure_text(run(instance, sandbox, span, {STORED_TAG: "yes"})) == (
        "The tag fx-pipeline/stored must be skip or refetch, not 'yes'. Correct it, and launch the run again."
    )


def test_a_range_without_a_backfill_must_fit_unless_it_is_scheduled(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(monkeypatch, 3)
    span = ("2024-01-01", "2024-01-04")
    assert failure_text(run(instance, sandbox, span, {})).startswith(REASON)
    assert sandbox.stats()["total"] == 0
    scheduled = run(instance, sandbox, span, {SCHEDULE_TAG: "daily_rates"})
    assert failure_text(scheduled).endswith("\nNot fetched: 2024-01-01")
    assert sandbox.stats()["total"] == 3
