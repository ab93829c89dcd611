"""The documents and lines of the commands, compared as a whole."""

import datetime as dt
from pathlib import Path

import pytest
from rich.text import Text

from fx_pipeline.alerting.faults import Fault
from fx_pipeline.commands.access import AccessState
from fx_pipeline.commands.dagster_state import DagsterState
from fx_pipeline.commands.reports import (
    failure_lines,
    ingest_document,
    status_document,
    status_lines,
    stored_lines,
    symbol_lines,
    untried_lines,
)
from fx_pipeline.commands.runs import RunReport
from fx_pipeline.content_age import ContentAge
from fx_pipeline.settings import Settings
from fx_pipeline.sqlite import sqlite3, unsound
from fx_pipeline.store.coverage import Coverage
from fx_pipeline.store.instants import Ahead
from fx_pipeline.store.ledger import Quota

QUOTA = Quota(limit=100, used=82, reserved=9, renewed_on=dt.date(2024, 4, 1))
COVERAGE = Coverage(
    first=dt.date(2022, 12, 30),
    last=dt.date(2024, 3, 9),
    days=433,
    days_by_year={2022: 2, 2023: 364, 2024: 67},
    rates=13_020,
    revisions=3,
    rejected=1,
    fetches=440,
    calls=441,
    gaps=((dt.date(2023, 2, 1), dt.date(2023, 2, 1)), (dt.date(2024, 1, 1), dt.date(2024, 1, 2))),
)
NOTHING = Coverage(
    first=None,
    last=None,
    days=0,
    days_by_year={},
    rates=0,
    revisions=0,
    rejected=0,
    fetches=0,
    calls=0,
    gaps=(),
)
TOKENS = AccessState("tokens", 2)
RUN: dict[str, str | None] = {
    "id": "r",
    "status": "failure",
    "ended": "2024-03-10T00:10:09+00:00",
    "failure": "no\nanswer",
}
FAILED = Fault(
    kind="run_failed", subject="rates", text="rates_job: no\nanswer", link="http://127.0.0.1:3000/runs/r"
)
NO_DAGSTER = DagsterState()
MONDAY = dt.date(2024, 3, 11)


