"""The watcher: what it sends to a real address, its digests, and what it does when things are broken."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.alerted import AlertState, alerts_summary, read_alerts, watcher_problem
from fx_pipeline.alerting import conditions
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.messages import MAX_CHARACTERS, RUNBOOK
from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.alerting.watch import run
from fx_pipeline.clock import utc_now, yesterday
from fx_pipeline.crashes import record_crash
from fx_pipeline.dagster_internals.testing import record_heartbeat
from fx_pipeline.dagster_numbers import read_numbers
from fx_pipeline.processes.leftovers import DAEMON_LOCK
from fx_pipeline.rates import DayRates
from fx_pipeline.replicated import ReplicationState, folder_of, remove_state, write_state
from fx_pipeline.replication.fencing import SupersededError
from fx_pipeline.settings import SettingsError, load_settings
from fx_pipeline.store.store import RateStore
from fx_pipeline.store.writer import write_record
from fx_pipeline_tests.alerting.conftest import KEY
from fx_pipeline_tests.alerting.watching import Watching, titles
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.inbox import TOKEN, Inbox, open_inbox

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

WRONG_KEY = Fault(kind="wrong_key", text="rates_job: the key is unknown", link="http://127.0.0.1:3000/runs/r")
MORNING = dt.datetime(2026, 3, 2, 8, 0, tzinfo=dt.timezone.utc)
MISSING = Fault(kind="days_missing", subject="missing", text="1 day is missing.")
REFUSED = "FX_ALERT_URLS, entry 1 (JSON): the alert was not accepted (HTTP status 503)"


def store_day(date: dt.date) -> None:
    with RateStore(load_settings().fx_database) as store:
        store.record([fetch_of(DayRates(date=date, base="EUR", timestamp=0, rates={"USD": 1.1}))])


def test_an_alert_has_its_row_of_the_runbook_and_links(inbox: Inbox) -> None:
    watching = Watching(now=MORNING)
    watching.see(WRONG_KEY, minutes=600)
    [alert] = inbox.received
    assert (alert["title"], alert["type"]) == ("fx-pipeline: the key is refused", "failure")
    assert alert["message"] == (
        "rates_job: the key is unknown\n\n"
        f"Meaning: {KINDS['wrong_key'].meaning}\n"
        f"Waiting until morning: {KINDS['wrong_key'].cost}\n"
        f"Investigate: {KINDS['wrong_key'].investigate}\n"
        f"Fix: {KINDS['wrong_key'].fix}\n\n"
        f"Runbook: {RUNBOOK}#wrong_key\nhttp://127.0.0.1:3000/runs/r"
    )
    watching.see(minutes=2)
    [_, end] = inbox.received
    assert (end["title"], end["type"]) == ("fx-pipeline: resolved: the key is refused", "success")
    assert end["message"] == "It lasted 10 hours. It was:\n\nrates_job: the key is unknown"


def test_a_restart_of_the_watcher_sends_nothing_again(inbox: Inbox) -> None:
    for _ in range(3):
        watching = Watching()
        watching.see(WRONG_KEY)
    watching.see()
    Watching().see(minutes=5)
    assert titles(inbox) == ["the key is refused", "resolved: the key is refused"]


def test_a_quiet_week_sends_only_its_digests(inbox: Inbox) -> None:
    watching = Watching(now=dt.datetime(2026, 3, 2, 12, 0, tzinfo=dt.timezone.utc))
    for _ in range(7 * 24 * 6):  # a look every 10 minutes
        watching.now += dt.timedelta(minutes=9, seconds=30)
        watching.see(minutes=0.5, summary=["Newest day: yesterday."])
    assert titles(inbox) == [f"digest of 2026-03-0{day}: all is well" for day in range(3, 10)]
    assert {message["message"] for message in inbox.received} == {"Newest day: yesterday.\nNo alert is open."}
    assert {message["type"] for message in inbox.received} == {"info"}


def test_what_can_wait_is_only_in_digests(inbox: Inbox) -> None:
    watching = Watching(now=dt.datetime(2026, 3, 2, 23, 0, tzinfo=dt.timezone.utc))
    watching.see(MISSING, minutes=120)
    watching.see(MISSING, WRONG_KEY, minutes=2)
    assert titles(inbox) == ["the key is refused"]
    watching.see(MISSING, WRONG_KEY, minutes=7 * 60)
    watching.see(minutes=5)
    watching.now += dt.timedelta(hours=23)
    watching.see(minutes=1)
    assert titles(inbox)[1:] == [
        "digest of 2026-03-03: 2 open alerts",
        "resolved: the key is refused",
        "digest of 2026-03-04: all is well",
    ]
    first, last = (inbox.received[number]["message"] for number in (1, 3))
    assert first == (
        "days are missing (missing): 1 day is missing.\n\n"
        f"Meaning: {KINDS['days_missing'].meaning}\n"
        f"Waiting until morning: {KINDS['days_missing'].cost}\n"
        f"Investigate: {KINDS['days_missing'].investigate}\n"
        f"Fix: {KINDS['days_missing'].fix}\n\n"
        f"Runbook: {RUNBOOK}#days_missing\nhttp://127.0.0.1:3000\n\n"
        "Alerted before and still open:\n- since 2026-03-03 01:00 UTC: the key is refused"
    )
    assert last == (
        "No alert is open.\n\nOver since the last digest:\n"
        "- days are missing (missing): 1 day is missing. (2026-03-02 23:00 to 08:02 UTC)"
    )


def test_without_digests_everything_is_sent_immediately(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FX_DIGEST", "off")
    watching = Watching(now=MORNING)
    watching.see(MISSING, minutes=70)
    watching.see()
    for _ in range(48):
        watching.now += dt.timedelta(minutes=59)
        watching.see(minutes=1)
    assert titles(inbox) == ["days are missing (missing)", "resolved: days are missing (missing)"]


def test_the_digest_comes_after_a_night_without_power_but_not_twice(inbox: Inbox) -> None:
    watching = Watching(now=dt.datetime(2026, 3, 2, 12, 0, tzinfo=dt.timezone.utc))
    watching.see(minutes=1)
    later = Watching(now=dt.datetime(2026, 3, 5, 9, 0, tzinfo=dt.timezone.utc))
    later.see(minutes=30)
    assert titles(inbox) == ["digest of 2026-03-05: all is well"]


def test_an_alert_that_no_address_accepts_is_sent_again_and_shown(inbox: Inbox) -> None:
    inbox.closed = True
    watching = Watching()
    watching.see(WRONG_KEY, minutes=5)
    shown = alerts_summary(read_alerts(load_settings().fx_database))
    assert shown is not None
    assert [one["kind"] for one in shown["open"]] == ["wrong_key"]
    assert shown["undelivered"] == [{"title": "fx-pipeline: the key is refused", "failures": [REFUSED]}]
    assert f'"fx-pipeline: the key is refused": {REFUSED}.' in watching.said
    inbox.closed = False
    Watching().see(WRONG_KEY, minutes=5)
    assert titles(inbox) == ["the key is refused"]
    shown = alerts_summary(read_alerts(load_settings().fx_database))
    assert shown is not None
    assert shown["undelivered"] == []
    assert TOKEN not in str(watching.said)


def test_an_alert_is_dropped_after_a_day_and_shown_for_three(inbox: Inbox) -> None:
    inbox.closed = True
    watching = Watching()
    watching.see(WRONG_KEY)
    watching.now += dt.timedelta(days=1)
    watching.see(WRONG_KEY, minutes=1)
    dropped = '"fx-pipeline: the key is refused": no address accepted it for a day, so it is dropped.'
    assert dropped in watching.said
    inbox.closed = False
    watching.see(minutes=5)
    assert [title for title in titles(inbox) if "digest" not in title] == []
    shown = alerts_summary(watching.watcher.state)
    assert shown is not None
    assert "fx-pipeline: the key is refused" in [one["title"] for one in shown["undelivered"]]
    watching.now += dt.timedelta(days=3)
    watching.see(minutes=1)
    assert watching.watcher.state.undelivered == []


def test_only_the_addresses_that_have_an_alert_get_its_end(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_inbox() as second:
        monkeypatch.setenv("FX_ALERT_URLS", f"nonsense://{TOKEN} {second.url} {inbox.url}")
        second.closed = True
        watching = Watching()
        watching.see(WRONG_KEY)
        second.closed = False
        watching.see()
        assert (titles(second), len(inbox.received)) == ([], 2)
        assert TOKEN not in str(watching.said)


def test_no_message_contains_the_key(inbox: Inbox) -> None:
    watching = Watching()
    watching.see(
        Fault(kind="run_failed", subject="rates", text=f"ValueError: access_key={KEY}\n{'x' * 9000}")
    )
    watching.see()
    assert titles(inbox) == ["a run failed (rates)", "resolved: a run failed (rates)"]
    sent = json.dumps(inbox.received)
    assert KEY not in sent
    assert inbox.received[0]["message"].startswith("ValueError: access_key=[removed]\nxxx")
    assert "x" * (MAX_CHARACTERS + 1) not in sent


@pytest.fixture
def fine(instance: dg.DagsterInstance, inbox: Inbox) -> Watching:
    """Return the watcher of an instance without any fault, whose daemon began only now."""
    store_day(yesterday())
    (load_settings().dagster_home / DAEMON_LOCK).touch()
    record_heartbeat(instance, utc_now() + dt.timedelta(minutes=20))
    return Watching()


def test_an_instance_without_a_fault_sends_nothing(inbox: Inbox, fine: Watching) -> None:
    fine.look(minutes=3)
    assert (titles(inbox), fine.watcher.state.faults) == ([], [])
    assert read_alerts(load_settings().fx_database) == fine.watcher.state


def test_every_second_look_writes_the_numbers_of_dagster_for_the_metrics(
    instance: dg.DagsterInstance, fine: Watching
) -> None:
    start, written = fine.now.timestamp(), []
    for _ in range(4):
        fine.look(minutes=0.5)
        numbers = read_numbers(load_settings().fx_database)
        assert numbers is not None
        written.append(round(numbers.at - start))
        beats = set(numbers.heartbeats)
    assert written == [30, 30, 90, 90]
    assert beats == {kind.lower() for kind in instance.get_required_daemon_types()}


def test_each_fault_of_the_machine_is_reported_once_and_resolved_once(
    instance: dg.DagsterInstance, inbox: Inbox, fine: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = load_settings().fx_database
    record_heartbeat(instance, fine.now - dt.timedelta(minutes=5))
    fine.look(minutes=4)
    record_heartbeat(instance, fine.now + dt.timedelta(minutes=30))
    fine.look()
    assert titles(inbox) == each("Dagster's daemon is not running")

    nearly, full = conditions.MIN_FREE_MB, conditions.FULL_MB
    monkeypatch.setattr(conditions, "MIN_FREE_MB", 2**40)
    fine.look()
    monkeypatch.setattr(conditions, "FULL_MB", 2**40)
    fine.look()
    monkeypatch.setattr(conditions, "MIN_FREE_MB", nearly)
    monkeypatch.setattr(conditions, "FULL_MB", full)
    fine.look()
    folder = database.parent
    assert titles(inbox)[2:] == [
        f"the disk is nearly full ({folder})",
        f"the disk is full ({folder})",
        f"resolved: the disk is nearly full ({folder})",
        f"resolved: the disk is full ({folder})",
    ]

    folder_of(database).mkdir()
    state = ReplicationState(at=utc_now().isoformat(), confirmed_at=None, fault="It is behind.")
    write_state(database, state)
    fine.look()
    remove_state(database)
    fine.look()
    assert titles(inbox)[6:] == each("replication fails")

    for count, expected in ((2, 0), (1, 1)):
        for _ in range(count):
            record_crash(database, "api worker", fine.now)
        fine.look(minutes=1)
        assert len(titles(inbox)[8:]) == expected
    assert inbox.received[-1]["message"].startswith("api worker has crashed 3 times within 15 minutes.")
    fine.now += dt.timedelta(minutes=15)
    fine.look()
    assert titles(inbox)[8:] == each("a process crashes again and again (api worker)")

    database.rename("elsewhere.db")
    fine.look(minutes=3)
    assert not database.exists()
    Path("elsewhere.db").rename(database)
    fine.look()
    assert titles(inbox)[10:] == each("the database cannot be used")


def each(title: str) -> list[str]:
    """Return the titles of an alert and of its end."""
    return [title, f"resolved: {title}"]


def test_a_full_disk_that_cannot_keep_the_state_sends_one_alert(
    inbox: Inbox, fine: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "FULL_MB", 2**40)
    Path("fx.db-alerts.json").mkdir()  # it cannot be replaced
    fine.look(minutes=3)
    assert len(titles(inbox)) == 1
    [said] = [line for line in fine.said if "cannot be written" in line]
    assert said.startswith("The state of the alerts cannot be written next to the database (")


def test_a_damaged_storage_of_dagster_is_one_fault(inbox: Inbox, fine: Watching) -> None:
    """The faults that it would show neither begin nor end."""
    runs = load_settings().dagster_home / "history" / "runs.db"
    fine.see(WRONG_KEY)
    fine.look(minutes=0.5)
    sound = runs.read_bytes()
    for file in runs.parent.glob("runs.db-*"):
        file.unlink()
    runs.write_bytes(b"no database" * 1000)
    fine.look(minutes=3)
    assert titles(inbox) == ["the key is refused", "Dagster's storage cannot be read"]
    runs.write_bytes(sound)
    fine.look()
    assert titles(inbox)[2:] == ["resolved: the key is refused", "resolved: Dagster's storage cannot be read"]


def test_a_missing_home_of_dagster_is_reported(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a typo in DAGSTER_HOME. Nothing is created there."""
    monkeypatch.setenv("DAGSTER_HOME", "other")
    store_day(yesterday())
    Watching().look(minutes=4)
    assert titles(inbox) == ["Dagster's daemon is not running"]
    assert not Path("other").exists()


