"""The messages about a fault: one within ten minutes, one when it is over, and no others."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from fx_pipeline.alerting.messages import RUNBOOK
from fx_pipeline.alerting.runbook import KINDS, row
from fx_pipeline_tests.inbox import TOKEN, Inbox
from fx_pipeline_tests.sandbox_server import Sandbox
from fx_pipeline_tests.test_heartbeat import SECRET

KEY = "k3yOfTheAccount"

LOOK = dt.timedelta(seconds=30)
"""The pause between two looks of `fx-pipeline watch`."""

SELDOM = dt.timedelta(minutes=20)


def settings_of(folder: Path, sandbox: Sandbox, inbox: Inbox) -> dict[str, str]:
    """Return the settings of an installation in a folder, which sends its alerts to the inbox."""
    return {
        "FIXER_ACCESS_KEY": KEY,
        "FIXER_BASE_URL": sandbox.url,
        "FX_DATABASE": str(folder / "fx.db"),
        "DAGSTER_HOME": str(folder / "dagster"),
        "FX_ALERT_URLS": inbox.url,
    }


class Watched(Protocol):
    """An installation with a watcher, whose clock a test moves."""

    def advance(self, *, every: dt.timedelta = LOOK, **time: float) -> None:
        """Let time pass, with a look of the watcher after each step."""

    def alerts(self) -> list[dict[str, Any]]:
        """Return the messages that are not digests."""


class Reports:
    """The alerts since this object was made, which its checks read one by one."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._read = len(watched.alerts())
        self._open: list[dict[str, Any]] = []

    def new(self) -> list[dict[str, Any]]:
        """Return the alerts that have not been read yet."""
        alerts = self._watched.alerts()[self._read :]
        self._read += len(alerts)
        return alerts

    def begin(self, kind: str, *, lasts: bool = True) -> str:
        """Wait up to ten minutes for one alert, and return its text.

        If the fault lasts, no other message comes for an hour.
        """
        alert = self._next(minutes=10)
        check_alert(alert, kind)
        self._open.append(alert)
        if lasts:
            self.silence()
        return str(alert["message"])

    def end(self, minutes: float = 3, *, quiet: bool = True) -> None:
        """Wait up to some minutes for the end of the open alert.

        If it is quiet then, no other message comes for an hour.
        """
        check_resolved(self._next(minutes), self._open.pop())
        if quiet:
            self.silence()

    def _next(self, minutes: float) -> dict[str, Any]:
        """Let the watcher look every 30 seconds until there is a message, and return it."""
        for _ in range(int(dt.timedelta(minutes=minutes) / LOOK)):
            if alerts := self.new():
                assert [alert["title"] for alert in alerts[1:]] == []
                return alerts[0]
            self._watched.advance(seconds=LOOK.total_seconds())
        [alert] = self.new()
        return alert

    def silence(self) -> None:
        """Let an hour pass without any alert."""
        self._watched.advance(hours=1, every=SELDOM)
        assert [alert["title"] for alert in self.new()] == []


def check_alert(message: Mapping[str, Any], kind: str) -> None:
    """Check that a message is an alert of this kind, with its row of the runbook and links."""
    assert message["type"] == "failure"
    assert message["title"].startswith(f"fx-pipeline: {KINDS[kind].title}")
    what, rest = message["message"].split(f"\n\n{row(kind)}\n\n")
    assert what
    runbook, link = rest.splitlines()
    assert runbook == f"Runbook: {RUNBOOK}#{kind}"
    assert link.startswith("http://127.0.0.1:3000")


def check_resolved(message: Mapping[str, Any], alert: Mapping[str, Any]) -> None:
    """Check that a message says that the fault of an alert is over."""
    assert message["type"] == "success"
    assert message["title"] == alert["title"].replace("fx-pipeline: ", "fx-pipeline: resolved: ")


def check_no_secret(*texts: object) -> None:
    """Check that no text has the key, or the secret part of an address."""
    for text in texts:
        for secret in (KEY, TOKEN, SECRET):
            assert secret not in str(text)
