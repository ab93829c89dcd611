"""The page of a run in the Dagster UI: its events, from which the page is made."""

from collections import Counter

import dagster as dg

from fx_pipeline_tests.defs.rates_run import materialize_rates, run_rates
from fx_pipeline_tests.sandbox_server import Sandbox

REASON = "2 dates: the response has another date than requested: 2024-01-01 to 2024-01-02"


def logged(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Return the messages that are not events, as the UI shows them."""
    return [entry.user_message for entry in instance.all_logs(run_id) if not entry.is_dagster_event]


def test_the_page_of_a_failed_run_shows_the_reason_and_the_dates_first(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"wrong-date": 1.0})
    run = run_rates(instance, sandbox, "2024-01-01", "2024-01-02")
    attempts = [event.step_retry_data.error for event in run.all_events if event.is_step_up_for_retry]
    assert [
        (error.cause.message.partition(": ")[2], list(error.cause.stack)) for error in attempts if error.cause
    ] == [(f"{REASON}\n", [])] * 2
    [failure] = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert failure.error is not None
    assert failure.error.message.partition(": ")[2] == f"{REASON}\n"
    assert failure.error.cause is None
    # Once in each attempt, not once for each date.
    messages = logged(instance, run.run_id)
    assert messages[::2] == ["Dates to fetch: 2; calls: 2."] * 3
    assert len(messages) == 3 * 2
    hint = "The failure below lists all dates with this reason."
    assert all(message.endswith(hint) for message in messages[1::2])


def test_a_run_from_the_ui_judges_its_days_once_and_misses_no_output(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"wrong-date": 0.5}, seed=4)
    run = materialize_rates(instance, sandbox, "2024-01-01", "2024-01-12")
    assert [event for event in run.all_events if event.is_step_up_for_retry]
    judged = Counter(check.check_name for check in run.get_asset_check_evaluations())
    assert len(judged) == 14
    assert set(judged.values()) == {1}
    sandbox.change(faults={})
    run = materialize_rates(instance, sandbox, "2024-01-01", "2024-01-12")
    assert run.success
    assert logged(instance, run.run_id) == ["Dates to fetch: 12; calls: 12."]
