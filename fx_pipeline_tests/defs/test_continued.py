"""Runs after a failed one: what a re-execution skips, and which days Dagster shows as failed."""

import datetime as dt
from collections import Counter

import dagster as dg

from fx_pipeline.commands.runs import failed_days
from fx_pipeline.dagster_names import partitions_url
from fx_pipeline.defs.failures import REFETCH
from fx_pipeline.rates import contiguous
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.defs.rates_run import reexecute_rates, run_rates
from fx_pipeline_tests.proofs.runs import FAILED, MATERIALIZED, failure_of, shown_in_ui
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.storages import on_both_storages

FIRST, LAST = "2024-01-01", "2024-01-06"
DAYS = dates_between(FIRST, LAST)
STORED, LEFT = set(DAYS[:3]), set(DAYS[3:])

Run = dg.ExecuteInProcessResult | dg.JobExecutionResult


def only_until(sandbox: Sandbox, date: str) -> None:
    """Let the provider have no rates after this date."""
    sandbox.change(today=lambda: dt.date.fromisoformat(date) + dt.timedelta(days=1))


def failed_run(instance: dg.DagsterInstance, sandbox: Sandbox) -> str:
    """Return the id of a run that has stored the first three days only."""
    only_until(sandbox, max(STORED))
    run = run_rates(instance, sandbox, FIRST, LAST)
    assert not run.success
    assert shown_in_ui(instance, DAYS) == {MATERIALIZED: STORED, FAILED: LEFT}
    sandbox.change(today=None)
    return run.run_id


def asked_by(sandbox: Sandbox, before: Counter[str]) -> Counter[str]:
    return sandbox.asked_dates() - before


def log_of(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the messages that a run logged itself."""
    return [entry.user_message for entry in instance.all_logs(run_id) if not entry.is_dagster_event]


@on_both_storages
def test_a_reexecuted_run_fetches_only_what_the_failed_one_has_not_stored(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    parent = failed_run(instance, sandbox)
    before = sandbox.asked_dates()
    again = reexecute_rates(instance, sandbox, FIRST, LAST, parent=parent)
    assert again.success
    assert asked_by(sandbox, before) == Counter(LEFT)
    assert log_of(instance, again.run_id) == [
        "Skipped, because the run that this one re-executes has stored them: 2024-01-01 to 2024-01-03. To "
        "fetch them again, materialize them.",
        "Dates to fetch: 3; calls: 3.",
    ]
    assert shown_in_ui(instance, DAYS) == {MATERIALIZED: set(DAYS)}


def test_every_failed_run_of_a_chain_is_continued_and_only_its_failed_days_are_shown_as_failed(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    first = failed_run(instance, sandbox)
    only_until(sandbox, "2024-01-04")
    before = sandbox.asked_dates()
    second = reexecute_rates(instance, sandbox, FIRST, LAST, parent=first)
    assert not second.success
    assert set(asked_by(sandbox, before)) == LEFT
    left = LEFT - {"2024-01-04"}
    assert shown_in_ui(instance, DAYS) == {MATERIALIZED: set(DAYS) - left, FAILED: left}
    sandbox.change(today=None)
    before = sandbox.asked_dates()
    assert reexecute_rates(instance, sandbox, FIRST, LAST, parent=second.run_id).success
    assert asked_by(sandbox, before) == Counter(left)
    assert shown_in_ui(instance, DAYS) == {MATERIALIZED: set(DAYS)}


def test_a_reexecution_of_a_successful_run_fetches_everything_again(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    parent = run_rates(instance, sandbox, FIRST, LAST)
    assert parent.success
    before = sandbox.asked_dates()
    again = reexecute_rates(instance, sandbox, FIRST, LAST, parent=parent.run_id)
    assert again.success
    assert asked_by(sandbox, before) == Counter(DAYS)
    assert log_of(instance, again.run_id) == ["Dates to fetch: 6; calls: 6."]


def test_a_failed_run_that_skips_stored_days_leaves_them_materialized(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    """The daily run covers a month. If one of its days fails, the others are not shown as failed."""
    run_rates(instance, sandbox, FIRST, max(STORED))
    only_until(sandbox, max(STORED))
    assert not run_rates(instance, sandbox, FIRST, LAST, skip_stored=True).success
    assert shown_in_ui(instance, DAYS) == {MATERIALIZED: STORED, FAILED: LEFT}


@on_both_storages
def test_stored_days_of_a_killed_run_are_no_longer_shown_as_failed_after_the_next_run(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, FIRST, LAST)
    killed = run_rates(instance, sandbox, FIRST, LAST, skip_stored=True)
    instance.report_run_failed(killed.dagster_run, "Its process was killed.")
    assert shown_in_ui(instance, DAYS) == {FAILED: set(DAYS)}
    assert run_rates(instance, sandbox, FIRST, LAST, skip_stored=True).success
    assert shown_in_ui(instance, DAYS) == {MATERIALIZED: set(DAYS)}


@on_both_storages
def test_a_failure_links_to_its_days_and_status_knows_them(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    only_until(sandbox, max(STORED))
    failure = failure_of(run_rates(instance, sandbox, FIRST, LAST))
    days = dt.date.fromisoformat(min(LEFT)), dt.date.fromisoformat(max(LEFT))
    assert contiguous(failed_days(instance)) == [days]
    assert failure.metadata[REFETCH] == dg.MetadataValue.url(partitions_url(load_settings(), [days]))
