"""Messages to the people in charge, through Apprise, to the addresses in FX_ALERT_URLS.

An address holds a token or a password: where one must be named, it is by its position and kind.
"""

import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import apprise
from pydantic import SecretStr

LONGEST_TEXT = 4000
"""Characters of a text that are sent; what is cut is in the run's log."""

_sending: ContextVar[bool] = ContextVar("sending", default=False)


class _Silent(logging.Filter):
    """Apprise logs addresses that it cannot read, and urllib3 the path of each request."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _sending.get()


for _name in ("apprise", "urllib3.connectionpool"):
    logging.getLogger(_name).addFilter(_Silent())


@dataclass(frozen=True, slots=True)
class Alert:
    """What is sent: a title, what happened, and where more is to be seen."""

    title: str
    text: str
    link: str

    def __str__(self) -> str:
        text = self.text if len(self.text) <= LONGEST_TEXT else f"{self.text[:LONGEST_TEXT]} …"
        return f"{text}\n\n{self.link}"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How many addresses took an alert, and for each of the others what to do about it."""

    taken: int
    failures: tuple[str, ...]


def send(alert: Alert, urls: Sequence[SecretStr]) -> Delivery:
    """Send an alert to each address. One that fails holds up no other, and none raises."""
    token = _sending.set(True)
    try:
        return _send(alert, urls)
    finally:
        _sending.reset(token)


def _send(alert: Alert, urls: Sequence[SecretStr]) -> Delivery:
    taken, failures = 0, []
    for position, url in enumerate(urls, start=1):
        service = apprise.Apprise(asset=apprise.AppriseAsset(app_id="fx-pipeline", app_desc="fx-pipeline"))
        if not service.add(url.get_secret_value()):
            failures.append(f"address {position} of FX_ALERT_URLS is none that Apprise knows")
        elif service.notify(
            title=alert.title,
            body=str(alert),
            notify_type=apprise.NotifyType.FAILURE,
            body_format=apprise.NotifyFormat.TEXT,
        ):
            taken += 1
        else:
            failures.append(
                f"address {position} of FX_ALERT_URLS ({service[0].service_name}) did not take it; "
                "try it with `apprise -vv -b test URL`"
            )
    return Delivery(taken, tuple(failures))
