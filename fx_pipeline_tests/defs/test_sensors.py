"""Alerts for runs on a real Dagster instance, as an address receives them over HTTP."""

import datetime as dt
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fx_pipeline.alerts import MAX_CHARACTERS
from fx_pipeline.dagster_internals.tags import AUTO_RETRY_RUN_ID_TAG
from fx_pipeline.defs import tries
from fx_pipeline.defs.failures import recovery_metadata
from fx_pipeline.defs.jobs import rates_job, symbols_job
from fx_pipeline.defs.sensors import Cursor, Ended, Undelivered, undelivered_alerts
from fx_pipeline.rates import DayRates
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.defs.rates_run import QUIET, materialize_rates, run_rates, run_table_checks
from fx_pipeline_tests.defs.ticks import tick
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.inbox import TOKEN, Inbox, open_inbox
from fx_pipeline_tests.sandbox_server import Sandbox

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

KEY = "k3yThatMustNotBeSeen"
NOT_AGAIN = {"dagster/max_retries": "0"}
"""Tags of a run that Dagster does not restart."""

NOTHING = "Alerts sent: 0; to be retried: 0."
SENT = "Alerts sent: 1; to be retried: 0."


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        yield inbox


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIXER_ACCESS_KEY", KEY)


def test_a_run_with_failed_dates_and_a_failed_check_sends_one_alert(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-04")
    run_rates(instance, sandbox, "2024-01-06", "2024-01-06")
    sandbox.change(today=lambda: dt.date(2024, 1, 6), faults={"bad-value": 1.0})
    run = run_rates(instance, sandbox, "2024-01-05", "2024-01-09", skip_stored=True)
    said, cursor = tick(instance)
    assert said == SENT
    [message] = inbox.received
    assert message["title"] == "fx-pipeline: rates_job failed"
    reason, *checks, advice, link = message["message"].split("\n\n")
    assert reason == "3 dates: the date is not accepted (302 invalid_date): 2024-01-07 to 2024-01-09"
    assert any(check.startswith("Check positive_and_finite: 2024-01-05: ") for check in checks)
    assert advice == 'To fetch only the failed days, press "Re-execute all" on the page of the run.'
    assert link == f"http://127.0.0.1:3000/runs/{run.run_id}"
    assert tick(instance, cursor) == (NOTHING, cursor)
    assert len(inbox.received) == 1


def test_a_successful_run_with_a_serious_finding_sends_an_alert(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FX_DAGSTER_URL", "https://dagster.example.org/fx/")
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    sandbox.change(faults={"off-by-100": 1.0})
    run = run_rates(instance, sandbox, "2024-01-11", "2024-01-11")
    assert tick(instance)[0] == SENT
    [message] = inbox.received
    assert message["title"] == "fx-pipeline: check failed: jump"
    finding, link = message["message"].split("\n\n")
    assert finding.startswith("Check jump: 2024-01-11: ")
    assert link == f"https://dagster.example.org/fx/runs/{run.run_id}"
    assert message["type"] == "failure"


def test_a_warning_sends_no_alert(instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-02", symbols=("USD", "RUB"))
    assert tick(instance)[0] == NOTHING
    assert inbox.received == []


def test_only_new_findings_send_an_alert(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    sandbox.change(faults={"missing": 1.0}, seed=1)
    cursor = None
    counts = []
    for first, last in (
        ("2024-01-11", "2024-01-11"),
        ("2024-01-11", "2024-01-11"),
        ("2024-01-11", "2024-01-16"),
    ):
        run_rates(instance, sandbox, first, last)
        _, cursor = tick(instance, cursor)
        counts.append(len(inbox.received))
    assert counts == [1, 1, 2]


def test_a_known_finding_stays_known_after_runs_over_many_dates_from_the_ui(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    """Dagster stores a planned execution of each check per date: more than are searched."""
    sandbox.change(faults={"missing": 1.0}, seed=1)
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    _, cursor = tick(instance)
    alerted = [message["message"] for message in inbox.received]
    sandbox.change(faults={})
    materialize_rates(instance, sandbox, "2024-02-01", "2024-03-31")
    _, cursor = tick(instance, cursor)
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10", skip_stored=True)
    inbox.received.clear()
    assert tick(instance, cursor)[0] == NOTHING
    assert len(alerted) == 1


def test_a_finding_of_the_table_sends_one_alert(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    day = dt.datetime.now(dt.timezone.utc).date() - dt.timedelta(days=9)
    with RateStore(Path("fx.db")) as store:
        store.record([fetch_of(DayRates(date=day, base="EUR", timestamp=0, rates={"USD": 1.1}))])
    cursor = None
    for _ in range(2):
        run_table_checks(instance)
        _, cursor = tick(instance, cursor)
    [message] = inbox.received
    assert message["title"] == "fx-pipeline: check failed: freshness"
    assert message["message"].startswith(
        f"Check freshness: {day}: the newest day is 9 days old; at most 3 are allowed."
    )


def test_an_alert_that_no_address_accepted_is_logged_and_sent_again(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    inbox.closed = True
    sandbox.change(key="another")
    run_rates(instance, sandbox, "2024-01-01", "2024-01-01")
    cursor = None
    for _ in range(2):
        said, cursor = tick(instance, cursor)
        first, *problems = said.splitlines()
        assert first == "Alerts sent: 0; to be retried: 1."
        [problem] = problems
        assert problem.startswith('"fx-pipeline: rates_job failed" http://127.0.0.1:3000/runs/')
        assert problem.endswith(
            ": FX_ALERT_URLS, entry 1 (JSON): the alert was not accepted (HTTP status 503)."
        )
        [undelivered] = undelivered_alerts(cursor)
        assert undelivered.title == "fx-pipeline: rates_job failed"
        assert undelivered.failures == (
            "FX_ALERT_URLS, entry 1 (JSON): the alert was not accepted (HTTP status 503)",
        )
        assert TOKEN not in said + caplog.text
    inbox.closed = False
    said, cursor = tick(instance, cursor)
    assert said == SENT
    assert undelivered_alerts(cursor) == ()
    assert len(inbox.received) == 1


def test_a_failing_address_does_not_affect_the_others(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FX_ALERT_URLS", f"nonsense://{TOKEN} json://127.0.0.1:9/{TOKEN} {inbox.url}")
    sandbox.change(key="another")
    run_rates(instance, sandbox, "2024-01-01", "2024-01-01")
    said, cursor = tick(instance)
    first, unknown, silent = said.splitlines()
    assert first == SENT
    assert ": FX_ALERT_URLS, entry 1: not a URL that Apprise supports" in unknown
    assert silent.endswith(": FX_ALERT_URLS, entry 2 (JSON): the alert was not accepted (no connection).")
    [undelivered] = undelivered_alerts(cursor)
    assert len(undelivered.failures) == 2
    assert TOKEN not in said
    assert len(inbox.received) == 1


def test_an_alert_is_dropped_after_a_day_and_that_is_logged(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    sandbox.change(key="another")
    run = run_rates(instance, sandbox, "2024-01-01", "2024-01-01")
    _, cursor = tick(instance)
    assert cursor is not None
    after = json.loads(cursor)[0]
    pending = (Ended(run.run_id, failed=True, at=time.time() - 90_000),)
    said, left = tick(instance, json.dumps(Cursor(after, pending)))
    assert said.splitlines() == [
        NOTHING,
        f"run {run.run_id}: no address accepted the alert for a day, so it is dropped.",
    ]
    assert left == cursor
    assert len(inbox.received) == 1


def test_an_undelivered_alert_is_shown_for_three_days(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    days = [Undelivered(f"after {day} days", "title", time.time() - 86_400 * day, ()) for day in (1, 2, 4)]
    _, cursor = tick(instance, json.dumps(Cursor(undelivered=tuple(days))))
    assert [alert.run_id for alert in undelivered_alerts(cursor)] == ["after 1 days", "after 2 days"]
    assert undelivered_alerts(None) == ()
    assert undelivered_alerts("[7, []]") == ()  # as earlier versions stored it


def test_runs_before_an_address_is_set_are_alerted_later(
    instance: dg.DagsterInstance, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.change(key="another")
    run_rates(instance, sandbox, "2024-01-01", "2024-01-01")
    assert tick(instance) == ("FX_ALERT_URLS is not set, so no alerts are sent.", None)
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        assert tick(instance)[0] == SENT
        assert len(inbox.received) == 1


@pytest.mark.slow
def test_no_alert_contains_the_key_whatever_goes_wrong(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    run_rates(instance, sandbox, "2024-01-01", "2024-01-10")
    good: dict[str, Any] = {"key": None, "inactive": False, "quota": None, "faults": {}}
    troubles: tuple[dict[str, Any], ...] = (
        {"key": "another"},
        {"inactive": True},
        {"quota": 1},
        {"faults": {"bad-value": 0.3, "off-by-100": 0.3, "missing": 0.3}},
        {"faults": {"wrong-base": 1.0}},
    )
    for number, trouble in enumerate(troubles):
        sandbox.change(**good | trouble)
        run_rates(instance, sandbox, f"2024-02-{number + 1:02}", f"2024-02-{number + 4:02}")
    leaking_job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)
    said, _ = tick(instance)
    titles = [message["title"] for message in inbox.received]
    assert said == f"Alerts sent: {len(titles)}; to be retried: 0."
    assert titles.count("fx-pipeline: rates_job failed") == 4
    assert titles[-1] == "fx-pipeline: symbols_job failed"
    assert inbox.received[-1]["message"].startswith("ValueError: http://data.fixer.io/api?access_key=***\n\n")
    everything = json.dumps(inbox.received) + said
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


def test_a_killed_run_without_a_restart_is_alerted_in_dagsters_words(
    instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run = killed_run(instance, "The run worker was killed.", **NOT_AGAIN)
    assert tick(instance)[0] == SENT
    assert inbox.received[0]["message"] == (
        f"The run worker was killed.\n\nhttp://127.0.0.1:3000/runs/{run.run_id}"
    )


def test_of_a_restarted_run_only_the_second_is_alerted(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run = killed_run(instance, "The run worker was killed.")
    said, cursor = tick(instance)
    assert said == "Alerts sent: 0; to be retried: 1."
    again = killed_run(instance, "It was killed again.", **NOT_AGAIN)
    instance.add_run_tags(run.run_id, {AUTO_RETRY_RUN_ID_TAG: again.run_id})  # as Dagster's daemon does
    said, cursor = tick(instance, cursor)
    assert said == SENT
    [message] = inbox.received
    assert message["message"] == f"It was killed again.\n\nhttp://127.0.0.1:3000/runs/{again.run_id}"
    assert tick(instance, cursor)[0] == NOTHING


def test_a_killed_run_that_is_not_restarted_in_time_is_alerted(
    instance: dg.DagsterInstance, inbox: Inbox
) -> None:
    run = killed_run(instance, "The run worker was killed.")
    _, cursor = tick(instance)
    assert cursor is not None
    after = json.loads(cursor)[0]
    pending = (Ended(run.run_id, failed=True, at=time.time() - 601),)
    assert tick(instance, json.dumps(Cursor(after, pending)))[0] == SENT
    assert len(inbox.received) == 1


def test_a_cancelled_run_sends_no_alert(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run = instance.create_run_for_job(leaking_job)
    instance.report_run_failed(run, "Execution was interrupted unexpectedly.")
    instance.report_run_canceled(run)
    assert tick(instance)[0] == NOTHING
    assert inbox.received == []


def test_a_run_of_another_code_location_sends_no_alert(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    @dg.asset
    def others() -> None:
        raise ValueError

    assert not dg.materialize([others], instance=instance, run_config=QUIET, raise_on_error=False).success
    assert tick(instance)[0] == NOTHING
    assert inbox.received == []


def test_a_long_reason_is_cut_but_not_the_link(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run = killed_run(instance, "x" * 2 * MAX_CHARACTERS, **NOT_AGAIN)
    tick(instance)
    text, link = inbox.received[0]["message"].split("\n\n")
    assert text == "x" * MAX_CHARACTERS + " …"
    assert link.endswith(run.run_id)


TRY = {tries.MORNING: "2026-01-02", tries.NEXT_TRY: "60"}
"""Tags of a try of a morning with another one an hour later."""

WAITS = f"{NOTHING}\nFailed runs to be retried this morning before an alert is sent: 1."


@dg.op
def outage() -> None:
    """Fail like a run that an outage ended."""
    dates = [dt.date(2024, 1, 5)]
    raise dg.Failure("no answer", metadata=recovery_metadata(complete=True, dates=dates), allow_retries=False)


@dg.job(name=rates_job.name, executor_def=dg.in_process_executor)
def outage_job() -> None:
    """Fail."""
    outage()


def ended_by_outage(instance: dg.DagsterInstance, **tags: str) -> str:
    done = outage_job.execute_in_process(instance=instance, tags=tags, run_config=QUIET, raise_on_error=False)
    return done.run_id


def after(cursor: str | None, run_id: str, minutes: int) -> str:
    """Return the cursor as if the run had ended this many minutes ago."""
    assert cursor is not None
    pending = (Ended(run_id, failed=True, at=time.time() - 60 * minutes),)
    return json.dumps(Cursor(json.loads(cursor)[0], pending))


def test_only_the_last_try_of_a_morning_is_alerted(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    ended_by_outage(instance, **TRY)
    said, cursor = tick(instance)
    assert said == WAITS
    assert tick(instance, cursor) == (WAITS, cursor)
    last = ended_by_outage(instance, **{tries.MORNING: TRY[tries.MORNING]})
    said, cursor = tick(instance, cursor)
    assert said == SENT
    [message] = inbox.received
    assert message["message"] == (
        "no answer\n\nThis was the last try of the morning. The next one is after midnight (UTC).\n\n"
        f"http://127.0.0.1:3000/runs/{last}"
    )
    assert tick(instance, cursor)[0] == NOTHING


def test_a_next_try_that_does_not_start_is_not_waited_for(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    run_id = ended_by_outage(instance, **TRY)
    _, cursor = tick(instance)
    assert tick(instance, after(cursor, run_id, 69))[0] == WAITS
    assert tick(instance, after(cursor, run_id, 71))[0] == SENT
    assert "last try" not in inbox.received[0]["message"]


def test_a_day_fetched_before_the_next_try_sends_no_alert(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FX_DATABASE", "fx.db")
    run_id = ended_by_outage(instance, **TRY)
    _, cursor = tick(instance)
    run_rates(instance, sandbox, "2024-01-05", "2024-01-05")
    assert tick(instance, after(cursor, run_id, 71))[0] == NOTHING
    assert inbox.received == []


def test_an_unscheduled_run_ended_by_an_outage_is_alerted(instance: dg.DagsterInstance, inbox: Inbox) -> None:
    ended_by_outage(instance)
    assert tick(instance)[0] == SENT
    assert "last try" not in inbox.received[0]["message"]
