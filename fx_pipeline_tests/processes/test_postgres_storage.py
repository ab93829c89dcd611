"""Dagster's storage in PostgreSQL: one line if it cannot be used, and the password is nowhere."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest

from fx_pipeline.dagster_internals.runs import stores_in_home
from fx_pipeline.postgres import place_of
from fx_pipeline.processes.dagster_home import open_instance, prepare
from fx_pipeline.settings import SettingsError
from fx_pipeline_tests.command_line import environment, messages, run_command
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.postgres_server import PASSWORD, PostgresServer
from fx_pipeline_tests.processes.running_up import reserved, up
from fx_pipeline_tests.storages import Storage
from fx_pipeline_tests.waiting import PATIENCE

WITHOUT_PACKAGES = """
import sys
sys.modules["dagster_postgres"] = None
from fx_pipeline.commands.cli import main
main()
"""


def reason(home: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> str:
    """Return the error of opening the instance, which has one line and no password."""
    monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", url)
    with pytest.raises(SettingsError) as caught:
        open_instance(home)
    text = str(caught.value)
    assert "s3cret" not in text
    assert "\n" not in text
    assert text.startswith(f"Dagster's PostgreSQL database {place_of(url)} cannot be used (")
    assert text.endswith("). Check FX_DAGSTER_POSTGRES_URL and the server.")
    return text


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    """Return the error of a command that ended with exit code 2."""
    assert done.returncode == 2, done
    assert "s3cret" not in done.stdout + done.stderr
    [line] = messages(done.stderr).splitlines()
    return line


def test_an_unreachable_server_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserved_port() as port:
        url = f"postgresql://u:s3cret@127.0.0.1:{port}/runs"
        assert "Connection refused" in reason(tmp_path, monkeypatch, url)


@pytest.mark.slow
def test_up_ends_if_the_server_cannot_be_reached(tmp_path: Path) -> None:
    with reserved() as ports:
        url = f"postgresql://u:s3cret@127.0.0.1:{ports['FX_API_PORT']}/runs"
        done = run_command(tmp_path, "up", FX_DAGSTER_POSTGRES_URL=url, **ports)
    assert done.returncode == 1
    assert f"Error: Dagster's PostgreSQL database {place_of(url)} cannot be used (" in done.stdout
    assert "Traceback" not in done.stdout
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_refused_connection_is_reported_without_the_password(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.url("postgres", password="s3cret: another")
    assert 'password authentication failed for user "dagster"' in reason(tmp_path, monkeypatch, url)
    url = postgres.url("postgres") + "?sslmode=require"
    assert "server does not support SSL, but SSL was required" in reason(tmp_path, monkeypatch, url)
    url = postgres.url("postgres") + "?sslmode=strict"
    assert 'invalid sslmode value: "strict"' in reason(tmp_path, monkeypatch, url)


@pytest.mark.slow
def test_missing_packages_are_named(tmp_path: Path) -> None:
    done = run_command(
        tmp_path,
        *("ingest", "--days", "1"),
        program=[sys.executable, "-c", WITHOUT_PACKAGES],
        FX_DAGSTER_POSTGRES_URL="postgresql://u:s3cret@127.0.0.1:1/runs",
    )
    assert one_line(done) == (
        "Error: FX_DAGSTER_POSTGRES_URL needs further packages: install fx-pipeline[postgres], or unset it."
    )


@pytest.mark.slow
def test_processes_that_start_together_all_can_use_an_empty_database(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    code = (
        "import sys; from pathlib import Path; from fx_pipeline.processes.dagster_home import open_instance; "
        "open_instance(Path(sys.argv[1])).get_runs()"
    )
    settings = environment(FX_DAGSTER_POSTGRES_URL=postgres.new_database())
    together = [
        subprocess.Popen(
            [sys.executable, "-c", code, home], cwd=tmp_path, env=settings, stderr=subprocess.PIPE
        )
        for home in ("webserver", "daemon", "code-server")
    ]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in together]
    assert [process.returncode for process in together] == [0, 0, 0], errors


@pytest.mark.slow
def test_storage_moves_between_files_and_postgres_and_the_password_is_in_no_file(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, url = tmp_path / "home", postgres.new_database()
    with open_instance(home) as instance:
        assert stores_in_home(instance)
    monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", url)
    prepare(home)
    with open_instance(home) as instance:
        assert not stores_in_home(instance)
        assert type(instance.compute_log_manager).__name__ == "NoOpComputeLogManager"
        assert os.environ["FX_DAGSTER_POSTGRES_URL"].startswith("postgresql+psycopg2://")
        reference = dg.serialize_value(instance.get_ref())
        shown = instance.info_str() + reference
    for secret in (PASSWORD, quote(PASSWORD, safe="")):
        assert secret not in shown
        assert not [
            path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
        ]
    assert place_of(url) == f"127.0.0.1:{postgres.port}/{url.rpartition('/')[2]}"
    monkeypatch.delenv("FX_DAGSTER_POSTGRES_URL")
    with pytest.raises(SettingsError, match=r"which is not set: set it to .*, or remove"):
        prepare(home)
    (home / "dagster.yaml").unlink()
    with open_instance(home) as instance:
        assert stores_in_home(instance)


@pytest.mark.slow
def test_dagsters_own_commands_use_the_address_as_the_operator_writes_it(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A health check calls one of them without fx-pipeline."""
    url = postgres.new_database()
    home = tmp_path / "home"
    with monkeypatch.context() as patch:
        patch.setenv("FX_DAGSTER_POSTGRES_URL", url)
        prepare(home)
    for command in (["dagster", "instance", "migrate"], ["dagster", "run", "list"]):
        done = run_command(
            tmp_path,
            program=[sys.executable, "-m", *command],
            FX_DAGSTER_POSTGRES_URL=url,
            DAGSTER_HOME=str(home),
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_up_serves_rates_and_loads_the_definitions(tmp_path: Path, storage: Storage) -> None:
    with up(tmp_path, **storage) as running:
        running.wait_until_ready()
        assert running.get("/rates/latest").status_code == 200
        running.wait("the definitions", lambda: running.location() == "RepositoryLocation")
        assert running.interrupt() == 0
        assert (
            f"Dagster's runs are in the PostgreSQL database {place_of(storage['FX_DAGSTER_POSTGRES_URL'])}."
            in running.output
        )
        assert PASSWORD not in running.output
    assert not list((tmp_path / "data" / "dagster").glob("storage"))
    with open_instance(tmp_path / "data" / "dagster") as instance:
        assert any(run.is_success for run in instance.get_runs())
