"""Alerts to the operators, sent through Apprise to the addresses in FX_ALERT_URLS.

An address holds a token or a password. Messages name it by its position and kind only.
"""

import difflib
import logging
import re
from collections.abc import Collection, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import apprise
from pydantic import SecretStr

from fx_pipeline.alerted import Letter
from fx_pipeline.settings import SettingsError

ALIKE = 0.8
"""How alike a known scheme must be to be suggested. slck and slack are 0.89, file and ilert 0.67."""

_STATUS = re.compile(r"\berror=(\d{3})\b")
"""The HTTP status in a log record of Apprise."""

_logged: ContextVar[list[str] | None] = ContextVar("logged", default=None)
"""What was logged while an alert is sent. It may contain secrets."""


class _Silence(logging.Filter):
    """Drops log records while an alert is sent, and keeps their texts to find the reason of a failure.

    Apprise logs addresses that it cannot parse, and urllib3 the path of each request.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        logged = _logged.get()
        if logged is not None:
            logged.append(record.getMessage())
        return logged is None


_silence = _Silence()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One address, without its secrets, and why it did not accept an alert; None if it did."""

    position: int
    """The position in FX_ALERT_URLS, from 1."""
    address: str
    failure: str | None

    def __str__(self) -> str:
        return f"{self.address}: {self.failure or 'accepted'}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What happened to an alert at each address."""

    attempts: tuple[Attempt, ...]

    @property
    def accepted(self) -> tuple[int, ...]:
        """The positions of the addresses that accepted the message."""
        return tuple(attempt.position for attempt in self.attempts if attempt.failure is None)

    @property
    def failures(self) -> tuple[str, ...]:
        """For each of the other addresses, why it did not, and what to do."""
        return tuple(str(attempt) for attempt in self.attempts if attempt.failure is not None)


def check_addresses(urls: Sequence[SecretStr]) -> None:
    """Raise SettingsError for the first address that Apprise cannot use."""
    for attempt in _each(urls, None, ()):
        if attempt.failure is not None:
            raise SettingsError(f"{attempt}" if attempt.failure.endswith("?") else f"{attempt}.")


def send(letter: Letter, urls: Sequence[SecretStr], only: Collection[int] = ()) -> Delivery:
    """Send a letter to each address, independently; to those at the positions in `only` if it has any.

    Raise nothing.
    """
    return Delivery(_each(urls, letter, only))


def _each(urls: Sequence[SecretStr], letter: Letter | None, only: Collection[int]) -> tuple[Attempt, ...]:
    """Read each address, and send it the letter if there is one. Log nothing."""
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_silence)  # does nothing if it is there already
    attempts = []
    for position, url in enumerate(urls, start=1):
        if only and position not in only:
            continue
        logged: list[str] = []
        token = _logged.set(logged)
        try:
            attempts.append(_attempt(position, url, letter, logged))
        finally:
            _logged.reset(token)
    return tuple(attempts)


def _attempt(position: int, url: SecretStr, letter: Letter | None, logged: Sequence[str]) -> Attempt:
    name = f"FX_ALERT_URLS, entry {position}"
    service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="fx-pipeline", app_desc="fx-pipeline"))
    if not service.add(url.get_secret_value()):
        return Attempt(position, name, _mistake(url.get_secret_value()))
    name = f"{name} ({service[0].service_name})"
    if letter is None or service.notify(
        title=letter.title,
        body=letter.text,
        notify_type=apprise.NotifyType(letter.type),
        body_format=apprise.NotifyFormat.TEXT,
    ):
        return Attempt(position, name, None)
    return Attempt(position, name, f"the alert was not accepted ({_reason(logged)})")


def _reason(logged: Sequence[str]) -> str:
    """Return why an address did not accept an alert, without any of the logged text."""
    statuses = [found[1] for text in logged if (found := _STATUS.search(text))]
    if statuses:
        return f"HTTP status {statuses[-1]}"
    if any("onnection error" in text for text in logged):
        return "no connection"
    return "for the reason, run `apprise -vv -b test URL`"


def _mistake(url: str) -> str:
    """Return what is wrong with an address, without any of its text: it may be a secret."""
    known: list[str] = sorted(apprise.NotificationManager().schemas())  # type: ignore[no-untyped-call]
    scheme, separator, _ = url.partition("://")
    if separator and scheme.lower() in known:
        return f"not a URL that Apprise supports: it starts with {scheme.lower()}://, but the rest is wrong"
    if separator and scheme.lower() in ("http", "https"):
        return (
            "not a URL that Apprise supports: a plain web address. For a webhook that accepts JSON, write "
            f"{scheme.lower().replace('http', 'json')}:// instead of {scheme.lower()}://. Services have "
            "schemes of their own: https://github.com/caronc/apprise lists them"
        )
    close = difflib.get_close_matches(scheme.lower(), known, n=1, cutoff=ALIKE) if separator else ()
    hint = f". Did you mean {close[0]}://?" if close else ": https://github.com/caronc/apprise lists them"
    return f"not a URL that Apprise supports{hint}"
