"""One process per role, as on several machines: health, restarts, and the end on a signal."""

import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.processes.running_roles import ROLES, Roles, roles_in
from fx_pipeline_tests.processes.running_up import RELOAD
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

        for role in ROLES:
            roles.send(role, signal.SIGTERM)
            roles.send(role, signal.SIGINT)
        assert {role: roles.ended(role) for role in ROLES} == dict.fromkeys(ROLES, 0)
        assert {role: roles.pids(role) for role in ROLES} == {role: set() for role in ROLES}


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
