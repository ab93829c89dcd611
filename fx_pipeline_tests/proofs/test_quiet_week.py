"""A quiet week: nothing is sent but a digest each morning, and the reports to the heartbeat's address."""

import datetime as dt

import pytest

from fx_pipeline.clock import utc_now
from fx_pipeline.replication.backup import back_up, default_place, note_backup
from fx_pipeline.settings import load_settings
from fx_pipeline_tests.dates import dates_between
from fx_pipeline_tests.proofs.installation import Installation, installed
from fx_pipeline_tests.proofs.reports import check_no_secret
from fx_pipeline_tests.stored import assert_consistent, stored_dates

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

SUNDAY = dt.datetime(2025, 12, 28, 23, 0, tzinfo=dt.timezone.utc)
QUOTA = 110
"""December has calls for the 90 days before, for its last three nights, and for the names. Few are left."""


def back_up_now() -> None:
    """Do what `fx-pipeline backup` does."""
    settings = load_settings()
    folder = default_place(settings.fx_database)
    made = back_up(settings.fx_database, settings.tokens_database, folder, utc_now())
    note_backup(settings.fx_database, made)


def live_through(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a day pass, with a backup before the drill and a restart of the watcher at noon."""
    with installation.running(monkeypatch):
        midnight = utc_now().replace(hour=0) + dt.timedelta(days=1)
        for hour in (4, 12, 23):
            installation.advance_to(midnight.replace(hour=hour), every=dt.timedelta(hours=1))
            if hour == 4:
                back_up_now()


def test_a_quiet_week_sends_only_its_digests(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Monday, 29 December 2025 to Sunday: New Year is a holiday, a new quota and new names."""
    folder = tmp_path_factory.mktemp("week")
    with installed(folder, SUNDAY, FIXER_MONTHLY_QUOTA=f"{QUOTA}") as installation:
        for _ in range(7):
            live_through(installation, monkeypatch)
        mornings = dates_between("2025-12-29", "2026-01-04")
        assert [message["title"] for message in installation.inbox.received] == [
            f"fx-pipeline: digest of {morning}: all is well" for morning in mornings
        ]
        lines = [message["message"].splitlines() for message in installation.inbox.received]
        days = dates_between("2025-12-28", "2026-01-03")
        assert [newest for newest, *_ in lines] == [f"Newest day: {day}, 1 day old." for day in days]
        assert {line[1].partition(" succeeded, ")[2] for line in lines} == {"0 failed."}
        assert lines[3][2] == f"Calls this month: 4 of {QUOTA}."
        assert [line[3:] for line in lines] == [["No alert is open."]] * 7
        assert installation.service.signals == ["/start", "success", "success"] * 7
        assert installation.said == []
        check_no_secret(installation.inbox.received, [text for _, text in installation.service.received])
        assert stored_dates(folder / "fx.db") == set(dates_between("2025-09-29", "2026-01-03"))
        assert_consistent(folder / "fx.db")
