"""One process per role, as on several machines: health, restarts, and the end on a signal."""

import signal
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from filelock import FileLock

from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.processes.running_roles import CONTAINER, ROLES, Roles, roles_in
from fx_pipeline_tests.processes.running_up import RELOAD, each_second
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.stored import stored_dates
from fx_pipeline_tests.waiting import PATIENCE

pytestmark = pytest.mark.slow


def test_roles_work_together_whatever_starts_and_ends_first(tmp_path: Path) -> None:
    with (
        running_sandbox() as sandbox,
        roles_in(
            tmp_path, FIXER_BASE_URL=sandbox.url, FIXER_ACCESS_KEY="a-key", FIXER_MONTHLY_QUOTA="1000"
        ) as roles,
    ):
        roles.start("daemon", "webserver")
        roles.wait("webserver", lambda: roles.responds("webserver", "/server_info"))
        assert roles.location() != "RepositoryLocation"
        assert roles.code_server_health() == 1
        roles.start("code-server")
        roles.wait_until_loaded()
        assert roles.code_server_health() == 0
        roles.wait("heartbeats", lambda: roles.daemon_health() == 0)
        # The API starts from the database that the code server has made.
        roles.start("serve")
        roles.wait("API", lambda: roles.responds("serve", "/-/health"))

        # The page that fetches a day knows the quota only next to the database.
        page = requests.get(roles.url("webserver", "/fetch/?date=2024-05-06"), timeout=PATIENCE)
        assert page.status_code == 200
        assert "It costs one call." in page.text
        fetch(roles, "2024-05-06")
        assert not (tmp_path / "elsewhere").exists()

        for number in (signal.SIGTERM, signal.SIGINT):
            assert roles.stop("code-server", number) == 0
            roles.start("code-server")
            roles.wait("code server", roles.has_code_server)
        roles.wait_until_loaded()
        fetch(roles, "2024-05-07")

        before = roles.running["code-server"].pid
        # It is refused as long as a run is in progress, whose process ends after the run.
        roles.wait("reload", lambda: reloaded(roles) == "WorkspaceLocationEntry")
        assert roles.running["code-server"].pid == before
        assert "starts again" in roles.log("code-server")
        fetch(roles, "2024-05-08")
        assert stored_dates(roles.database) == set(dates_between("2024-05-06", "2024-05-08"))


def can_start_containers() -> bool:
    """Return whether this user may create a process namespace."""
    try:
        return subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_start_containers(), reason="needs root and `unshare`, for process namespaces")
def test_signals_end_each_role_as_the_first_process_and_a_run_continues_later(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dates = dates_between("2024-05-01", "2024-05-20")
    with (
        running_sandbox(latency=0.2) as sandbox,
        roles_in(
            tmp_path,
            *CONTAINER,
            FIXER_BASE_URL=sandbox.url,
            FIXER_ACCESS_KEY="a-key",
            FIXER_CONCURRENCY="1",
            **each_second(tmp_path_factory.mktemp("patches")),
        ) as roles,
    ):
        roles.start("code-server", "webserver", "daemon")
        roles.wait_until_loaded()
        roles.start("serve")
        roles.wait("API", lambda: roles.responds("serve", "/-/health"))
        backfill = roles.launch(dates)
        roles.wait("some rates", lambda: len(stored_dates(roles.database)) > 2)
        sandbox.hold()  # so that the run cannot end in order
        for role in ROLES:
            roles.send(role, signal.SIGTERM, signal.SIGINT)
        assert {role: roles.ended(role) for role in ROLES} == dict.fromkeys(ROLES, 0)
        assert {role: roles.pids(role) for role in ROLES} == {role: set() for role in ROLES}
        assert "Interrupting 1 run." in roles.log("code-server")
        stored, asked = stored_dates(roles.database), sandbox.asked_dates()

        sandbox.release()
        roles.start("code-server", "webserver", "daemon")
        roles.wait_until_loaded()
        roles.wait("end of the backfill", lambda: roles.status(backfill) not in ("REQUESTED", "FAILING"))
        assert roles.status(backfill) == "COMPLETED_SUCCESS"
        assert stored_dates(roles.database) == set(dates)
        again = {date for date, times in sandbox.asked_dates().items() if times > 1}
        assert again <= set(asked) - stored


def test_a_home_is_used_by_one_daemon_only(tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    home.mkdir(parents=True)
    with FileLock(home / "daemon.lock"):
        done = run_command(tmp_path, "daemon")
    assert done.returncode == 2
    assert done.stderr == f"Error: Another daemon is using Dagster's home {home}. Stop it.\n"


def test_a_daemon_reports_a_home_that_it_cannot_lock(tmp_path: Path) -> None:
    home = tmp_path / "data" / "dagster"
    (home / "daemon.lock").mkdir(parents=True)
    done = run_command(tmp_path, "daemon")
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: Dagster's home {home} cannot be used (")
    assert done.stderr.count("\n") == 1


def reloaded(roles: Roles) -> str:
    """Reload the code location as the UI does, and return the type of the result."""
    return str(roles.graphql(RELOAD)["reloadRepositoryLocation"]["__typename"])


def fetch(roles: Roles, date: str) -> None:
    """Fetch a day by the page in front of the Dagster UI, until the run has ended and the API has the day."""
    origin = roles.url("webserver", "")
    launched = requests.post(
        f"{origin}/fetch/", data={"date": date}, headers={"Origin": origin}, timeout=PATIENCE
    )
    assert launched.status_code == 200, launched.text
    status = f"{origin}/fetch/status?{urlsplit(launched.url).query}"
    roles.wait("end of the run", lambda: requests.get(status, timeout=PATIENCE).json()["ended"])
    assert roles.responds("serve", f"/rates/{date}")
