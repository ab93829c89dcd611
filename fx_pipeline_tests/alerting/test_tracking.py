"""Which faults are alerted and when they are over, on a clock that the tests move."""

import datetime as dt
from collections import Counter
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from fx_pipeline.alerted import AlertState
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.alerting.tracking import LOOKS, OVER_AFTER, track

START = dt.datetime(2026, 3, 2, 0, 0, tzinfo=dt.timezone.utc)
LOOK = dt.timedelta(seconds=30)


class Looks:
    """Looks every 30 seconds, and what they alerted and resolved."""

    def __init__(self) -> None:
        self.state = AlertState(looked_at=START, sending=True)
        self.now = START
        self.said: list[str] = []

    def look(self, *faults: Fault, times: int = 1, unjudged: tuple[str, ...] = ()) -> list[str]:
        """Return what these looks said."""
        before = len(self.said)
        for _ in range(times):
            self.now += LOOK
            changes = track(self.state, faults, self.now, unjudged=unjudged)
            self.said += [f"alert {one.kind} {one.subject}".rstrip() for one in changes.begun]
            self.said += [f"resolved {one.kind} {one.subject}".rstrip() for one in changes.over]
        return self.said[before:]


def fault(kind: str, subject: str = "", *parts: str) -> Fault:
    return Fault(kind=kind, subject=subject, parts=parts, text="It failed.")


DISK = fault("disk_nearly_full", "/data")
FULL = fault("disk_full", "/data")
KEY = fault("wrong_key")
MISSING = fault("days_missing", "missing")
DEAD = fault("daemon_dead")


def test_a_fault_is_alerted_once_and_resolved_once() -> None:
    looks = Looks()
    assert looks.look(KEY) == []
    assert looks.look(KEY) == ["alert wrong_key"]
    assert looks.look(KEY, times=3000) == []
    assert looks.look(times=2) == []
    assert looks.look() == ["resolved wrong_key"]
    assert looks.look(times=100) == []


def test_a_fault_shorter_than_a_restart_is_not_alerted() -> None:
    looks = Looks()
    for _ in range(5):
        looks.look(DEAD, times=5)
        looks.look()
    assert looks.said == []
    assert looks.look(DEAD, times=7) == ["alert daemon_dead"]


def test_a_gap_of_one_look_does_not_end_a_fault() -> None:
    looks = Looks()
    looks.look(DISK, times=3)
    for _ in range(10):
        looks.look()
        looks.look(DISK)
    assert looks.said == ["alert disk_nearly_full /data"]


def test_a_fault_that_another_explains_is_alerted_only_if_it_stays() -> None:
    looks = Looks()
    looks.look(DISK, times=3)
    assert looks.look(FULL, DISK, times=10) == ["alert disk_full /data"]
    assert looks.look(FULL, fault("daemon_dead"), fault("run_hung", "r"), times=100) == [
        "resolved disk_nearly_full /data"
    ]
    assert looks.look(DEAD, times=5) == ["resolved disk_full /data"]
    assert looks.look(DEAD, times=4) == ["alert daemon_dead"]


def test_a_run_that_failed_on_a_full_disk_is_not_alerted_when_there_is_space() -> None:
    looks = Looks()
    first, second = (Fault(kind="run_failed", subject="rates", event=run, text="It failed.") for run in "ab")
    looks.look(FULL, times=2)
    looks.look(FULL, first, times=5)
    assert looks.look(first, times=500) == ["resolved disk_full /data"]
    assert looks.look(second, times=5) == ["alert run_failed rates"]


def test_missing_days_wait_for_the_run_that_comes_after_an_outage() -> None:
    looks = Looks()
    looks.look(fault("provider_down"), MISSING, times=6 * 120)
    looks.look(MISSING, times=30)  # the next run fetches them
    looks.look(times=200)
    assert looks.said == ["alert provider_down", "resolved provider_down"]
    assert looks.look(MISSING, times=130) == ["alert days_missing missing"]


def test_what_cannot_be_judged_neither_begins_nor_ends() -> None:
    looks = Looks()
    looks.look(KEY, times=2)
    assert looks.look(fault("dagster_unreadable"), times=10, unjudged=("wrong_key",)) == [
        "alert dagster_unreadable"
    ]
    assert looks.look(KEY, times=10) == ["resolved dagster_unreadable"]
    assert looks.said.count("alert wrong_key") == 1


