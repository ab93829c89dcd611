"""What runs and checks on a real Dagster instance show, as an address receives it over HTTP."""

import datetime as dt
import json
import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fx_pipeline.alerting.checks import KINDS_OF_CHECKS, watched_checks
from fx_pipeline.alerting.runbook import KINDS, row
from fx_pipeline.alerting.runs import CAUSES as CAUSES_OF_ERRORS
from fx_pipeline.alerting.runs import PROVIDER
from fx_pipeline.dagster_internals.tags import AUTO_RETRY_RUN_ID_TAG, BACKFILL_TAG
from fx_pipeline.defs import tries
from fx_pipeline.defs.checks import NEWS, RATES
from fx_pipeline.defs.failures import LAST_ERROR, STOPPED_BY, recovery_metadata
from fx_pipeline.defs.jobs import rates_job, symbols_job
from fx_pipeline.fixer import errors
from fx_pipeline.store.ledger import QuotaReached
from fx_pipeline_tests.alerting.conftest import KEY
from fx_pipeline_tests.alerting.watching import Watching, titles
from fx_pipeline_tests.defs.rates_run import QUIET, run_rates
from fx_pipeline_tests.inbox import TOKEN, Inbox
from fx_pipeline_tests.proofs.runs import ImpatientFixer, run_with
from fx_pipeline_tests.sandbox_server import Sandbox

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NOT_AGAIN = {"dagster/max_retries": "0"}
"""Tags of a run that Dagster does not restart."""


