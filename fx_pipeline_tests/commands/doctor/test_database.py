"""`doctor` with a broken database, and what it says about the rates in a good one."""

import datetime as dt
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fx_pipeline.business_days import business_days
from fx_pipeline.clock import today, utc_now, yesterday
from fx_pipeline.commands.access import Access
from fx_pipeline.rates import DayRates
from fx_pipeline.settings import load_settings
from fx_pipeline.sqlite import sqlite3
from fx_pipeline.store.store import RateStore
from fx_pipeline_tests.commands.doctor.conftest import Doctor
from fx_pipeline_tests.fetches import fetch_of
from fx_pipeline_tests.quality.corruption import execute, flip, root_page

RESTORE = "Stop everything and restore the database: `fx-pipeline restore --force`."


def empty(database: Path) -> None:
    database.write_bytes(b"")


def not_sqlite(database: Path) -> None:
    database.write_bytes(b"Diary, " * 1000)


def of_another_program(database: Path) -> None:
    database.unlink()
    execute(database, "CREATE TABLE songs (title TEXT)")


def of_a_newer_version(database: Path) -> None:
    values = "VALUES ('fx_pipeline', 'tomorrow', '')"
    execute(database, f"INSERT INTO _sqlite_migrations (migration_set, name, applied_at) {values}")