def test_status_shows_what_is_stored_and_what_is_missing(tmp_path: Path) -> None:
    missing = {"GPB": "unknown"}
    kept = [dt.date(2024, 2, day) for day in (1, 2)]
    failed = [*kept, *(dt.date(2024, 3, day) for day in (1, 3, 4))]
    dagster = DagsterState(
        RUN,
        {"daily_rates": "running", "daily_checks": "running"},
        {"running": True, "last_heartbeat": "2024-03-11T05:00:00+00:00"},
        failed,
        [FAILED],
        {"success": 4, "failure": 1, "canceled": 0},
    )
    document = status_document(
        Settings(),
        COVERAGE,
        QUOTA,
        dagster,
        MONDAY,
        TOKENS,
        missing,
        content_age=ContentAge(dt.date(2024, 1, 3), 0, 0, "changing"),
        disk_free_mb={"/my_data": 5000},
        alert_addresses="ok",
        replication={"status": "ok", "confirmed_at": "2024-03-11T05:00:00+00:00", "problem": None},
        restore_drill={"result": "good", "age_hours": 1.5, "problem": None},
        alerts={"looked_at": "2024-03-11T05:00:00+00:00", "open": [], "undelivered": []},
        kept_days=kept,
    )
    url = (
        "http://127.0.0.1:3000/assets/rates?view=partitions"
        "&default_range=2024-03-01,%5B2024-03-03...2024-03-04%5D"
    )
    reasons = [
        "GPB in FX_SYMBOLS: unknown.",
        f"Dagster shows 3 days as failed. To refetch them: {url}",
        "3 days are missing. To fetch them: http://127.0.0.1:3000/assets/rates?view=partitions"
        "&default_range=2023-02-01,%5B2024-01-01...2024-01-02%5D",
        "a run failed: rates_job: no (http://127.0.0.1:3000/runs/r)",
    ]
    assert document == {
        "database": str(tmp_path / "data" / "fx.db"),
        "tokens": str(tmp_path / "data" / "tokens.db"),
        "dagster_home": str(tmp_path / "data" / "dagster"),
        "sqlite": {"version": sqlite3.sqlite_version, "warning": unsound()},
        "provider": "sandbox",
        "days": 433,
        "first": "2022-12-30",
        "newest": "2024-03-09",
        "age_in_days": 2,
        "fresh": True,
        "content_age": {"unchanged_since": "2024-01-03", "business_days": 0, "state": "changing"},
        "gaps": [["2023-02-01", "2023-02-01"], ["2024-01-01", "2024-01-02"]],
        "failed_days": [["2024-03-01", "2024-03-01"], ["2024-03-03", "2024-03-04"]],
        "failed_but_kept": [["2024-02-01", "2024-02-02"]],
        "refetch": {"days": 3, "url": url},
        "years": {"2022": [2, 365], "2023": [364, 365], "2024": [67, 70]},
        "rates": 13_020,
        "revisions": 3,
        "rejected": 1,
        "missing_symbols": {"GPB": "unknown"},
        "calls": 441,
        "quota": {"limit": 100, "used": 82, "kept": 9, "left": 9, "renewed_on": "2024-04-01"},
        "clock": "ok",
        "last_run": RUN,
        "runs_in_24_hours": {"success": 4, "failure": 1, "canceled": 0},
        "run_faults": [FAILED.document],
        "access": {"mode": "tokens", "valid": 2, "problem": None},
        "reader": None,
        "automation": {"daily_rates": "running", "daily_checks": "running"},
        "daemon": {"running": True, "last_heartbeat": "2024-03-11T05:00:00+00:00"},
        "disk_free_mb": {"/my_data": 5000},
        "alert_addresses": "ok",
        "replication": {"status": "ok", "confirmed_at": "2024-03-11T05:00:00+00:00", "problem": None},
        "restore_drill": {"result": "good", "age_hours": 1.5, "problem": None},
        "crash_loops": {},
        "alerts": {"looked_at": "2024-03-11T05:00:00+00:00", "open": [], "undelivered": []},
        "watcher_problem": None,
        "problems": reasons,
    }
    assert list(status_lines(document)) == [
        f"database        {tmp_path}/data/fx.db",
        f"tokens          {tmp_path}/data/tokens.db",
        f"dagster home    {tmp_path}/data/dagster",
        f"sqlite          version {sqlite3.sqlite_version}",
        "provider        sandbox",
        "days            433",
        "first           2022-12-30",
        "newest          2024-03-09",
        "age in days     2",
        "fresh           yes",
        "content age     unchanged since 2024-01-03, business days 0, state changing",
        "gaps            2023-02-01, 2024-01-01 to 2024-01-02",
        "failed days     2024-03-01, 2024-03-03 to 2024-03-04",
        "failed but kept 2024-02-01 to 2024-02-02",
        f"refetch         3 days: {url}",
        f"2022            [yellow][/][dim]{'░' * 24}[/] 2 of 365 days",
        f"2023            [yellow]{'█' * 23}[/][dim]░[/] 364 of 365 days",
        f"2024            [yellow]{'█' * 22}[/][dim]░░[/] 67 of 70 days",
        "rates           13,020",
        "revisions       3",
        "rejected        1",
        "missing symbols GPB unknown",
        "calls           441",
        "quota           limit 100, used 82, kept 9, left 9, renewed on 2024-04-01",
        "clock           ok",
        "last run        id r, status failure, ended 2024-03-10T00:10:09+00:00, failure no",
        "runs in 24 hours success 4, failure 1, canceled 0",
        "access          mode tokens, valid 2",
        "reader          none",
        "automation      daily_rates running, daily_checks running",
        "daemon          running yes, last heartbeat 2024-03-11T05:00:00+00:00",
        "disk free       5,000 MB in /my_data",
        "alert addresses ok",
        "replication     status ok, confirmed at 2024-03-11T05:00:00+00:00",
        "restore drill   result good, age hours 1.5",
        "crash loops     none",
        "alerts          0 open, 0 undelivered, last look 2024-03-11T05:00:00+00:00",
        *(f"[bold red]problem        [/] {reason}" for reason in reasons),
    ]


