"""All parts in one test: a provider over HTTP, the command, Dagster, the SQLite file and the API."""

from pathlib import Path

import dagster as dg
import requests

from fx_pipeline.processes.dagster_home import open_instance
from fx_pipeline_tests.command_line import messages, run_command
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.sandbox_server import running_sandbox
from fx_pipeline_tests.served import served
from fx_pipeline_tests.stored import assert_consistent, rows
from fx_pipeline_tests.waiting import PATIENCE

DAYS = dates_between("2024-01-01", "2024-01-10")
KEY = "the-secret-key-of-an-account"


async def test_the_api_returns_what_the_provider_sent(tmp_path: Path) -> None:
    database = tmp_path / "data" / "fx.db"
    with running_sandbox() as sandbox:
        settings = {"FIXER_BASE_URL": sandbox.url, "FIXER_ACCESS_KEY": KEY}
        done = run_command(tmp_path, "ingest", "--from", DAYS[0], "--to", DAYS[-1], **settings)
        assert (done.returncode, messages(done.stderr)) == (0, "")
        assert done.stdout == (
            "2024-01-01 to 2024-01-10  31 inserted, 0 updated, 0 unchanged, 0 rejected each day\n"
            "10 days stored.\n"
        )
        assert sandbox.stats()["endpoints"] == {"historical": {"ok": 10}, "symbols": {"ok": 1}}
        sent = {
            day: requests.get(f"{sandbox.url}/{day}?access_key={KEY}", timeout=PATIENCE).json()
            for day in DAYS
        }
        names = requests.get(f"{sandbox.url}/symbols?access_key={KEY}", timeout=PATIENCE).json()["symbols"]

        with open_instance(tmp_path / "data" / "dagster") as instance:
            assert set(instance.get_materialized_partitions(dg.AssetKey("rates"))) == set(DAYS)
            runs = {run.job_name: run for run in instance.get_runs()}
            assert {run.status for run in runs.values()} == {dg.DagsterRunStatus.SUCCESS}
            assert set(runs) == {"rates_job", "symbols_job"}

        assert_consistent(database)
        assert rows(database, "SELECT date, currencies FROM days ORDER BY date") == [
            (day, 31) for day in DAYS
        ]
        fetched_by = rows(database, "SELECT DISTINCT run_id FROM fetches WHERE endpoint = 'historical'")
        assert fetched_by == [(runs["rates_job"].run_id,)]

        async with served(database) as api:
            for day in DAYS:
                document = (await api.get(f"/rates/{day}/")).json()
                assert document == {**sent[day], "rates": dict(sorted(sent[day]["rates"].items()))}
            missing = await api.get("/rates/2024-01-11/")
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, 106)
            assert (await api.get("/rates/symbols")).json()["symbols"] == {
                code: names[code] for code in sent[DAYS[0]]["rates"]
            }

            sandbox.change(faults={"revision": 1.0})
            before = (await api.get(f"/rates/{DAYS[0]}/")).json()
            done = run_command(tmp_path, "ingest", "--date", DAYS[0], **settings)
            assert done.returncode == 0
            after = (await api.get(f"/rates/{DAYS[0]}/")).json()

    changed = {code for code, rate in before["rates"].items() if after["rates"][code] != rate}
    assert changed
    assert f"{len(changed)} updated, {31 - len(changed)} unchanged" in done.stdout
    replaced = rows(database, "SELECT date, currency, rate FROM revisions ORDER BY currency")
    assert replaced == [(DAYS[0], code, before["rates"][code]) for code in sorted(changed)]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
