"""The asset checks of a run on a real Dagster instance, against a sandbox with faults."""

import datetime as dt
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline import quality
from fx_pipeline.commands.runs import last_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.checks import MAX_DESCRIBED, MAX_LISTED, NEWS, RATES, to_evaluation
from fx_pipeline.quality.verdicts import Finding, Verdict
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.defs.check_names import DAILY_CHECKS, RUN_CHECKS, TABLE_CHECKS
from fx_pipeline_tests.defs.rates_run import (
    execute_checks,
    materialize_rates,
    reexecute_rates,
    results,
    run_rates,
    verdicts,
)
from fx_pipeline_tests.sandbox_server import Sandbox

ALL_PASS = dict.fromkeys(RUN_CHECKS, "passed")


def found(check: dg.AssetCheckEvaluation) -> list[tuple[object, object]]:
    """Return the dates and currencies that a result lists."""
    table = check.metadata["found"]
    assert isinstance(table, dg.TableMetadataValue)
    return [(record.data["date"], record.data["currency"]) for record in table.records]


def test_a_run_without_faults_passes_every_check(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    run = run_rates(instance, sandbox, "2024-01-01", "2024-02-29")
    assert verdicts(run) == ALL_PASS
    assert {
        name: check.metadata["dates judged"].value for name, check in results(run).items()
    } == dict.fromkeys(RUN_CHECKS, 60)


@pytest.mark.parametrize(
    ("fault", "check"),
    [("bad-value", "positive_and_finite"), ("off-by-100", "jump"), ("missing", "complete")],
)
def test_each_fault_fails_one_check_and_the_rest_of_the_day_is_stored(
    instance: dg.DagsterInstance, sandbox: Sandbox, fault: str, check: str
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    sandbox.change(faults={fault: 1.0})
    run = run_rates(instance, sandbox, "2024-01-11", "2024-01-11")
    assert run.success
    expected = ALL_PASS | {check: "ERROR"}
    # A rejected value is missing too, which is serious for a major currency.
    assert {
        name: said for name, said in verdicts(run).items() if (fault, name) != ("bad-value", "complete")
    } == {name: said for name, said in expected.items() if (fault, name) != ("bad-value", "complete")}
    [(date, currency)] = found(results(run)[check])
    assert date == "2024-01-11"
    assert str(currency) in (results(run)[check].description or "")
    [stored] = run.asset_materializations_for_node("rates")
    assert stored.metadata["inserted"].value == (31 if fault == "off-by-100" else 30)


@pytest.mark.slow
def test_each_check_of_a_faulty_backfill_lists_its_dates(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"off-by-100": 0.1, "missing": 0.1, "bad-value": 0.1}, seed=3)
    run = run_rates(instance, sandbox, "2024-01-01", "2024-03-31")
    faulty = sandbox.stats()["endpoints"]["historical"]
    checks = results(run)
    assert len(found(checks["jump"])) == faulty["off-by-100"] > 0
    assert len(found(checks["positive_and_finite"])) == faulty["bad-value"] > 0
    assert len({date for date, _ in found(checks["complete"])}) == faulty["missing"] + faulty["bad-value"]
    assert checks["identity"].passed
    assert len(run.asset_materializations_for_node("rates")) == 91


def test_revisions_of_one_percent_or_more_are_listed_and_counted(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-03")
    sandbox.change(faults={"revision": 1.0})
    run = run_rates(instance, sandbox, "2024-01-02", "2024-01-02")
    check = results(run)["revisions"]
    [stored] = run.asset_materializations_for_node("rates")
    updated = stored.metadata["updated"].value
    assert isinstance(updated, int)
    assert verdicts(run) == ALL_PASS | {"revisions": "ERROR"}
    assert {date for date, _ in found(check)} == {"2024-01-02"}
    assert 0 < len(found(check)) < updated
    assert (check.description or "").endswith(f"Values replaced: {updated}.")
    monkeypatch.setenv("FX_REVISION_ALERT", "0.05")
    sandbox.change(faults={"revision": 1.0}, seed=1)
    assert verdicts(run_rates(instance, sandbox, "2024-01-03", "2024-01-03")) == ALL_PASS


def test_a_requested_currency_must_be_present(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-05", symbols=("USD", "GBP"))
    run = run_rates(instance, sandbox, "2024-01-06", "2024-01-06", symbols=("USD", "GBP"))
    assert verdicts(run) == ALL_PASS
    # The rouble has had no value since March 2022. For old days that is only a warning.
    run = run_rates(instance, sandbox, "2024-01-07", "2024-01-07", symbols=("USD", "GBP", "RUB"))
    assert verdicts(run) == ALL_PASS | {"complete": "WARN", "symbols": "WARN"}
    assert found(results(run)["complete"]) == [("2024-01-07", "RUB")]


def test_each_attempt_judges_all_dates_of_its_run(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    """The first attempt misses dates. The last result covers all dates of the run."""
    sandbox.change(faults={"empty": 0.4}, seed=2)
    run = run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    stored = len(run.asset_materializations_for_node("rates"))
    assert results(run)["complete"].metadata["dates judged"].value == stored


def test_a_run_that_skips_all_dates_judges_them_again(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-05")
    run = run_rates(instance, sandbox, "2024-01-01", "2024-01-05", skip_stored=True)
    assert {
        name: check.metadata["dates judged"].value for name, check in results(run).items()
    } == dict.fromkeys(RUN_CHECKS, 5)


def test_a_run_over_many_dates_leaves_one_result_of_each_check(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    """Planned with its checks, a run of 60 dates would leave 60 planned executions of each."""
    run = run_rates(instance, sandbox, "2024-01-01", "2024-02-29")
    for name in RUN_CHECKS:
        history = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(RATES, name), limit=100
        )
        assert [(record.run_id, record.status.value) for record in history] == [(run.run_id, "SUCCEEDED")]


def test_a_run_from_the_ui_has_the_results_of_all_checks(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"off-by-100": 1.0})
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    run = materialize_rates(instance, sandbox, "2024-01-11", "2024-01-12")
    assert run.success
    assert verdicts(run).keys() == {*RUN_CHECKS, *TABLE_CHECKS}
    assert {name: verdicts(run)[name] for name in RUN_CHECKS} == ALL_PASS | {"jump": "ERROR"}
    assert len(run.asset_materializations_for_node("rates")) == 2


def test_executing_a_check_judges_the_last_run_again_without_a_call(
    instance: dg.DagsterInstance, sandbox: Sandbox, tmp_path: Path
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    sandbox.change(faults={"off-by-100": 1.0})
    last = run_rates(instance, sandbox, "2024-01-11", "2024-01-12")
    asked = sandbox.stats()
    run = execute_checks(instance, "jump", "identity")
    assert run.success
    assert verdicts(run) == {"jump": "ERROR", "identity": "passed"}
    assert found(results(run)["jump"]) == found(results(last)["jump"])
    assert results(run)["jump"].metadata == results(last)["jump"].metadata
    assert run.asset_materializations_for_node("rates") == []
    assert sandbox.stats() == asked
    assert (last_run(instance) or {})["id"] == last.run_id


def test_executing_a_check_before_anything_is_stored_says_so(instance: dg.DagsterInstance) -> None:
    RateStore(Path("fx.db")).close()
    assert reason(execute_checks(instance, "jump")) == "There is nothing to check: no date is stored yet."


@pytest.mark.parametrize("check", ["jump", "gaps"])
def test_executing_a_check_without_a_database_says_so(instance: dg.DagsterInstance, check: str) -> None:
    assert reason(execute_checks(instance, check)) == (
        "fx.db: cannot be read: unable to open database file. Run `fx-pipeline ingest` once."
    )


def reason(run: dg.ExecuteInProcessResult) -> str | None:
    """Return the description of a run's only step failure."""
    [failure] = [event.step_failure_data for event in run.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.description


def test_an_unusable_database_fails_the_run_with_its_reason(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    Path("fx.db").mkdir()
    run = run_rates(instance, sandbox, "2024-01-01", "2024-01-01")
    assert (reason(run) or "").startswith("fx.db: the file cannot be opened.")


def test_a_timestamp_that_does_not_advance_fails_the_run(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"old-timestamp": 1.0})
    run = run_rates(instance, sandbox, "2024-01-01", "2024-01-01")
    assert "the response's timestamp is from an earlier day, so its rates may be old" in (reason(run) or "")


def test_a_run_that_fetched_nothing_has_no_results_for_its_dates(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    sandbox.change(faults={"off-by-100": 1.0})
    run_rates(instance, sandbox, "2024-01-01", "2024-01-02")
    sandbox.change(key="another")
    assert verdicts(run_rates(instance, sandbox, "2024-01-02", "2024-01-03")) == {}


def test_a_restarted_run_also_judges_what_the_killed_one_stored(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-31")
    sandbox.change(faults={"off-by-100": 1.0})
    killed = run_rates(instance, sandbox, "2024-02-01", "2024-02-01")
    instance.report_run_failed(killed.dagster_run, "Its process was killed.")
    sandbox.change(faults={"bad-value": 1.0})
    again = reexecute_rates(instance, sandbox, "2024-02-01", "2024-02-02", parent=killed.run_id)
    checks = results(again)
    assert found(checks["jump"]) == found(results(killed)["jump"]) != []
    assert {date for date, _ in found(checks["positive_and_finite"])} == {"2024-02-02"}
    assert checks["revisions"].metadata["dates judged"].value == 2


@pytest.mark.parametrize(("check", "judgement"), [("freshness", "outdated"), ("jump", "jumps")])
def test_an_interrupt_during_a_check_ends_the_run(
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    check: str,
    judgement: str,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run_rates(instance, sandbox, "2024-01-01", "2024-01-02")
    monkeypatch.setattr(quality.verdicts, judgement, interrupted)
    run = execute_checks(instance, check)
    kinds = {event.event_type for event in run.all_events}
    assert dg.DagsterEventType.STEP_UP_FOR_RETRY not in kinds
    assert dg.DagsterEventType.RUN_FAILURE in kinds


def test_a_result_lists_serious_findings_first_and_counts_all() -> None:
    minor = [Finding(f"note {number}", dt.date(2024, 1, 1), "SEK", False, "SEK") for number in range(150)]
    serious = Finding("USD is missing", dt.date(2024, 1, 2), "USD", True, "USD")
    result = to_evaluation("complete", Verdict((*minor, serious), 200, "And a note."), judged="dates")
    assert result.severity is dg.AssetCheckSeverity.ERROR
    lines = (result.description or "").splitlines()
    assert lines[0] == "2024-01-02: USD is missing."
    assert lines[MAX_DESCRIBED:] == ["And 146 more.", "And a note."]
    assert result.metadata["findings"].value == 151
    table = result.metadata["found"]
    assert isinstance(table, dg.TableMetadataValue)
    assert len(table.records) == MAX_LISTED
    assert table.records[0].data == {"date": "2024-01-02", "currency": "USD", "finding": "USD is missing"}
    assert result.metadata[NEWS].value == ["USD"]


def test_every_check_has_a_description() -> None:
    keys = {key for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key == RATES}
    assert {key.name for key in keys} == {*RUN_CHECKS, *TABLE_CHECKS}
    for job, names in (("rates_job", ()), ("checks_job", DAILY_CHECKS)):
        planned = defs.resolve_job_def(job).asset_layer.asset_graph.asset_check_keys
        assert {key.name for key in planned} == set(names)
    for key in defs.resolve_asset_graph().asset_check_keys:
        assert defs.resolve_asset_graph().get_check_spec(key).description
