"""Faults injected one at a time: each is alerted once within ten minutes, and once when it is over."""

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.clock import utc_now
from fx_pipeline_tests.disks import NO_MOUNT, fill, remount
from fx_pipeline_tests.fixer.calls import GOOD, tls
from fx_pipeline_tests.fixer.scripted_server import scripted
from fx_pipeline_tests.ports import reserved_port
from fx_pipeline_tests.proofs.installation import ROOM, Installation, installed
from fx_pipeline_tests.proofs.reports import SELDOM, Reports, check_no_secret

# Apprise's plugins import a module that Python 3.13 no longer has.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]

MONDAY = 0
START = dt.datetime(2026, 2, 2, 23, 0, tzinfo=dt.timezone.utc)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("installation"), START) as installation:
        yield installation


@pytest.fixture
def installation(shared: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Yield the installation, which has no open alert. All tests share it."""
    with shared.running(monkeypatch):
        assert shared.watcher.state.alerts == []
        yield shared
        check_no_secret(shared.inbox.received, shared.said, [text for _, text in shared.service.received])


@dataclass(frozen=True)
class Trouble:
    """A fault of the provider, which the run at night meets."""

    kind: str
    text: str
    """What the alert says."""
    options: dict[str, Any]
    """The options of the sandbox that inject it."""
    signals: tuple[str, ...] = ("/start", "/fail")
    """What the run reports to the heartbeat's address."""
    revises: bool = False
    """Whether a stored value was replaced. A revision is news until the next night's run."""


GOOD_OPTIONS: dict[str, Any] = {"quota": None, "faults": {}}

TROUBLES = {
    "wrong key": Trouble("wrong_key", "the access key is missing or unknown", {"key": "another"}),
    "quota used up": Trouble("quota_used", "Fixer", {"quota": 0}),
    "null instead of a rate": Trouble(
        "garbage_values", "positive_and_finite", {"faults": {"bad-value": 1.0}}, ("/start", "success")
    ),
    "a rate a hundred times too large": Trouble(
        "garbage_values", "jump", {"faults": {"off-by-100": 1.0}}, ("/start", "success"), revises=True
    ),
    "a major currency missing": Trouble(
        "garbage_values", "complete", {"faults": {"missing": 1.0}}, ("/start", "success")
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES.keys())
def test_a_fault_of_the_provider_at_night(installation: Installation, trouble: Trouble) -> None:
    installation.skip_to(0)
    reports, before = Reports(installation), len(installation.service.signals)
    key = installation.sandbox.state.options.key
    installation.sandbox.change(**trouble.options)
    installation.advance_to(utc_now().replace(minute=10))
    assert trouble.text in reports.begin(trouble.kind)
    assert tuple(installation.service.signals[before:]) == trouble.signals
    installation.sandbox.change(**GOOD_OPTIONS, key=key)
    installation.ingest(3, missing=False)
    if trouble.revises:
        installation.skip_to(0)
        installation.advance_to(utc_now().replace(minute=10))
    reports.end()


def test_a_provider_that_is_down_for_six_hours(installation: Installation) -> None:
    installation.skip_to(0)
    reports, begin = Reports(installation), utc_now()
    installation.sandbox.change(faults={"server-error": 1.0})
    installation.advance_to(begin.replace(minute=10))
    assert "The next try is 60 minutes after this one." in reports.begin("provider_down")
    installation.advance_to(begin.replace(hour=6), every=SELDOM)
    assert reports.new() == []
    installation.sandbox.change(faults={})
    installation.advance_to(begin.replace(hour=6, minute=10))
    assert installation.statuses("rates_job")[:4] == ["SUCCESS", "FAILURE", "FAILURE", "FAILURE"]
    reports.end()


def test_a_provider_whose_rates_stand_still(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first business day of it may be a holiday of the provider. After the second, it is certain."""
    # The right rates of these days may differ by more than 1 %, which is alerted as a revision.
    monkeypatch.setenv("FX_REVISION_ALERT", "0.5")
    while utc_now().weekday() != MONDAY:
        installation.skip_to(23)
        installation.ingest(7)
    reports, frozen = Reports(installation), utc_now().date()
    installation.sandbox.change(frozen_since=frozen)
    for _ in range(2):  # the nights that fetch Monday and Tuesday
        installation.skip_to(0)
        installation.advance_to(utc_now().replace(minute=12))
        assert reports.new() == []
    installation.skip_to(0)
    installation.advance_to(utc_now().replace(minute=10))
    assert f"those of {frozen} were sent again for 2 business days" in reports.begin("content_frozen")
    installation.sandbox.change(frozen_since=None)
    installation.ingest(4, missing=False)
    reports.end()


def untrusted(stack: ExitStack, folder: Path) -> str:
    file = folder / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    return stack.enter_context(scripted(GOOD, tls=tls(file))).url


def unknown_host(stack: ExitStack, folder: Path) -> str:
    return "http://fixer.invalid/api"


def refused(stack: ExitStack, folder: Path) -> str:
    return f"http://127.0.0.1:{stack.enter_context(reserved_port())}"


@pytest.mark.parametrize(
    ("address", "kind", "text"),
    [
        (untrusted, "provider_unreachable", "certificate"),
        (unknown_host, "provider_unreachable", "the host name is unknown"),
        (refused, "provider_down", "the connection was refused"),
    ],
)
def test_a_provider_that_cannot_be_reached(
    installation: Installation,
    tmp_path: Path,
    address: Callable[[ExitStack, Path], str],
    kind: str,
    text: str,
) -> None:
    installation.skip_to(0)
    reports = Reports(installation)
    with ExitStack() as stack:
        installation.provider = address(stack, tmp_path)
        installation.advance_to(utc_now().replace(minute=10))
        assert text in reports.begin(kind)
        installation.provider = installation.sandbox.url
    installation.ingest(3)
    reports.end()


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_is_off_by_a_day(installation: Installation, days: int) -> None:
    installation.skip_to(0)
    reports = Reports(installation)
    off = dt.timedelta(days=days)
    installation.set_clock(utc_now() + off)
    installation.sandbox.slow_by = off
    installation.sandbox.change(today=lambda: installation.sandbox.now().date(), out_of_range_code=106)
    installation.advance_to(utc_now().replace(minute=10))
    assert "the clock" in reports.begin("clock_wrong").lower()
    installation.advance_to(utc_now().replace(hour=9), every=SELDOM)
    assert reports.new() == []
    installation.set_clock(utc_now() - off)
    installation.sandbox.slow_by = dt.timedelta()
    installation.sandbox.change(today=None, out_of_range_code=302)
    installation.ingest(3, missing=False)
    reports.end()


@pytest.fixture
def disk(installation: Installation) -> Iterator[Installation]:
    """Yield the installation if it has a disk of its own."""
    if not installation.own_disk:
        pytest.skip(NO_MOUNT)
    yield installation
    remount(installation.folder, f"size={ROOM}")


def test_a_disk_that_fills_up(disk: Installation) -> None:
    disk.skip_to(12)
    reports = Reports(disk)
    remount(disk.folder, f"size={disk.used_mb() + 150}m")
    assert f"The disk of {disk.folder} is nearly full: 1" in reports.begin("disk_nearly_full")
    remount(disk.folder, f"size={disk.used_mb() + 2}m")
    filler = fill(disk.folder)
    assert f"The disk of {disk.folder} is full: 0 MB are free." in reports.begin("disk_full")
    disk.advance_to(utc_now().replace(hour=23), every=SELDOM * 6)
    disk.skip_to(0)
    disk.advance(hours=2, every=SELDOM)
    assert reports.new() == []
    filler.unlink()
    remount(disk.folder, f"size={ROOM}")
    disk.ingest(3)
    disk.advance(minutes=3)
    assert sorted(message["title"] for message in reports.new()) == [
        f"fx-pipeline: resolved: {KINDS[kind].title} ({disk.folder})"
        for kind in ("disk_full", "disk_nearly_full")
    ]
    reports.silence()
