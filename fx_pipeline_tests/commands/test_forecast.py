"""`ingest`: what it needs, before any call, and what it does if the quota is too small for it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fx_pipeline.commands.cli import main
from fx_pipeline.settings import load_settings
from fx_pipeline.store.database import open_database
from fx_pipeline.store.ledger import Ledger
from fx_pipeline_tests.command_line import run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.sandbox_server import Sandbox, running_sandbox
from fx_pipeline_tests.stored import stored_dates

MONTH = ("--from", "2024-01-01", "--to", "2024-01-31")


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Yield a provider with 25 calls left for a backfill."""
    monkeypatch.setenv("FIXER_ACCESS_KEY", "a-key")
    monkeypatch.setenv("FX_REVISION_DAYS", "0")
    database = load_settings().fx_database
    open_database(database).close()
    with Ledger(database, limit=10_000, daily_calls=1) as ledger:
        quota = ledger.quota()
    assert quota is not None
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", str(quota.reserved + 25))
    with running_sandbox() as sandbox:
        monkeypatch.setenv("FIXER_BASE_URL", sandbox.url)
        yield sandbox


def ingest(*options: str) -> Result:
    return CliRunner().invoke(main, ["ingest", *options])


def test_a_forecast_makes_no_call(sandbox: Sandbox) -> None:
    shown = ingest(*MONTH, "--forecast")
    assert (shown.exit_code, shown.stdout.split(", ")[0]) == (4, "31 days to fetch")
    assert "25 are left until " in shown.stdout
    document = ingest(*MONTH, "--forecast", "--json")
    assert (document.exit_code, json.loads(document.stdout)) == (
        4,
        {"days": 31, "skipped": 0, "calls": 31, "calls_allowed": 25, "fits": False, "minutes": None},
    )
    assert ingest("--date", "2024-01-01", "--forecast").exit_code == 0
    assert sandbox.stats()["total"] == 0
    with open_database(load_settings().fx_database) as db:
        assert list(db["wanted_ranges"].rows) == []


def test_days_that_do_not_fit_are_refused_before_the_first_call(sandbox: Sandbox) -> None:
    refused = ingest(*MONTH)
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert (
        "Nothing was fetched, because the quota is too small: 31 days need 31 calls, and 25 may be made. The "
        "newest 25 days, from 2024-01-07 on, fit: add --partial to fetch these. "
    ) in refused.stderr
    document = ingest(*MONTH, "--json")
    assert document.exit_code == 4
    assert "Exits with 4, before any call" in " ".join(ingest("--help").output.split())
    found = json.loads(document.stdout)
    assert (found["stored"], found["runs"], found["not_tried"]) == ({}, [], [["2024-01-01", "2024-01-31"]])
    assert sandbox.stats()["total"] == 0


def test_the_newest_days_are_fetched_on_request(sandbox: Sandbox, tmp_path: Path) -> None:
    names = ("FIXER_ACCESS_KEY", "FIXER_BASE_URL", "FIXER_MONTHLY_QUOTA", "FX_REVISION_DAYS")
    partial = run_command(
        tmp_path, "ingest", *MONTH, "--partial", **{name: os.environ[name] for name in names}
    )
    assert partial.returncode == 1
    assert "forecast 31 days to fetch, 0 to skip; 31 calls, " in partial.stderr
    assert "Not fetched: 2024-01-01 to 2024-01-06" in partial.stderr
    assert stored_dates(load_settings().fx_database) == set(dates_between("2024-01-07", "2024-01-31"))
    assert sandbox.stats()["total"] == 25
    shown = ingest(*MONTH, "--missing", "--forecast")
    assert shown.stdout.startswith("6 days to fetch, 25 to skip; 6 calls, ")
    assert " calls a minute)." in shown.stdout