def test_failed_dates_and_a_failed_check_are_two_faults(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-04")
    run_rates(instance, sandbox, "2024-01-06", "2024-01-06")
    sandbox.change(today=lambda: dt.date(2024, 1, 6), faults={"bad-value": 1.0})
    run = run_rates(instance, sandbox, "2024-01-05", "2024-01-09", skip_stored=True)
    watching = Watching(instance)
    watching.look_at_runs(minutes=10)
    assert titles(inbox) == ["a run failed (rates)", "values look wrong"]
    failed, wrong = (message["message"].split("\n\n") for message in inbox.received)
    assert failed[:2] == [
        "rates_job: 3 dates: the date is not accepted (302 invalid_date): 2024-01-07 to 2024-01-09",
        'To fetch only the failed days, press "Re-execute all" on the page of the run.',
    ]
    assert wrong[0].startswith("Check positive_and_finite: 2024-01-05: ")
    for parts in (failed, wrong):
        assert parts[-1].endswith(f"\nhttp://127.0.0.1:3000/runs/{run.run_id}")
    sandbox.change(faults={}, today=None)
    run_rates(instance, sandbox, "2024-01-05", "2024-01-09")
    watching.look_at_runs()
    assert titles(inbox)[2:] == [
        "resolved: a run failed (rates)",
        "resolved: values look wrong",
    ]


TROUBLES: list[tuple[dict[str, Any], str]] = [
    ({"key": "another"}, "the key is refused"),
    ({"inactive": True}, "the key is refused"),
    ({"quota": 1}, "the quota is used up"),
    ({"faults": {"server-error": 1.0}}, "the provider is down"),
    ({"faults": {"reset": 1.0}}, "the provider is down"),
    ({"faults": {"wrong-base": 1.0}}, "a run failed (rates)"),
]


@pytest.mark.parametrize(("trouble", "title"), TROUBLES)
def test_a_fault_of_the_provider_is_alerted_once_until_a_run_succeeds(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, trouble: dict[str, Any], title: str
) -> None:
    sandbox.change(**trouble)
    watching = Watching(instance)
    fixer = ImpatientFixer(base_url=sandbox.url, base="EUR", symbols=[], concurrency=4, retries=1)
    for day in ("2024-01-01", "2024-01-02"):
        run_with(instance, fixer, day, day)
        watching.look_at_runs(minutes=10)
    assert titles(inbox) == [title]
    sandbox.change(key=None, inactive=False, quota=None, faults={})
    run_with(instance, fixer, "2024-01-03", "2024-01-03")
    watching.look_at_runs()
    assert titles(inbox) == [title, f"resolved: {title}"]


def test_a_provider_that_sends_some_days_is_not_down(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    sandbox.change(faults={"server-error": 0.5}, seed=1)
    fixer = ImpatientFixer(base_url=sandbox.url, base="EUR", symbols=[], concurrency=1, retries=0)
    run_with(instance, fixer, "2024-01-01", "2024-01-06")
    Watching(instance).look_at_runs()
    assert titles(inbox) == ["a run failed (rates)"]


def test_a_warning_sends_no_alert(instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-02", symbols=("USD", "RUB"))
    Watching(instance).look_at_runs()
    assert inbox.received == []


def test_only_new_findings_send_an_alert(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    sandbox.change(faults={"missing": 1.0}, seed=1)
    watching = Watching(instance)
    counts = []
    for first, last in (
        ("2024-01-11", "2024-01-11"),
        ("2024-01-11", "2024-01-11"),
        ("2024-01-11", "2024-01-16"),
    ):
        run_rates(instance, sandbox, first, last)
        watching.look_at_runs()
        counts.append(titles(inbox).count("values look wrong"))
    assert counts == [1, 1, 2]


def report_check(instance: dg.DagsterInstance, name: str, *news: str, passed: bool = False) -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            check_name=name,
            asset_key=RATES,
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR,
            description=f"{name} is wrong.",
            metadata={NEWS: list(news)} if news else {},
        )
    )


def test_each_serious_check_is_of_a_kind(instance: dg.DagsterInstance) -> None:
    names = {key.name for key in watched_checks()}
    assert KINDS_OF_CHECKS.keys() <= names
    assert set(KINDS_OF_CHECKS.values()) <= KINDS.keys()
    watching = Watching(instance)
    for name in names - {"integrity"}:
        report_check(instance, name)
        [fault] = watching.faults()
        assert (fault.kind, fault.text) == (
            KINDS_OF_CHECKS.get(name, "check_failed"),
            f"Check {name}: {name} is wrong.",
        )
        report_check(instance, name, passed=True)
        assert watching.faults() == []


def test_a_response_that_fails_several_checks_is_one_fault(instance: dg.DagsterInstance) -> None:
    report_check(instance, "jump", "2024-01-05 USD", "2024-01-06 USD")
    report_check(instance, "revisions", "2024-01-05 USD 109.1", "2024-01-04 USD 1.2")
    report_check(instance, "complete", "GBP")
    [fault] = Watching(instance).faults()
    assert (fault.kind, fault.subject) == ("garbage_values", "")
    assert fault.parts == (
        "complete GBP",
        "2024-01-05 USD",
        "2024-01-06 USD",
        "2024-01-05 USD",
        "2024-01-04 USD",
    )
    assert fault.text.split("\n\n") == [
        "Check complete: complete is wrong.",
        "Check jump: jump is wrong.",
        "Check revisions: revisions is wrong.",
    ]


@pytest.mark.slow
def test_no_alert_contains_the_key_whatever_goes_wrong(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    good: dict[str, Any] = {"key": None, "inactive": False, "quota": None, "faults": {}}
    troubles: tuple[dict[str, Any], ...] = (
        {"key": "another"},
        {"quota": 1},
        {"faults": {"bad-value": 0.3, "off-by-100": 0.3, "missing": 0.3}},
        {"faults": {"wrong-base": 1.0}},
    )
    watching = Watching(instance)
    leaking_job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
    watching.look_at_runs()
    for number, trouble in enumerate(troubles):
        sandbox.change(**good | trouble)
        run_rates(instance, sandbox, f"2024-02-{number + 1:02}", f"2024-02-{number + 4:02}")
        watching.look_at_runs()
    [leaked] = [one for one in inbox.received if one["title"] == "fx-pipeline: a run failed (symbols)"]
    assert leaked["message"].split("\n\n")[:2] == [
        "symbols_job: ValueError: http://data.fixer.io/api?access_key=[removed]",
        row("run_failed"),
    ]
    everything = json.dumps(inbox.received) + "\n".join(watching.said) + Path("fx.db-alerts.json").read_text()
    assert KEY not in everything
    assert TOKEN not in everything + caplog.text


@dg.op
def leaking() -> None:
    """Fail like a library that puts the key in its error."""
    raise ValueError(f"http://data.fixer.io/api?access_key={KEY}")


@dg.job(name=symbols_job.name, executor_def=dg.in_process_executor)
def leaking_job() -> None:
    """Fail with the key in the message."""
    leaking()


def killed_run(instance: dg.DagsterInstance, reason: str, **tags: str) -> dg.DagsterRun:
    run = instance.create_run_for_job(leaking_job, tags=tags)
    instance.report_run_failed(run, reason)
    return run


def test_of_a_restarted_run_only_the_second_is_alerted(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run = killed_run(instance, "The run worker was killed.")
    watching = Watching(instance)
    watching.look_at_runs(minutes=5)
    assert titles(inbox) == []
    again = killed_run(instance, "It was killed again.", **NOT_AGAIN)
    instance.add_run_tags(run.run_id, {AUTO_RETRY_RUN_ID_TAG: again.run_id})  # as Dagster's daemon does
    watching.look_at_runs(minutes=5)
    [message] = inbox.received
    assert message["message"].startswith("symbols_job: It was killed again.\n\n")
    assert message["message"].endswith(f"/runs/{again.run_id}")


def test_a_killed_run_that_is_not_restarted_in_time_is_alerted(
    instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    killed_run(instance, "The run worker was killed.")
    watching = Watching(instance)
    watching.now += dt.timedelta(minutes=11)
    watching.look_at_runs()
    assert titles(inbox) == ["a run failed (symbols)"]


def test_a_cancelled_run_sends_no_alert(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run = instance.create_run_for_job(leaking_job)
    instance.report_run_failed(run, "Execution was interrupted unexpectedly.")
    instance.report_run_canceled(run)
    Watching(instance).look_at_runs()
    assert inbox.received == []


def test_a_run_of_another_code_location_sends_no_alert(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    @dg.asset
    def others() -> None:
        raise ValueError

    assert not dg.materialize([others], instance=instance, run_config=QUIET, raise_on_error=False).success
    Watching(instance).look_at_runs()
    assert inbox.received == []


def test_a_run_that_reports_nothing_is_hung(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run = instance.create_run_for_job(leaking_job)
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job_name=run.job_name), run_id=run.run_id
    )
    watching = Watching(instance)
    watching.now += dt.timedelta(minutes=6)
    watching.look_at_runs()
    assert titles(inbox) == []
    watching.look_at_runs()
    assert titles(inbox) == [f"a run hangs ({run.run_id})"]
    assert inbox.received[0]["message"].startswith("symbols_job has reported nothing for 8 minutes.\n\n")
    instance.report_run_canceled(instance.get_run_by_id(run.run_id) or run)
    watching.look_at_runs()
    assert titles(inbox)[1:] == [f"resolved: a run hangs ({run.run_id})"]


TRY = {tries.MORNING: "2026-01-02", tries.NEXT_TRY: "60"}
"""Tags of a try of a morning with another one an hour later."""

LAST = {tries.MORNING: TRY[tries.MORNING]}


@dg.op(config_schema={"metadata": dict})
def too_early(context: dg.OpExecutionContext) -> None:
    """Fail like a run of a day that the provider does not have yet."""
    dates = [dt.date(2024, 1, 5)]
    raise dg.Failure(
        "no rates yet",
        metadata={**recovery_metadata(complete=True, dates=dates), **context.op_config["metadata"]},
        allow_retries=False,
    )


@dg.job(name=rates_job.name, executor_def=dg.in_process_executor)
def early_job() -> None:
    """Fail."""
    too_early()


def failed_run(instance: dg.DagsterInstance, tags: dict[str, str], **metadata: str) -> str:
    done = early_job.execute_in_process(
        instance=instance,
        tags=tags,
        run_config={**QUIET, "ops": {"too_early": {"config": {"metadata": metadata}}}},
        raise_on_error=False,
    )
    return done.run_id


def test_of_a_day_that_comes_late_only_the_last_try_is_alerted(
    instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    failed_run(instance, TRY)
    watching = Watching(instance)
    watching.look_at_runs(minutes=30)
    assert titles(inbox) == []
    last = failed_run(instance, LAST)
    watching.look_at_runs(minutes=30)
    [message] = inbox.received
    assert message["message"].split("\n\n")[:2] == [
        "rates_job: no rates yet",
        "This was the last try of the morning. The next one is after midnight (UTC).",
    ]
    assert message["message"].endswith(last)


def test_a_next_try_that_does_not_start_is_not_waited_for(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    failed_run(instance, TRY)
    watching = Watching(instance)
    watching.now += dt.timedelta(minutes=67)
    watching.look_at_runs()
    assert titles(inbox) == []
    watching.now += dt.timedelta(minutes=2)
    watching.look_at_runs()
    assert titles(inbox) == ["a run failed (rates)"]


def test_a_day_fetched_before_the_next_try_sends_no_alert(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    failed_run(instance, TRY)
    run_rates(instance, sandbox, "2024-01-05", "2024-01-05")
    watching = Watching(instance)
    watching.now += dt.timedelta(minutes=71)
    watching.look_at_runs()
    assert inbox.received == []


CAUSES = [
    ({STOPPED_BY: "ProviderDown", LAST_ERROR: "UnknownHost"}, "provider_unreachable"),
    ({STOPPED_BY: "ProviderDown", LAST_ERROR: "InsecureConnection"}, "provider_unreachable"),
    ({STOPPED_BY: "UntrustedServer"}, "provider_unreachable"),
    ({STOPPED_BY: "ProviderDown", LAST_ERROR: "ServerTrouble"}, "provider_down"),
    ({STOPPED_BY: "ProviderDown", LAST_ERROR: "BadResponse"}, "run_failed"),
    ({LAST_ERROR: "UnknownHost"}, "provider_unreachable"),
    ({LAST_ERROR: "Unreachable"}, "provider_down"),
    ({STOPPED_BY: "LongWaitRequested"}, "provider_down"),
    ({STOPPED_BY: "QuotaReached"}, "quota_used"),
    ({STOPPED_BY: "StoreError"}, "run_failed"),
    ({STOPPED_BY: "InvalidBase"}, "run_failed"),
]


@pytest.mark.parametrize(("metadata", "kind"), CAUSES)
def test_the_kind_of_a_failure_is_that_of_its_cause(
    instance: dg.DagsterInstance, metadata: dict[str, str], kind: str
) -> None:
    """Also if another try of the morning follows: an outage is reported when it is found."""
    failed_run(instance, LAST if kind == "run_failed" else TRY, **metadata)
    assert [fault.kind for fault in Watching(instance).faults()] == [kind]


def test_a_response_that_cannot_be_used_waits_for_the_next_try(instance: dg.DagsterInstance) -> None:
    bad = {STOPPED_BY: "ProviderDown", LAST_ERROR: "BadResponse"}
    failed_run(instance, TRY, **bad)
    assert Watching(instance).faults() == []
    failed_run(instance, LAST, **bad)
    assert [fault.kind for fault in Watching(instance).faults()] == ["run_failed"]


def test_causes_are_errors_that_exist() -> None:
    names = {name for name, value in vars(errors).items() if isinstance(value, type)} | {
        QuotaReached.__name__
    }
    assert CAUSES_OF_ERRORS.keys() <= names
    assert set(CAUSES_OF_ERRORS.values()) == PROVIDER <= KINDS.keys()


def test_a_host_that_dns_does_not_know_is_unreachable(instance: dg.DagsterInstance) -> None:
    fixer = ImpatientFixer(
        base_url="http://unknown.invalid", base="EUR", symbols=[], concurrency=1, retries=1
    )
    run_with(instance, fixer, "2024-01-01", "2024-01-01")
    assert [fault.kind for fault in Watching(instance).faults()] == ["provider_unreachable"]


def test_a_failed_run_of_a_backfill_is_left_to_its_days(instance: dg.DagsterInstance) -> None:
    failed_run(instance, {BACKFILL_TAG: "b"})
    assert Watching(instance).faults() == []
    failed_run(instance, {BACKFILL_TAG: "b"}, **{STOPPED_BY: "InvalidKey"})
    assert [fault.kind for fault in Watching(instance).faults()] == ["wrong_key"]
