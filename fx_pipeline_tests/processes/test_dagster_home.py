"""Dagster's home: its configuration is ours until someone changes it, and a run prints messages only."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from filelock import FileLock

from fx_pipeline.definitions import defs
from fx_pipeline.processes.dagster_home import open_instance, prepare
from fx_pipeline.processes.instance_file import kept_file, write_file
from fx_pipeline.processes.roles import say_if_kept
from fx_pipeline.settings import PROJECT, SettingsError
from fx_pipeline_tests.command_line import environment
from fx_pipeline_tests.waiting import PATIENCE


@dg.op
def two_days(context: dg.OpExecutionContext) -> None:
    context.log.info("a message")
    for day in ("2024-03-01", "2024-03-02"):
        context.log_event(dg.AssetMaterialization("rates", partition=day))


@dg.job(executor_def=dg.in_process_executor)
def fetch() -> None:
    two_days()


def test_a_run_prints_messages_and_stores_all_events(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with open_instance(tmp_path / "home") as instance:
        result = fetch.execute_in_process(instance=instance)
        stored = [entry.dagster_event_type or entry.message for entry in instance.all_logs(result.run_id)]
    printed = [line for line in capfd.readouterr().err.splitlines() if " - dagster - " in line]
    assert [line.rpartition(" - ")[2] for line in printed] == ["a message"]
    assert "a message" in stored
    assert stored.count(dg.DagsterEventType.ASSET_MATERIALIZATION) == 2
    assert {dg.DagsterEventType.STEP_START, dg.DagsterEventType.RUN_SUCCESS} <= set(stored)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home that exists."""
    open_instance(tmp_path / "home").dispose()
    return tmp_path / "home"


def test_a_home_gets_the_configuration_and_nothing_else_of_ours(home: Path) -> None:
    assert sorted(path.name for path in home.iterdir()) == ["dagster.yaml", "history", "schedules"]
    first, _, rest = (home / "dagster.yaml").read_text().partition("\n")
    assert first.startswith("# Written by fx-pipeline, which keeps this file if you change it.")
    assert rest == (PROJECT / "dagster.yaml").read_text()
    assert kept_file(home) is None


def test_the_configurations_of_earlier_versions_are_replaced(home: Path) -> None:
    file = home / "dagster.yaml"
    current = file.read_bytes()
    for commit in ("6579f78", "50c88d4", "78fac47", "a750db4", "b235617"):
        show = ["git", "show", f"{commit}:dagster.yaml"]
        earlier = subprocess.run(show, cwd=PROJECT, capture_output=True, check=False)
        if earlier.returncode:
            pytest.skip("this checkout has no history")
        file.write_bytes(earlier.stdout)
        assert kept_file(home) is None
    open_instance(home).dispose()
    assert file.read_bytes() == current


def test_a_changed_configuration_is_kept_and_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "dagster.yaml"
    changed = file.read_text().replace("max_retries: 1", "max_retries: 2")
    file.write_text(changed)
    with open_instance(home) as instance:
        assert instance.run_retries_max_retries == 2
    assert file.read_text() == changed
    assert kept_file(home) == (
        f"{file} was changed, so it is kept. Compare it with {PROJECT}/dagster.yaml after an upgrade."
    )
    say_if_kept(home)
    assert capsys.readouterr().err == f"{kept_file(home)}\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nonsense: 1\n", 'Received unexpected config entry "nonsense" at the root.'),
        ("a: [\n", "while parsing a flow node"),
        ("storage: {custom: {module: no_such_module, class: Storage}}\n", "no_such_module"),
    ],
)
def test_a_wrong_configuration_is_reported_in_one_line(home: Path, content: str, reason: str) -> None:
    (home / "dagster.yaml").write_text(content)
    with pytest.raises(SettingsError) as caught:
        open_instance(home)
    message = str(caught.value)
    assert message.startswith(f"{home}/dagster.yaml cannot be used (")
    assert reason in message
    assert "\n" not in message
    assert message.endswith(" Correct it, or remove it to get that of fx-pipeline.")


def test_a_comment_about_the_database_is_no_use_of_it(home: Path) -> None:
    (home / "dagster.yaml").write_text(
        "telemetry: {enabled: false} # not FX_DAGSTER_POSTGRES_URL\n"
        "# storage: {postgres: {postgres_url: {env: FX_DAGSTER_POSTGRES_URL}}}\n"
    )
    write_file(home, postgres=False)
    with pytest.raises(SettingsError, match="was changed and does not use it"):
        write_file(home, postgres=True)


def test_a_configuration_that_contradicts_the_settings_is_reported(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = home / "dagster.yaml"
    file.write_text("storage: {postgres: {postgres_url: {env: FX_DAGSTER_POSTGRES_URL}}}")
    with pytest.raises(SettingsError, match="uses FX_DAGSTER_POSTGRES_URL, which is not set: set it to "):
        open_instance(home)


def begun(instance: dg.DagsterInstance) -> str:
    """Create a run that has started but has no process, as after a power cut."""
    run = instance.create_run_for_job(defs.resolve_job_def("rates_job"))
    instance.report_dagster_event(
        dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, run.job_name), run.run_id
    )
    return run.run_id


def test_an_abandoned_run_is_reported_as_failed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_instance(home) as instance:
        left, going_on = begun(instance), begun(instance)
        with FileLock(home / f"{going_on}.lock"):
            prepare(home, for_up=True)
            status = {run.run_id: run.status for run in instance.get_runs()}
    assert status == {left: dg.DagsterRunStatus.FAILURE, going_on: dg.DagsterRunStatus.STARTED}
    assert not (home / f"{left}.lock").exists()


@pytest.mark.slow
def test_processes_that_create_dagsters_home_concurrently_all_can_use_it(tmp_path: Path) -> None:
    """Dagster's own start is not safe: it leaves a home that nothing can open."""
    code = (
        "from pathlib import Path; from fx_pipeline.processes.dagster_home import open_instance; "
        "open_instance(Path('home'))"
    )
    command = [sys.executable, "-c", code]
    together = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], errors
