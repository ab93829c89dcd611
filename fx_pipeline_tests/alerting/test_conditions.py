"""What needs the operator: each condition in the document of `status`, its kind of alert and its line."""

from dataclasses import replace
from pathlib import Path

import pytest

from fx_pipeline.alerting.conditions import conditions
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.commands.dagster_state import DagsterState
from fx_pipeline.commands.reports import status_document
from fx_pipeline.settings import Settings
from fx_pipeline_tests.commands.test_reports import COVERAGE, MONDAY, QUOTA, TOKENS

START = "Start `fx-pipeline up` or `fx-pipeline daemon`"
RUNNING = DagsterState(
    automation={"daily_rates": "running"},
    daemon={"running": True, "last_heartbeat": "2024-03-11T05:00:00+00:00"},
)
FINE = status_document(
    Settings(_env_file=None),
    replace(COVERAGE, gaps=()),
    QUOTA,
    RUNNING,
    MONDAY,
    TOKENS,
    alert_addresses="ok",
)
HANGS = Fault(
    kind="run_hung", subject="r", text="It has reported nothing.", link="http://127.0.0.1:3000/runs/r"
)
HOME = Path("/other/dagster")
DAYS = "http://127.0.0.1:3000/assets/rates?view=partitions&default_range="


@pytest.mark.parametrize(
    ("part", "kind", "lines"),
    [
        ({}, "", []),
        ({"newest": None, "age_in_days": None, "fresh": False}, "stale_rates", ["No day is stored."]),
        (
            {"newest": "2024-03-05", "age_in_days": 6, "fresh": False},
            "stale_rates",
            ["The newest day, 2024-03-05, is 6 days old. FX_MAX_AGE_DAYS allows 3."],
        ),
        (
            {"newest": "2024-03-10", "age_in_days": 1, "fresh": False},
            "stale_rates",
            ["The newest day, 2024-03-10, is 1 day old. FX_MAX_AGE_DAYS allows 3."],
        ),
        ({"clock": "The clock was ahead."}, "clock_wrong", ["The clock was ahead."]),
        ({"missing_symbols": {"GPB": "unknown"}}, "symbols_unknown", ["GPB in FX_SYMBOLS: unknown."]),
        (
            {"quota": {"limit": 1000, "used": 1000, "renewed_on": "2024-04-01"}},
            "quota_used",
            ["The month's 1,000 calls are used up. The quota renews on 2024-04-01."],
        ),
        (
            {"run_faults": [HANGS.document]},
            "run_hung",
            ["a run hangs: It has reported nothing. (http://127.0.0.1:3000/runs/r)"],
        ),
        (
            {"failed_days": [["2024-03-01", "2024-03-01"]], "gaps": [["2024-03-01", "2024-03-01"]]},
            "days_missing",
            [f"Dagster shows 1 day as failed. To refetch it: {DAYS}2024-03-01"],
        ),
        (
            {"failed_days": [["2024-03-02", "2024-03-03"]], "gaps": [["2024-03-01", "2024-03-02"]]},
            "days_missing",
            [
                f"Dagster shows 2 days as failed. To refetch them: {DAYS}%5B2024-03-02...2024-03-03%5D",
                f"1 day is missing. To fetch it: {DAYS}2024-03-01",
            ],
        ),
        (
            {"automation": {"daily_rates": "stopped", "nightly": "stopped", "daily_checks": "running"}},
            "schedule_stopped",
            [
                "daily_rates is stopped. Start it in the Dagster UI, under Automation.",
                "nightly is stopped. Start it in the Dagster UI, under Automation.",
            ],
        ),
        (
            {"automation": {}, "daemon": None},
            "daemon_dead",
            [f"Dagster's home {HOME} does not exist. {START}, or set DAGSTER_HOME to the home that it uses."],
        ),
        (
            {"automation": {"daily_rates": "unknown"}, "daemon": None},
            "daemon_dead",
            [
                f"Dagster's daemon has never run in {HOME}. {START}, or set DAGSTER_HOME to the "
                "home that it uses."
            ],
        ),
        ({"automation": {"daily_rates": "starting"}, "daemon": None}, "", []),
        ({"automation": {"daily_rates": "starting", "daily_checks": "running"}}, "", []),
        (
            {"automation": {"no_daily_rates": "unknown", "no_checks": "unknown"}},
            "daemon_dead",
            [
                "Dagster has never run no_checks, no_daily_rates. Start `fx-pipeline up`, or `daemon` and "
                "`code-server`, or set FX_ASSET_PREFIX as it was when they were started."
            ],
        ),
        (
            {"daemon": {"running": False, "last_heartbeat": "2024-03-10T05:00:00+00:00"}},
            "daemon_dead",
            [
                "Dagster's daemon is not running: its last heartbeat was at 2024-03-10T05:00:00+00:00. "
                f"{START}."
            ],
        ),
        (
            {"disk_free_mb": {"/data": 199, "/dagster": 200}},
            "disk_nearly_full",
            ["The disk of /data is nearly full: 199 MB are free."],
        ),
        ({"disk_free_mb": {"/data": 19}}, "disk_full", ["The disk of /data is full: 19 MB are free."]),
        (
            {"crash_loops": {"api worker": 3}},
            "crash_loop",
            ["api worker has crashed 3 times within 15 minutes. Its log says why."],
        ),
        ({"watcher_problem": "It does not run."}, "watcher_silent", ["It does not run."]),
        (
            {"reader": {"lag_seconds": 90, "max_lag_seconds": 60.0}},
            "reader_behind",
            [
                "This reader has not been current for 90 s. FX_MAX_LAG_SECONDS allows 60. Start "
                "`fx-pipeline replica`, or read its log."
            ],
        ),
        (
            {"alert_addresses": "FX_ALERT_URLS, entry 1: wrong."},
            "alerts_undelivered",
            ["FX_ALERT_URLS, entry 1: wrong."],
        ),
        ({"alert_addresses": None}, "", []),
        (
            {"alerts": {"undelivered": [{"title": "it failed", "failures": ["a: b", "c: d"]}]}},
            "alerts_undelivered",
            [
                'The alert "it failed" was not delivered: a: b',
                'The alert "it failed" was not delivered: c: d',
            ],
        ),
        ({"access": {"problem": "Tokens are on, but lost."}}, "tokens_lost", ["Tokens are on, but lost."]),
        ({"replication": {"problem": "It is behind."}}, "replica_stalled", ["It is behind."]),
        ({"restore_drill": {"problem": "It is too old."}}, "restore_drill", ["It is too old."]),
    ],
)
def test_what_needs_the_operator_is_named(part: dict[str, object], kind: str, lines: list[str]) -> None:
    faults = [*conditions({**FINE, **part}, Settings(dagster_home=HOME))]
    assert [fault.line for fault in faults] == lines
    assert {fault.kind for fault in faults} == ({kind} if kind else set())
    assert len({(fault.kind, fault.subject) for fault in faults}) == len(faults)
    assert {fault.kind for fault in faults} <= KINDS.keys()
