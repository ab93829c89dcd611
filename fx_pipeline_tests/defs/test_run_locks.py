"""Locks of runs: a killed run of this machine is reported as failed, and no other run is ended."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from fx_pipeline.dagster_internals.runs import execute_run
from fx_pipeline.definitions import defs
from fx_pipeline.defs.executor import one_process
from fx_pipeline.defs.run_locks import FORGOTTEN_SECONDS, fail_abandoned_runs, fail_killed_runs
from fx_pipeline.processes.dagster_home import prepare
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import StoreError
from fx_pipeline.store.run_lock import folder_of, held, hold, taken
from fx_pipeline_tests.command_line import environment, run_command
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.storages import Storage, on_both_storages

HOLD = """
import sys
from pathlib import Path
from fx_pipeline.store.run_lock import hold
hold(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "here" / "fx.db"


def begun(instance: dg.DagsterInstance, *then: dg.DagsterEventType) -> str:
    """Create a run that has started, and return its id."""
    run = instance.create_run_for_job(defs.resolve_job_def("rates_job"))
    for kind in (dg.DagsterEventType.PIPELINE_START, *then):
        instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)
    return run.run_id


def executing(database: Path, run_id: str) -> "subprocess.Popen[str]":
    """Return a process that holds the lock of a run."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(database), run_id],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def killed(database: Path, run_id: str) -> None:
    """Leave the lock of a run whose process was killed."""
    with executing(database, run_id) as process:
        process.kill()


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def left(database: Path) -> set[str]:
    """Return the runs that have a file."""
    return {file.stem for file in folder_of(database).iterdir()}


@on_both_storages
def test_only_a_killed_run_is_reported(instance: dg.DagsterInstance, database: Path) -> None:
    dead, alive, elsewhere = begun(instance), begun(instance), begun(instance)
    killed(database, dead)
    killed(database.parent.parent / "other-host" / "fx.db", elsewhere)
    with executing(database, alive) as process:
        fail_killed_runs(instance, database)
        assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
        assert status(instance, alive) is dg.DagsterRunStatus.STARTED
        assert status(instance, elsewhere) is dg.DagsterRunStatus.STARTED
        assert left(database) == {alive}
        process.kill()
    fail_killed_runs(instance, database)
    assert status(instance, alive) is dg.DagsterRunStatus.FAILURE
    assert left(database) == set()


@on_both_storages
def test_a_run_that_is_being_cancelled_becomes_cancelled(
    instance: dg.DagsterInstance, database: Path
) -> None:
    run = begun(instance, dg.DagsterEventType.PIPELINE_CANCELING)
    killed(database, run)
    fail_killed_runs(instance, database)
    assert status(instance, run) is dg.DagsterRunStatus.CANCELED


def test_the_file_of_an_ended_run_is_removed(instance: dg.DagsterInstance, database: Path) -> None:
    run = begun(instance, dg.DagsterEventType.PIPELINE_SUCCESS)
    killed(database, run)
    fail_killed_runs(instance, database)
    assert status(instance, run) is dg.DagsterRunStatus.SUCCESS
    assert left(database) == set()


def test_the_file_of_another_instances_run_is_kept_for_a_week(
    instance: dg.DagsterInstance, database: Path
) -> None:
    run = "0b5d8d5e-3c6c-4a56-9d6b-0a4c7a1e2f3d"
    killed(database, run)
    fail_killed_runs(instance, database)
    assert left(database) == {run}
    [file] = folder_of(database).iterdir()
    modified = file.stat().st_mtime - FORGOTTEN_SECONDS - 1
    os.utime(file, (modified, modified))
    fail_killed_runs(instance, database)
    assert left(database) == set()


def test_locks_in_dagsters_home_from_an_earlier_version_count(
    instance: dg.DagsterInstance, database: Path
) -> None:
    dead, alive = begun(instance), begun(instance)
    home = Path(instance.root_directory)
    (home / f"{dead}.lock").touch()
    with FileLock(home / f"{alive}.lock"):
        fail_killed_runs(instance, database)
        fail_abandoned_runs(instance, database)
    assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert status(instance, alive) is dg.DagsterRunStatus.STARTED
    assert [file.stem for file in home.glob("*-*.lock")] == [alive]


def test_at_the_start_of_up_every_run_without_a_process_is_reported(
    instance: dg.DagsterInstance, database: Path
) -> None:
    dead, alive = begun(instance), begun(instance)
    with executing(database, alive) as process:
        fail_abandoned_runs(instance, database)
        process.kill()
    assert status(instance, dead) is dg.DagsterRunStatus.FAILURE
    assert status(instance, alive) is dg.DagsterRunStatus.STARTED


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_a_run_of_another_host_is_never_ended_from_here(
    instance: dg.DagsterInstance,
    storage: Storage,
    database: Path,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two hosts share PostgreSQL. Each has its own home, database and locks."""
    elsewhere, home = tmp_path / "other-host" / "fx.db", tmp_path / "own-home"
    dead, alive, without_lock = begun(instance), begun(instance), begun(instance)
    killed(elsewhere, dead)
    monkeypatch.setenv("FX_DATABASE", str(database))
    with executing(elsewhere, alive) as process:
        prepare(home)
        prepare(home, for_up=True)
        own = {"FX_DATABASE": str(database), "DAGSTER_HOME": str(home), "FIXER_BASE_URL": sandbox.url}
        done = run_command(
            tmp_path, "ingest", "--date", "2024-01-02", FIXER_ACCESS_KEY="a-key", **own, **storage
        )
        assert done.returncode == 0, done.stderr
        for run in (dead, alive, without_lock):
            assert status(instance, run) is dg.DagsterRunStatus.STARTED
        process.kill()
    fail_killed_runs(instance, elsewhere)
    assert status(instance, dead) is status(instance, alive) is dg.DagsterRunStatus.FAILURE
    assert status(instance, without_lock) is dg.DagsterRunStatus.STARTED


@dg.op
def look(context: dg.OpExecutionContext) -> None:
    file = folder_of(load_settings().fx_database) / f"{context.run.run_id}.lock"
    assert file.exists()
    with taken(file) as ended:
        assert not ended


@dg.job(executor_def=one_process)
def locked_run() -> None:
    look()


@pytest.fixture
def own_lock() -> Iterator[None]:
    """Release the lock of the last run at the end, as a process does that ends."""
    yield
    hold(load_settings().fx_database, "none")


@pytest.mark.usefixtures("own_lock")
def test_a_run_holds_its_lock_until_its_process_ends(instance: dg.DagsterInstance) -> None:
    database = load_settings().fx_database
    ran = []
    for _ in range(2):
        run = instance.create_run_for_job(locked_run)
        result = execute_run(locked_run, run, instance)
        assert result.success
        ran.append(run.run_id)
    # The second run has removed the file of the first.
    assert left(database) == {ran[1]}
    with taken(folder_of(database) / f"{ran[1]}.lock") as ended:
        assert not ended


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "fx.db-runs").write_text("")
    message = r"^/.*/fx\.db-runs cannot be written \(File exists\)\. Fix its "
    with pytest.raises(StoreError, match=message), held(tmp_path / "fx.db", "some-run"):
        pass
