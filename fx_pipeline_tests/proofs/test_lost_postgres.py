"""PostgreSQL is lost during an ingest: one line, stored days are kept, the next ingest fetches the rest."""

from collections import Counter
from pathlib import Path

import pytest

from fx_pipeline.postgres import place_of
from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.child_processes import wait_while_running
from fx_pipeline_tests.command_line import problems, run_command, start_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.postgres_server import PASSWORD, running_postgres
from fx_pipeline_tests.proofs.runs import MATERIALIZED, shown_in_ui
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.stored import assert_consistent, stored_dates

pytestmark = pytest.mark.slow

DATES = dates_between("2024-01-01", "2024-05-29")
"""Two runs. The second is not started."""
COMMAND = ("ingest", "--from", DATES[0], "--to", DATES[-1])


def test_an_ingest_that_loses_postgres_is_continued_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = folder / "fx.db"
    with running_postgres() as server, running_sandbox(latency=0.1) as sandbox:
        url = server.new_database()
        settings = {
            "FIXER_BASE_URL": sandbox.url,
            "FIXER_ACCESS_KEY": "a-key",
            "FX_DATABASE": str(database),
            "DAGSTER_HOME": str(folder / "dagster"),
            "FX_DAGSTER_POSTGRES_URL": url,
        }
        with start_command(folder, *COMMAND, **settings) as command:
            wait_while_running(command, lambda: sandbox.stats()["total"] >= 8)
            server.stop()
            output, errors = command.communicate()
        server.start()
        assert command.returncode == 1
        assert PASSWORD not in output + errors
        [line] = problems(errors)
        assert line.startswith(f"Error: Dagster's PostgreSQL database {place_of(url)} cannot be written (")
        assert line.endswith("Stored days are kept. Check the server, and run again with --missing.")
        stored = stored_dates(database)
        assert 0 < len(stored) < len(DATES)
        assert_consistent(database)

        before = sandbox.asked_dates()
        again = run_command(folder, *COMMAND, "--missing", **settings)
        assert again.returncode == 0, again.stderr
        assert sandbox.asked_dates() - before == Counter(set(DATES) - stored)
        monkeypatch.setenv("FX_DAGSTER_POSTGRES_URL", url)
        with open_instance(folder / "dagster") as instance:
            left = set(DATES) - stored
            assert shown_in_ui(instance, left) == {MATERIALIZED: left}