def test_a_new_finding_of_a_check_is_a_fault_of_its_own_and_a_known_one_is_not() -> None:
    looks = Looks()
    assert looks.look(fault("garbage_values", "jump", "USD"), times=2) == ["alert garbage_values jump"]
    assert looks.look(fault("garbage_values", "jump", "USD"), times=100) == []
    assert looks.look(fault("garbage_values", "jump", "USD", "GBP"), times=2) == ["alert garbage_values jump"]
    assert looks.look(times=3) == ["resolved garbage_values jump"] * 2
    assert looks.look(fault("garbage_values", "jump", "USD"), times=10) == []  # a backfill passed in between
    looks.now += dt.timedelta(days=8)
    looks.look()
    assert looks.look(fault("garbage_values", "jump", "USD"), times=2) == ["alert garbage_values jump"]


def test_what_status_sees_and_a_check_finds_is_one_fault() -> None:
    looks = Looks()
    seen, found = fault("content_frozen"), fault("content_frozen", "", "USD", "GBP")
    looks.look(seen, times=5)
    looks.look(seen, found, times=5)
    looks.look(found, times=5)  # until the check runs again
    looks.look(times=3)
    looks.look(found, seen, times=5)
    looks.look(times=3)
    assert looks.said == ["alert content_frozen", "resolved content_frozen"] * 2


def test_without_an_address_nothing_begins_until_there_is_one() -> None:
    looks = Looks()
    looks.state.sending = False
    assert looks.look(KEY, times=100) == []
    looks.state.sending = True
    assert looks.look(KEY) == ["alert wrong_key"]


def test_the_clock_may_jump_by_a_day() -> None:
    for jump in (dt.timedelta(days=1), dt.timedelta(days=-1)):
        looks = Looks()
        looks.look(DISK, times=3)
        looks.now += jump
        assert looks.look(fault("clock_wrong"), DISK, times=2) == ["alert clock_wrong"]
        assert looks.look(DISK, times=3) == ["resolved clock_wrong"]
        assert looks.look(times=3) == ["resolved disk_nearly_full /data"]


SOME = [DISK, FULL, KEY, DEAD, fault("run_failed", "database"), fault("run_failed", "rates")]


@given(st.lists(st.tuples(st.sets(st.sampled_from(SOME)), st.integers(1, 12)), max_size=20))
def test_alerts_and_ends_alternate_whatever_is_seen(seen: list[tuple[set[Fault], int]]) -> None:
    looks = Looks()
    for faults, times in seen:
        looks.look(*sorted(faults, key=SOME.index), times=times)
    looks.look(times=int(OVER_AFTER / LOOK) + 1)
    for name, about in groupby(sorted(looks.said, key=lambda said: said.split(" ", 1)[1]), _name):
        said = [one.split(" ")[0] for one in looks.said if _name(one) == name]
        assert said == ["alert", "resolved"] * (len(list(about)) // 2)
    assert looks.state.faults == []


def _name(said: str) -> str:
    return said.split(" ", 1)[1]


@given(st.lists(st.booleans(), max_size=60))
def test_a_fault_is_alerted_as_often_as_it_is_seen_without_a_break(seen: list[bool]) -> None:
    """Compare with a model: a break is more than a minute without it."""
    looks = Looks()
    for is_seen in seen:
        looks.look(*([KEY] if is_seen else []))
    alerts, in_a_row, gone, is_open = 0, 0, 0, False
    for is_seen in seen:
        in_a_row, gone = (in_a_row + 1, 0) if is_seen else (0, gone + 1)
        if gone > OVER_AFTER / LOOK:
            is_open = False
        if in_a_row >= LOOKS and not is_open:
            alerts, is_open = alerts + 1, True
    assert Counter(looks.said)["alert wrong_key"] == alerts


def test_no_kind_explains_itself() -> None:
    def causes(name: str, seen: frozenset[str]) -> None:
        assert name not in seen, f"{name} explains itself"
        for cause in KINDS[name].caused_by:
            causes(cause, seen | {name})

    for name in KINDS:
        causes(name, frozenset())