def test_one_watcher_says_where_it_sends_alerts_and_a_second_one_is_refused(
    fine: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    database = load_settings().fx_database

    def instants() -> Iterator[dt.datetime]:
        with pytest.raises(SettingsError, match="Another fx-pipeline watch is watching"):
            run(load_settings(), said.append, [fine.now])
        yield fine.now

    run(load_settings(), said.append, instants())
    monkeypatch.delenv("FX_ALERT_URLS")
    run(load_settings(), said.append, [fine.now])
    assert said == [
        f"Watching {database}. Alerts are sent to 1 address.",
        f"Watching {database}. No alert is sent, because FX_ALERT_URLS is not set.",
    ]
    state = read_alerts(database)
    assert state is not None
    assert (state.looked_at, state.sending) == (fine.now, False)


def test_the_watcher_ends_if_another_host_has_taken_over(fine: Watching) -> None:
    write_record(load_settings().fx_database, {"superseded": "another has taken over"})
    with pytest.raises(SupersededError, match="another has taken over"):
        fine.look()


def test_a_watcher_that_does_not_run_is_a_problem() -> None:
    now = utc_now()
    assert watcher_problem(None, now) is None
    assert watcher_problem(None, now, wanted=True) == (
        "No alert is sent: the watcher has never looked at this database. Start `fx-pipeline up` or "
        "`fx-pipeline watch`."
    )
    for sending in (False, True):
        state = AlertState(looked_at=now, sending=sending)
        assert watcher_problem(state, now + dt.timedelta(minutes=4), wanted=True) is None
        problem = watcher_problem(state, now + dt.timedelta(minutes=6))
        assert (problem is not None) == sending
        if problem:
            assert problem.startswith(f"No alert is sent: the watcher last looked at {now:%Y-%m-%dT%H:%M:%S}")
