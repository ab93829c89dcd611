"""Roles that share only PostgreSQL and gRPC: failed days, a cancelled run and a killed one."""

from collections import Counter
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.postgres_server import PASSWORD, PostgresServer
from fx_pipeline_tests.processes.running_roles import Roles, roles_in
from fx_pipeline_tests.processes.running_up import each_second
from fx_pipeline_tests.proofs.runs import MATERIALIZED, shown_in_ui
from fx_pipeline_tests.proofs.test_backfills import REEXECUTE_BACKFILL, TERMINATE
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates

pytestmark = pytest.mark.slow


def ended(roles: Roles, backfill: str) -> str:
    """Wait until a backfill has ended, and return its status."""
    roles.wait("end", lambda: roles.status(backfill) not in ("REQUESTED", "COMPLETING", "FAILING"))
    return roles.status(backfill)


def test_roles_share_only_postgres_and_grpc(
    folder: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    (folder / "patches").mkdir()
    monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", url)
    settings = {"FX_DAGSTER_POSTGRES_URL": url, **each_second(folder / "patches")}
    with (
        running_sandbox() as sandbox,
        open_instance(folder / "observer") as instance,
        roles_in(folder, FIXER_BASE_URL=sandbox.url, FIXER_ACCESS_KEY="a-key", **settings) as roles,
    ):

        def runs(backfill: str) -> list[dg.DagsterRun]:
            return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})))

        roles.start("code-server", "webserver", "daemon")
        roles.wait_until_loaded()

        # Some days fail. The backfill is executed again, and fetches only those.
        first = dates_between("2023-01-01", "2023-02-19")
        sandbox.change(faults={"wrong-date": 0.45})
        backfill = roles.launch(first)
        assert ended(roles, backfill) == "COMPLETED_FAILED"
        sandbox.change(faults={})
        failed = set(first) - stored_dates(roles.database)
        assert 0 < len(failed) < len(first)
        before = sandbox.asked_dates()
        answer = roles.graphql(REEXECUTE_BACKFILL, backfill=backfill)["reexecutePartitionBackfill"]
        assert ended(roles, answer["backfillId"]) == "COMPLETED_SUCCESS"
        assert sandbox.asked_dates() - before == Counter(failed)
        assert shown_in_ui(instance, first) == {MATERIALIZED: set(first)}

        # A run is cancelled.
        sandbox.hold()
        calls = sandbox.stats()["total"]
        backfill = roles.launch(dates_between("2022-01-01", "2022-01-20"))
        roles.wait("calls", lambda: sandbox.stats()["total"] >= calls + 4)
        [run] = runs(backfill)
        assert roles.graphql(TERMINATE, run=run.run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
        sandbox.release()
        roles.wait("end of the run", lambda: all(run.is_finished for run in runs(backfill)))
        assert [run.status for run in runs(backfill)] == [dg.DagsterRunStatus.CANCELED]

        # The code server and its run are killed, as with their container. The run is restarted once.
        last = dates_between("2021-01-01", "2021-01-20")
        sandbox.hold()
        calls = sandbox.stats()["total"]
        backfill = roles.launch(last)
        roles.wait("calls", lambda: sandbox.stats()["total"] >= calls + 4)
        roles.kill("code-server")
        sandbox.release()
        assert [run.status for run in runs(backfill)] == [dg.DagsterRunStatus.STARTED]
        roles.start("code-server")
        assert ended(roles, backfill) == "COMPLETED_SUCCESS"
        assert sorted(run.status.value for run in runs(backfill)) == ["FAILURE", "SUCCESS"]
        assert shown_in_ui(instance, last) == {MATERIALIZED: set(last)}
        assert_consistent(roles.database)
        files = [path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"]
        for secret in (PASSWORD, quote(PASSWORD, safe="")):
            assert not [content for content in files if secret.encode() in content]
        # The code server's runs know the path of the daemon's home, and write nothing there.
        assert not list(roles.home.glob("*/storage"))
