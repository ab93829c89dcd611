"""The rules in deploy/monitoring: each alerts in time, ends, and uses only metrics that there are."""

import re
from pathlib import Path
from typing import Any

import yaml

from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.settings import PROJECT
from fx_pipeline_tests.api.monitoring.conftest import FOLDER, FROM_PROMETHEUS, Series, labels_of
from fx_pipeline_tests.promtool import Case, Expected, check_cases, run

RULES = sorted(FOLDER.glob("rules*.yml"))
DAY = 24 * 3600


def rules() -> dict[str, dict[str, Any]]:
    """Return all rules by name."""
    found = {}
    for file in RULES:
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            found.update({rule["alert"]: rule for rule in group["rules"]})
    return found


def test_rules_use_metrics_that_there_are(of_api: Series, of_litestream: Series) -> None:
    real = labels_of([*of_api, *of_litestream, *FROM_PROMETHEUS])
    for rule in rules().values():
        for name, selector in re.findall(r"\b((?:fx|litestream)_\w+|up)(?:\{([^}]*)\})?", rule["expr"]):
            assert set(re.findall(r"(\w+)(?:=|!)", selector)) <= real[name]
    for name, labels in labels_of(one for case in CASES for one in case.series).items():
        assert labels <= real[name]


def test_each_rule_says_what_it_means_and_links_to_the_runbook() -> None:
    run("promtool", "check", "rules", *RULES)
    for rule in rules().values():
        assert rule["alert"].startswith("Fx")
        assert rule["labels"]["severity"] in {"page", "digest"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
        kind = rule["labels"].get("kind")
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert f'<a id="{anchor}"></a>' in (PROJECT / file).read_text(encoding="utf-8")
        assert anchor == (kind or rule["alert"])
        assert kind is None or KINDS[kind].severity == rule["labels"]["severity"]


def of(rule: str, labels: str = "") -> str:
    """Return the number of alerts of a rule that fire."""
    return f'count(ALERTS{{alertstate="firing",alertname="{rule}"{labels}}})'


def alerts(rule: str, series: Series, interval: str = "1m", **fires: int | None) -> Case:
    """Return a case with the number of alerts of a rule at instants such as `at_5m`."""
    expected = [Expected(at.removeprefix("at_"), of(rule), number) for at, number in fires.items()]
    return Case(rule, series, expected, interval)


API = 'job="fx-pipeline",instance="api"'
READER = 'job="fx-pipeline",instance="reader-1"'
RUN = 'fx_dagster_last_run_timestamp_seconds{job_name="rates",outcome='
BEAT = "fx_dagster_daemon_heartbeat_timestamp_seconds{daemon="

CASES = [
    alerts("FxDown", {f"up{{{API}}}": "1 0x4 1x9"}, at_2m=None, at_3m=1, at_5m=1, at_6m=None),
    alerts("FxDown", {}, at_1m=None, at_2m=1),
    alerts(
        "FxTargetLost",
        {f"up{{{API}}}": "1x200", f"up{{{READER}}}": "1x10 stale _x20 1x20 stale _x150"},
        at_15m=None,
        at_16m=1,
        at_32m=None,
        at_58m=1,
        at_120m=None,
    ),
    alerts(
        "FxErrors",
        {
            'fx_http_requests_total{operation="latest_rates",status="200"}': "0+90x60",
            'fx_http_requests_total{operation="latest_rates",status="500"}': "0x10 0+10x10 100x40",
            'fx_http_requests_total{operation="freshness",status="503"}': "0+100x60",
        },
        at_10m=None,
        at_15m=None,
        at_19m=1,
        at_30m=None,
    ),
    alerts(
        "FxErrors",
        {
            'fx_http_requests_total{operation="latest_rates",status="200"}': "0+9x60",
            'fx_http_requests_total{operation="latest_rates",status="500"}': "0x10 1x50",
        },
        at_12m=None,
        at_20m=None,
    ),
    alerts(
        "FxSlow",
        {
            'fx_http_request_duration_seconds_bucket{operation="convert",le="0.25"}': "0+98x20 1960+100x40",
            'fx_http_request_duration_seconds_bucket{operation="convert",le="1"}': "0+100x60",
            'fx_http_request_duration_seconds_bucket{operation="convert",le="+Inf"}': "0+100x60",
            'fx_http_request_duration_seconds_bucket{operation="timeseries",le="0.25"}': "0x60",
            'fx_http_request_duration_seconds_bucket{operation="timeseries",le="+Inf"}': "0+100x60",
        },
        at_15m=None,
        at_17m=1,
        at_45m=None,
    ),
    alerts(
        "FxWatcherSilent",
        {"fx_dagster_read_timestamp_seconds": "0+60x5 300x10 960+60x10"},
        at_5m=None,
        at_11m=None,
        at_12m=1,
        at_16m=1,
        at_17m=None,
    ),
    alerts(
        "FxQueueStuck",
        {"fx_dagster_runs_queued": "3x90", "fx_dagster_runs_in_progress": "1x5 0x40 1x40"},
        at_30m=None,
        at_36m=1,
        at_50m=None,
    ),
    alerts(
        "FxQueueStuck", {"fx_dagster_runs_queued": "0x90", "fx_dagster_runs_in_progress": "0x90"}, at_60m=None
    ),
    alerts(
        "FxQuotaLow",
        {"fx_quota_calls_left": "10x10 9x80 100x10", "fx_quota_calls_limit": "100x100"},
        at_65m=None,
        at_71m=1,
        at_95m=None,
    ),
    alerts(
        "FxWalLarge", {"fx_database_wal_size_bytes": "1e9 2e9x40 1e6x10"}, at_30m=None, at_31m=1, at_45m=None
    ),
    alerts(
        "FxReplicaFileDiffers",
        {'litestream_compaction_verify_error_count{db="/data/fx.db"}': "0x10 1x100"},
        at_10m=None,
        at_12m=1,
        at_80m=None,
    ),
    alerts("FxDatabaseUnreadable", {"fx_database_up": "1 0x4 1x9"}, at_2m=None, at_3m=1, at_6m=None),
    # The newest day began 96 hours before the 20th minute.
    alerts(
        "FxRatesStale",
        {"fx_newest_day_timestamp_seconds": f"{20 * 60 - 4 * DAY}x40 0x10"},
        at_20m=None,
        at_29m=None,
        at_30m=1,
        at_41m=None,
    ),
    alerts("FxContentFrozen", {"fx_rates_frozen": "0 1x15 0x5"}, at_10m=None, at_11m=1, at_17m=None),
    alerts("FxDaysMissing", {"fx_missing_dates": "0 2x70 0x10"}, at_60m=None, at_61m=1, at_75m=None),
    alerts("FxQuotaUsed", {"fx_quota_calls_left": "1 0x5 100x5"}, at_0m=None, at_1m=1, at_7m=None),
    # The first failure is followed by a success within seven hours, the second is not.
    alerts(
        "FxRunFailed",
        {f'{RUN}"failure"}}': "50x60", f'{RUN}"success"}}': "60x60"},
        "10m",
        at_10h=None,
    ),
    alerts(
        "FxRunFailed",
        {f'{RUN}"failure"}}': "50 70x60", f'{RUN}"success"}}': "60x50 80x9"},
        "10m",
        at_7h=None,
        at_7h10m=1,
        at_8h30m=None,
    ),
    alerts("FxRunFailed", {f'{RUN}"failure"}}': "50x60"}, "10m", at_6h50m=None, at_7h=1),
    alerts(
        "FxRunFailed",
        {f'{RUN}"success"}}': "50x60", f'{RUN}"canceled"}}': "60x60"},
        "10m",
        at_10h=None,
    ),
    alerts(
        "FxDaemonDead",
        {
            "fx_dagster_read_timestamp_seconds": "0+60x60",
            f'{BEAT}"sensor"}}': "0+60x60",
            f'{BEAT}"scheduler"}}': "0x12 780+60x40",
        },
        at_5m=None,
        at_7m=None,
        at_8m=1,
        at_13m=None,
    ),
    # Nothing has read Dagster for an hour. That is another alert.
    alerts(
        "FxDaemonDead",
        {"fx_dagster_read_timestamp_seconds": "60x60", f'{BEAT}"sensor"}}': "30x60"},
        at_60m=None,
    ),
    alerts(
        "FxCheckFailed",
        {
            'fx_dagster_check_failed{check="gaps",severity="error"}': "0 1x5 0x5",
            'fx_dagster_check_failed{check="jump",severity="warn"}': "1x10",
        },
        at_0m=None,
        at_1m=1,
        at_7m=None,
    ),
    alerts("FxReplicaStalled", {"fx_replication_up": "1 0x3 1x5"}, at_1m=None, at_2m=1, at_5m=None),
    alerts(
        "FxReaderBehind",
        {"fx_reader_lag_seconds": "60 61x5 +Inf 0x5"},
        at_2m=None,
        at_3m=1,
        at_7m=1,
        at_8m=None,
    ),
    alerts(
        "FxRestoreDrill",
        {"fx_restore_drill_failed": "0 1x15 0x5", "fx_restore_drill_good_timestamp_seconds": "0x20"},
        at_10m=None,
        at_11m=1,
        at_17m=None,
    ),
    alerts(
        "FxRestoreDrill",
        {
            "fx_restore_drill_failed": "0x310",
            "fx_restore_drill_good_timestamp_seconds": f"60x300 {2 * DAY}x9",
        },
        "10m",
        at_48h=None,
        at_48h10m=None,
        at_48h20m=1,
        at_50h20m=None,
    ),
]


def test_each_rule_fires_in_time_and_ends(tmp_path: Path) -> None:
    assert {case.name for case in CASES} == set(rules())
    check_cases(tmp_path, RULES, CASES)
