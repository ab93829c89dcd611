"""The nightly check of the database file: its result in Dagster, and the alert for damage."""

import dataclasses
import datetime as dt
import os
from pathlib import Path

import dagster as dg
import pytest

from fx_pipeline.alerting.conditions import machine
from fx_pipeline.clock import utc_now
from fx_pipeline.commands.document import machine_of
from fx_pipeline.definitions import defs
from fx_pipeline.defs.schedules import nightly_database
from fx_pipeline.drilled import read_drill, write_drill
from fx_pipeline.replication.backup import back_up, default_place, note_backup
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import RESTORE
from fx_pipeline_tests.alerting.watching import Watching
from fx_pipeline_tests.defs.rates_run import QUIET, resources, results, run_rates, run_table_checks, verdicts
from fx_pipeline_tests.inbox import Inbox
from fx_pipeline_tests.quality.corruption import execute
from fx_pipeline_tests.sandbox_server import Sandbox

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FX_DATABASE", "fx.db")


def requested(instance: dg.DagsterInstance) -> dg.RunRequest:
    """Return the run that the schedule requests at night."""
    at = utc_now().replace(hour=4, minute=40)
    request = nightly_database(dg.build_schedule_context(instance=instance, scheduled_execution_time=at))
    assert isinstance(request, dg.RunRequest)
    return request


def run_requested(instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Execute the run that the schedule requests."""
    checks = {*(requested(instance).asset_check_keys or ())}
    job = defs.resolve_job_def("database_job").get_subset(asset_check_selection=checks)
    return job.execute_in_process(
        instance=instance, run_config=QUIET, resources=resources("http://127.0.0.1:9")
    )


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
    watching = Watching(instance)
    watching.look_at_runs()
    [message] = inbox.received
    assert message["title"] == "fx-pipeline: the database is damaged"
    assert message["message"].startswith("Check integrity: 1 days without a rate: 2024-01-03. ")
    assert "`fx-pipeline rebuild`" in message["message"]
    run_database_checks(instance)
    watching.look_at_runs()
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


def test_without_anything_to_restore_the_drill_says_so_once(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-05")
    run = run_requested(instance)
    assert verdicts(run) == {"integrity": "passed", "restorable": "passed"}
    said = results(run)["restorable"].description or ""
    assert said.startswith("Skipped: there is neither a replica nor a backup. Set FX_REPLICA_URL, or run ")
    assert verdicts(run_requested(instance)) == {"integrity": "passed"}
    assert verdicts(run_table_checks(instance))["drill_age"] == "passed"
    assert machine_of(load_settings(), utc_now())["restore_drill"]["problem"] is None


def test_a_drill_is_recorded_and_a_failed_or_old_one_is_a_fault(
    instance: dg.DagsterInstance, sandbox: Sandbox
) -> None:
    run_rates(instance, sandbox, "2024-01-01", "2024-01-05")
    path = load_settings().fx_database
    backup = back_up(path, path.with_name("tokens.db"), default_place(path), utc_now())
    note_backup(path, backup)
    good = results(run_requested(instance))["restorable"]
    assert good.passed
    assert (good.description or "").startswith(f"Restored the backup {backup} in ")
    assert {name: good.metadata[name].value for name in ("result", "source")} == {
        "result": "good",
        "source": f"backup {backup}",
    }
    assert float(str(good.metadata["seconds"].value)) >= 0
    assert int(str(good.metadata["bytes"].value)) > 10_000
    assert drill_fault() is None

    os.truncate(backup / "fx.db", 9_000)
    assert verdicts(run_requested(instance)) == {"integrity": "passed", "restorable": "ERROR"}
    assert "`fx-pipeline backup`" in (drill_fault() or "")

    state = read_drill(path)
    assert state is not None
    old = (utc_now() - dt.timedelta(days=2, minutes=1)).isoformat(timespec="seconds")
    write_drill(path, dataclasses.replace(state, result="good", good_at=old))
    assert verdicts(run_table_checks(instance))["drill_age"] == "ERROR"
    assert (drill_fault() or "").startswith(f"The last good restore drill was at {old}, so nothing proves")


def drill_fault() -> str | None:
    """Return what the watcher reports about the restore drill."""
    document = machine_of(load_settings(), utc_now())
    return {fault.kind: fault.text for fault in machine(document)}.get("restore_drill")
