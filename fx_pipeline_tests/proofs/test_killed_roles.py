"""Each role is killed once at a random moment of a backfill: nothing is lost or fetched twice."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
import requests

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.processes.running_roles import ROLES, Roles, roles_in
from fx_pipeline_tests.processes.running_up import each_second
from fx_pipeline_tests.proofs.runs import MATERIALIZED, shown_in_ui
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.seeds import seeded_random
from fx_pipeline_tests.stored import assert_consistent, stored_dates
from fx_pipeline_tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow

DATES = dates_between("2023-01-01", "2023-10-27")
"""Three runs of 100 days."""


def test_each_role_is_killed_once_during_a_backfill(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    dice = seeded_random()
    patches = each_second(tmp_path_factory.mktemp("patches"))
    with (
        running_sandbox(latency=0.1) as sandbox,
        roles_in(folder, FIXER_BASE_URL=sandbox.url, FIXER_ACCESS_KEY="a-key", **patches) as roles,
    ):
        roles.start("code-server", "webserver", "daemon")
        roles.wait_until_loaded()
        roles.start("serve")
        roles.wait("API", lambda: roles.responds("serve", "/-/health"))
        backfill = roles.launch(DATES)
        lost: set[str] = set()
        for after, role in moments(dice):
            wait_for(lambda enough=after: sandbox.stats()["total"] >= enough)  # type: ignore[misc]
            lost |= kill(roles, role, sandbox, whole=dice.random() < 0.5)
            roles.start(role)
        roles.wait("webserver", lambda: roles.responds("webserver", "/server_info"))
        roles.wait("end of the backfill", lambda: roles.status(backfill).startswith("COMPLETED"))
        assert roles.status(backfill) == "COMPLETED_SUCCESS", roles.log("daemon")

        assert stored_dates(roles.database) == set(DATES)
        assert_consistent(roles.database)
        asked = sandbox.asked_dates()
        assert set(asked) == set(DATES)
        assert {date for date, times in asked.items() if times > 1} <= lost
        assert max(asked.values()) <= 2
        roles.wait("API", lambda: roles.responds("serve", "/-/health"))
        for date in (DATES[0], DATES[-1]):
            assert requests.get(roles.url("serve", f"/rates/{date}"), timeout=PATIENCE).json()["date"] == date
        with open_instance(roles.home) as instance:
            assert shown_in_ui(instance, DATES) == {MATERIALIZED: set(DATES)}
            assert all(run.is_finished for run in instance.get_runs())
        for role in ROLES:
            roles.stop(role)


def moments(dice: random.Random) -> Iterable[tuple[int, str]]:
    """Return how many requests the sandbox has seen when each role is killed. The first may be before any."""
    return sorted((dice.randrange(len(DATES) * 4 // 5), role) for role in ROLES)


def kill(roles: Roles, role: str, sandbox: Sandbox, *, whole: bool) -> set[str]:
    """Kill a role. Return the days that were requested and are not stored: only these may be requested again.

    If it is not killed as a whole, the runs of a code server continue.
    """
    roles.kill(role, whole=whole)
    asked, stored = set(sandbox.asked_dates()), stored_dates(roles.database)
    print(f"Killed {role} with {'all its processes' if whole else 'no other process'} at {len(stored)} days")
    return asked - stored if role == "code-server" else set()
