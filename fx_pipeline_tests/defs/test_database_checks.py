"""The nightly check of the database file: its result in Dagster, and the alert for damage."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.definitions import defs
from fx_pipeline.store.database import RESTORE
from fx_pipeline_tests.defs.rates_run import QUIET, resources, results, run_rates, verdicts
from fx_pipeline_tests.defs.ticks import tick
from fx_pipeline_tests.inbox import Inbox, open_inbox
from fx_pipeline_tests.quality.corruption import execute
from fx_pipeline_tests.sandbox_server import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    with open_inbox() as inbox:
        monkeypatch.setenv("FX_ALERT_URLS", inbox.url)
        yield inbox


def run_database_checks(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def("database_job").execute_in_process(
        instance=instance, run_config=QUIET, resources=resources("http://127.0.0.1:9")
    )


def test_damage_is_alerted_once_with_its_remedy(
    instance: dg.DagsterInstance, sandbox: Sandbox, inbox: Inbox
) -> None:
    sandbox.change(today=lambda: dt.date(2024, 1, 6))
    run_rates(instance, sandbox, "2024-01-01", "2024-01-05")
    run = run_database_checks(instance)
    assert verdicts(run)["integrity"] == "passed"
    assert results(run)["integrity"].description == "Checked: 5 days, 155 rates, 5 responses."
    execute(Path("fx.db"), "DELETE FROM rates WHERE date = '2024-01-03'")
    run = run_database_checks(instance)
    assert verdicts(run)["integrity"] == "ERROR"
    _, cursor = tick(instance)
    [message] = inbox.received
    assert message["title"] == "fx-pipeline: check failed: integrity"
    assert message["message"].startswith("Check integrity: 1 days without a rate: 2024-01-03. ")
    assert "`fx-pipeline rebuild`" in message["message"]
    run_database_checks(instance)
    tick(instance, cursor)
    assert len(inbox.received) == 1


def test_an_older_copy_in_place_is_noticed(instance: dg.DagsterInstance, sandbox: Sandbox) -> None:
    """As after the removal of both fx.db-wal and fx.db-shm: the file is sound, but earlier."""
    sandbox.change(today=lambda: dt.date(2024, 1, 6))
    run_rates(instance, sandbox, "2024-01-01", "2024-01-02")
    older = Path("fx.db").read_bytes()
    run_rates(instance, sandbox, "2024-01-03", "2024-01-05")
    assert verdicts(run_database_checks(instance))["integrity"] == "passed"
    Path("fx.db").write_bytes(older)
    found = results(run_database_checks(instance))["integrity"]
    assert not found.passed
    said = found.description or ""
    assert said.startswith("Fetch ")
    assert f"lost, because fx.db-wal was removed or an older copy was put in place. {RESTORE}" in said
    other = Path("other.db")
    other.write_bytes(older)
    other.replace("fx.db")  # as a restore puts a file in place
    assert verdicts(run_database_checks(instance))["integrity"] == "passed"
