"""A third of all responses is faulty, in every way that a retry can cure: the stored rates are the same."""

import json
import logging
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline_tests.alerting.watching import Watching
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.proofs.runs import (
    FAILED,
    MATERIALIZED,
    ImpatientFixer,
    failure_of,
    run_with,
    shown_in_ui,
)
from fx_pipeline_tests.proofs.secrets import ALERTS, KEY, Secrets
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import assert_consistent, dump, stored_dates

DATES = dates_between("2022-12-01", "2024-01-04")
FAULTS = {"transient": 0.3, "wrong-base": 0.03, "mislabelled-base": 0.03}


def run(
    instance: dg.DagsterInstance, sandbox: Sandbox, database: Path, *, retries: int, skip_stored: bool = False
) -> dg.ExecuteInProcessResult:
    fixer = ImpatientFixer(base_url=sandbox.url, base="EUR", symbols=[], concurrency=8, retries=retries)
    return run_with(instance, fixer, DATES[0], DATES[-1], database=database, skip_stored=skip_stored)


def asked(sandbox: Sandbox) -> Counter[str]:
    """Return how often each date was asked for, by any endpoint."""
    calls = ((call.partition(" ")[2], times) for call, times in sandbox.state.asked.items())
    return Counter({json.loads(parameters)["date"]: times for parameters, times in calls})


def failed_dates(instance: dg.DagsterInstance) -> set[str]:
    """Return the dates that the UI shows as failed. Check that it shows all others as materialized."""
    shown = shown_in_ui(instance, DATES)
    assert shown.keys() <= {MATERIALIZED, FAILED}
    return shown.get(FAILED, set())


def named_dates(result: dg.ExecuteInProcessResult) -> set[str]:
    """Return the dates that the failure of a run names."""
    spans = [
        span.split(" to ")
        for dates in failure_of(result).metadata.values()
        if isinstance(dates, dg.TextMetadataValue)
        for span in str(dates.value).split(", ")
    ]
    return {date for span in spans for date in dates_between(span[0], span[-1])}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return what is stored without any fault."""
    database = tmp_path_factory.mktemp("undisturbed") / "fx.db"
    with (
        pytest.MonkeyPatch.context() as patch,
        dg.DagsterInstance.ephemeral() as instance,
        running_sandbox() as sandbox,
    ):
        patch.setenv("FIXER_ACCESS_KEY", KEY)
        assert run(instance, sandbox, database, retries=0).success
        assert asked(sandbox) == Counter(DATES)
    return dump(database)


def alert_report(instance: dg.DagsterInstance) -> str:
    """Return what the watcher prints after a look at the runs."""
    watching = Watching(instance)
    watching.look_at_runs()
    return "\n".join(watching.said)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # by Apprise's plugins
def test_at_most_two_repeated_runs_store_the_same_as_without_faults(
    folder: Path,
    instance: dg.DagsterInstance,
    undisturbed: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"FIXER_ACCESS_KEY": KEY, "FX_ALERT_URLS": ALERTS, "FX_DATABASE": "fx.db"}.items():
        monkeypatch.setenv(name, value)
    caplog.set_level(logging.DEBUG)  # everything that any library logs
    database = folder / "fx.db"
    with running_sandbox(faults=FAULTS, seed=1, timeout_seconds=2.0) as sandbox:
        result = run(instance, sandbox, database, retries=0)
        token = run_command(folder, "token", "create", "reader", FX_DATABASE="fx.db").stdout.strip()
        first_run_failed = not result.success
        report = alert_report(instance)
        for _ in range(2):
            failed = failed_dates(instance)
            print(f"{sandbox.stats()['total']} calls, {len(failed)} dates failed")
            assert failed == set(DATES) - stored_dates(database)
            assert_consistent(database)
            assert result.success == (not failed)
            if not failed:
                break
            assert named_dates(result) == failed
            before = asked(sandbox)
            result = run(instance, sandbox, database, retries=0, skip_stored=True)
            assert set(asked(sandbox) - before) == failed
        assert result.success
        outcomes = sandbox.stats()["endpoints"]["historical"]
    assert set(outcomes) == {
        *("ok", "rate-limit", "server-error", "timeout", "reset", "cut", "html", "plain"),
        *("empty", "wrong-date", "wrong-base", "mislabelled-base", "fixer-error"),
    }
    assert failed_dates(instance) == set()
    assert dump(database) == undisturbed
    assert ("was not accepted" in report) == first_run_failed
    (folder / "logs").write_text(caplog.text, encoding="utf-8")
    (folder / "output").write_text("".join(capfd.readouterr()), encoding="utf-8")
    assert len(token) > 20
    assert list(Secrets(token).traces(folder)) == []