def damaged(database: Path) -> None:
    execute(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    flip(database, root_page(database, "fetches"), 200)


def without_its_log(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DELETE FROM symbols")
        connection.execute("INSERT INTO symbols (code) VALUES ('USD')")
        connection.commit()
        kept = {end: database.with_name(database.name + end).read_bytes() for end in ("", "-shm")}
    for end, content in kept.items():
        database.with_name(database.name + end).write_bytes(content)


BROKEN_DATABASES: list[tuple[Callable[[Path], None], str, str]] = [
    (empty, "{path} is empty", RESTORE),
    (not_sqlite, "{path}: this is not a SQLite database", "Set FX_DATABASE to another file."),
    (of_another_program, "{path} is not a database of fx-pipeline", "Set FX_DATABASE to another file."),
    (
        of_a_newer_version,
        "{path} was written by a newer fx-pipeline, whose schema has the step tomorrow",
        "Install that version again, or restore the backup from before the upgrade.",
    ),
    (
        damaged,
        "{path} is damaged: Tree 4 page 4: btreeInitPage() returns error code 11",
        f"{RESTORE} `fx-pipeline check` lists it all.",
    ),
    (
        without_its_log,
        "fx.db-wal is missing, although fx.db-shm is there: something other than SQLite removed or cut it, "
        "and 1 changed page with it. Commits may be lost",
        RESTORE,
    ),
]


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("break_it", "text", "remedy"), BROKEN_DATABASES)
def test_a_broken_database_is_a_fault_and_what_needs_it_is_not_checked(
    doctor: Doctor, tmp_path: Path, break_it: Callable[[Path], None], text: str, remedy: str
) -> None:
    path = tmp_path / "data" / "fx.db"
    break_it(path)
    found = doctor()
    [(state, said, advice)] = found["database"]
    assert (state, said, advice) == ("fault", text.format(path=path), remedy)
    unusable = ("warning", "not checked: the database cannot be used", "See the line `database`.")
    assert (found["rates"] == [unusable]) == (break_it not in (of_a_newer_version, damaged))


@pytest.mark.usefixtures("stored")
def test_rates_of_another_base_or_provider_are_a_fault(
    monkeypatch: pytest.MonkeyPatch, doctor: Doctor, tmp_path: Path
) -> None:
    path = tmp_path / "data" / "fx.db"
    monkeypatch.setenv("FX_BASE", "USD")
    assert doctor()["database"] == [
        (
            "fault",
            f"{path} holds rates with base EUR, not USD",
            "Set FX_BASE back to EUR, or FX_DATABASE to another file.",
        )
    ]


@pytest.mark.usefixtures("stored")
def test_nothing_is_written(doctor: Doctor, tmp_path: Path) -> None:
    Access(load_settings()).create("one")

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = contents()
    assert doctor()["database"][0][0] == "ok"
    assert contents() == before


def test_old_missing_and_unknown_rates_are_faults(monkeypatch: pytest.MonkeyPatch, doctor: Doctor) -> None:
    first = yesterday() - dt.timedelta(days=9)
    with RateStore(load_settings().fx_database) as store:
        store.refuse_symbols(["XYZ"])
        day = DayRates(date=first, base="EUR", timestamp=0, rates={"USD": 1.1})
        store.record([fetch_of(day, provider="sandbox")])
        store.want([first + dt.timedelta(days=1)])
    monkeypatch.setenv("FX_SYMBOLS", "USD,XYZ")
    missing = first + dt.timedelta(days=1)
    old, gap, unknown = doctor()["rates"]
    assert old == (
        "fault",
        f"the newest day, {first}, is 10 days old. FX_MAX_AGE_DAYS allows 3",
        "See the lines `daemon` and `last run`, or fetch it with `fx-pipeline ingest --missing`.",
    )
    assert gap == (
        "fault",
        f"1 day is missing between {missing} and {missing}",
        f"Run `fx-pipeline ingest --from {missing} --to {missing} --missing`.",
    )
    assert unknown[1].startswith("XYZ in FX_SYMBOLS: ")


def test_rates_that_stand_still_are_a_fault(doctor: Doctor) -> None:
    since = yesterday() - dt.timedelta(days=9)
    with RateStore(load_settings().fx_database) as store:
        for ago in range(29, 0, -1):
            rates = dict.fromkeys(("USD", "GBP", "JPY"), 1 + max(0, ago - 10) / 100)
            day = DayRates(date=today() - dt.timedelta(days=ago), base="EUR", timestamp=0, rates=rates)
            store.record([fetch_of(day, provider="sandbox")])
    count = business_days(since + dt.timedelta(days=1), yesterday())
    assert doctor()["rates"] == [
        (
            "fault",
            f"the provider sends old rates: those of {since} again for {count} business days",
            "Ask the provider, and refetch the later days when its rates change again.",
        )
    ]


def test_a_fetch_dated_in_the_future_is_a_fault_of_the_clock(doctor: Doctor) -> None:
    with RateStore(load_settings().fx_database, now=lambda: utc_now() + dt.timedelta(days=2)) as store:
        store.record(
            [
                fetch_of(
                    DayRates(date=yesterday(), base="EUR", timestamp=0, rates={"USD": 1.1}),
                    provider="sandbox",
                )
            ]
        )
    [(state, text, remedy)] = doctor()["clock"]
    assert state == "fault"
    assert text.startswith("1 fetch is dated in the future, up to ")
    assert remedy == "Correct the clock; the next fetch or `fx-pipeline rebuild` then corrects them."


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(
    ("limit", "calls", "state", "remedy"),
    [
        ("100", 100, "fault", "Wait until then, or upgrade the plan and set FIXER_MONTHLY_QUOTA."),
        ("100", 85, "warning", "15 are left for the daily runs."),
        ("1000", 20, "ok", None),
    ],
)
def test_the_quota_is_shown(
    monkeypatch: pytest.MonkeyPatch,
    doctor: Doctor,
    tmp_path: Path,
    limit: str,
    calls: int,
    state: str,
    remedy: str | None,
) -> None:
    execute(tmp_path / "data" / "fx.db", "UPDATE fetches SET calls = ?", calls)
    monkeypatch.setenv("FIXER_MONTHLY_QUOTA", limit)
    [(found, text, advice)] = doctor()["quota"]
    assert (found, advice) == (state, remedy)
    assert text.startswith(f"{calls} of the month's {int(limit):,} calls are used. It renews on ")