def test_status_reports_fetches_dated_in_the_future() -> None:
    ahead = Ahead(1, dt.datetime(2027, 4, 14, 9, 30, tzinfo=dt.timezone.utc))
    document = status_document(Settings(), NOTHING, None, NO_DAGSTER, MONDAY, TOKENS, ahead=ahead)
    assert document["clock"] == (
        "1 fetch is dated in the future, up to 2027-04-14 09:30 UTC, so `as_of` leaves them out: the clock "
        "was ahead. Correct the clock; the next fetch or `fx-pipeline rebuild` then corrects them."
    )


@pytest.mark.parametrize(
    ("error", "clock"),
    [(dt.timedelta(hours=25), "25 hours ahead of"), (dt.timedelta(days=-2), "2 days behind")],
)
def test_status_reports_a_clock_that_disagrees_with_the_providers(error: dt.timedelta, clock: str) -> None:
    document = status_document(Settings(), NOTHING, None, NO_DAGSTER, MONDAY, TOKENS, clock_error=error)
    assert document["clock"] == (
        f"The clock of this machine was {clock} the provider's at the newest fetch. That fetch is dated by "
        "the provider's clock. Correct it, for example with NTP."
    )


def test_an_empty_database_is_not_fresh_and_has_no_years() -> None:
    document = status_document(Settings(), NOTHING, None, NO_DAGSTER, MONDAY, TOKENS)
    assert (document["fresh"], document["years"], document["quota"]) == (False, {}, None)
    assert "newest          none" in list(status_lines(document))
    assert "missing symbols none" in list(status_lines(document))


def test_ingest_groups_equal_days_and_lists_each_failure() -> None:
    counts = {"inserted": 30, "updated": 0, "unchanged": 0, "rejected": 0}
    days = [dt.date(2024, 3, day) for day in (1, 2, 3, 5)]
    stored: dict[dt.date, dict[str, object]] = {day: dict(counts) for day in days}
    stored[days[3]]["updated"] = 2
    reports = [
        RunReport(run_id="a", dates=days, stored=stored),
        RunReport(
            run_id="b", dates=[dt.date(2024, 3, 7)], stored={}, failure="1 date: no answer: 2024-03-07"
        ),
    ]
    assert list(stored_lines(reports)) == [
        "2024-03-01 to 2024-03-03  30 inserted, 0 updated, 0 unchanged, 0 rejected each day",
        "2024-03-05  30 inserted, 2 updated, 0 unchanged, 0 rejected",
        "4 days stored.",
    ]
    assert list(failure_lines(reports, "no answer [/]")) == [
        "[bold red]failed[/]  1 date: no answer: 2024-03-07",
        "[bold red]failed[/]  the names of the currencies: no answer \\[/]",
    ]
    assert ingest_document(reports, None, None) == {
        "stored": {str(day): {**counts, "updated": 2 if day == days[3] else 0} for day in days},
        "runs": [{"id": "a", "failure": None}, {"id": "b", "failure": "1 date: no answer: 2024-03-07"}],
        "not_tried": [],
        "symbols_failure": None,
        "missing_symbols": {},
        "quota": None,
    }


def test_each_missing_currency_is_listed_with_what_to_do() -> None:
    assert list(symbol_lines({"GPB": "the provider does not know it"})) == [
        "[bold yellow]symbols[/] GPB: the provider does not know it. Correct or remove it in FX_SYMBOLS."
    ]


@pytest.mark.parametrize(
    ("untried", "rest", "named", "lines"),
    [
        (
            [dt.date(2024, 3, 1), dt.date(2024, 3, 2)],
            [dt.date(2024, 3, 1), dt.date(2024, 3, 2), dt.date(2024, 3, 9)],
            False,
            ["not tried  2 days: 2024-03-01 to 2024-03-02", "--from 2024-03-01 --to 2024-03-09"],
        ),
        (
            [dt.date(2024, 3, 1)],
            [dt.date(2024, 3, 9), dt.date(2024, 3, 1)],
            True,
            ["not tried  1 day: 2024-03-01 to 2024-03-01", "--date 2024-03-01 --date 2024-03-09"],
        ),
    ],
)
def test_untried_days_are_listed_with_the_command_to_continue(
    untried: list[dt.date], rest: list[dt.date], named: bool, lines: list[str]
) -> None:
    first, second = (Text.from_markup(line).plain for line in untried_lines(untried, rest, named=named))
    assert [first, second] == [lines[0], f"continue with fx-pipeline ingest {lines[1]} --missing"]
