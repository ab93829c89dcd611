"""Alerts to the operators, sent through Apprise to the addresses in FX_ALERT_URLS.

An address holds a token or a password. Messages name it by its position and kind only.
"""

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import apprise
from pydantic import SecretStr

MAX_CHARACTERS = 4000
"""Characters of a text that are sent. The run's log has the rest."""

_sending: ContextVar[bool] = ContextVar("sending", default=False)


class _Silence(logging.Filter):
    """Drops log records while an alert is sent.

    Apprise logs addresses that it cannot parse, and urllib3 the path of each request.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not _sending.get()


_silence = _Silence()


@dataclass(frozen=True, slots=True)
class Alert:
    """A title, what happened, and a link to more."""

    title: str
    text: str
    link: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= MAX_CHARACTERS else f"{self.text[:MAX_CHARACTERS]} …"
        return f"{text}\n\n{self.link}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How many addresses accepted an alert, and for each of the others what to do about it."""

    accepted: int
    failures: tuple[str, ...]


def send(alert: Alert, urls: Sequence[SecretStr]) -> Delivery:
    """Send an alert to each address, independently. Raise nothing."""
    for name in ("apprise", "urllib3.connectionpool"):
        logging.getLogger(name).addFilter(_silence)  # does nothing if it is there already
    token = _sending.set(True)
    try:
        return _send(alert, urls)
    finally:
        _sending.reset(token)


def _send(alert: Alert, urls: Sequence[SecretStr]) -> Delivery:
    accepted, failures = 0, []
    for position, url in enumerate(urls, start=1):
        service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="fx-pipeline", app_desc="fx-pipeline"))
        if not service.add(url.get_secret_value()):
            failures.append(f"FX_ALERT_URLS, entry {position}: not a URL that Apprise supports")
        elif service.notify(
            title=alert.title,
            body=str(alert),
            notify_type=apprise.NotifyType.FAILURE,
            body_format=apprise.NotifyFormat.TEXT,
        ):
            accepted += 1
        else:
            failures.append(
                f"FX_ALERT_URLS, entry {position} ({service[0].service_name}): the alert was not accepted; "
                "test the address with `apprise -vv -b test URL`"
            )
    return Delivery(accepted, tuple(failures))
