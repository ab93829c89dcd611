"""What becomes of messages: written, sent until an address accepts them, and dropped after a day."""

import datetime as dt
from collections.abc import Callable, Collection, Iterable

from fx_pipeline.alerted import AlertState, Letter
from fx_pipeline.alerting import messages
from fx_pipeline.alerting.runbook import KINDS
from fx_pipeline.alerting.sending import Delivery, send
from fx_pipeline.alerting.tracking import Changes
from fx_pipeline.settings import Settings

TOO_LATE = dt.timedelta(days=1)
"""A message that no address has accepted for so long is dropped."""

UNDELIVERED_FOR = dt.timedelta(days=3)
"""How long `status` shows a message that an address did not accept."""


def write(state: AlertState, changes: Changes, settings: Settings, now: dt.datetime) -> None:
    """Write the messages about a look's changes."""
    for fault in changes.begun:
        fault.in_digest = KINDS[fault.kind].severity == "digest" and settings.digest_time is not None
        if not fault.in_digest:
            state.outbox.append(messages.alert(fault, settings, now))
    state.ended += messages.ended([fault for fault in changes.over if fault.in_digest], now)
    for fault in changes.over:
        if not fault.in_digest:
            state.outbox.append(messages.resolved(fault, now))


def write_digest(state: AlertState, summary: Iterable[str], settings: Settings, now: dt.datetime) -> None:
    """Write the digest if its time has come since the last one. Before the first, note only the time."""
    if settings.digest_time is None or not state.sending:
        return
    due = dt.datetime.combine(now.date(), settings.digest_time, dt.timezone.utc)
    if due > now:
        due -= dt.timedelta(days=1)
    if state.digest_at is None:
        state.digest_at = now
    elif state.digest_at < due:
        state.outbox.append(messages.digest(state, summary, settings, now))
        state.digest_at, state.ended = now, []


def deliver(state: AlertState, settings: Settings, now: dt.datetime, say: Callable[[str], None]) -> None:
    """Send what is in the outbox, oldest first. Stop at a message that no address accepts."""
    recent = [letter for letter in state.undelivered if now - letter.written_at < UNDELIVERED_FOR]
    state.undelivered = recent
    while state.outbox and settings.fx_alert_urls:
        letter = state.outbox[0]
        if letter.type == "success" and letter.tracked not in state.accepted:
            state.outbox.pop(0)  # no one has its alert
            continue
        only = state.accepted[letter.tracked] if letter.type == "success" and letter.tracked else ()
        delivery = _send(letter, settings, only)
        letter.failures = delivery.failures
        for failure in delivery.failures:
            say(f'"{letter.title}": {failure}.')
        if not delivery.accepted:
            if now - letter.written_at < TOO_LATE:
                return
            say(f'"{letter.title}": no address accepted it for a day, so it is dropped.')
        state.outbox.pop(0)
        if delivery.failures:
            state.undelivered.append(letter)
        _note(state, letter, delivery)


def _note(state: AlertState, letter: Letter, delivery: Delivery) -> None:
    """Note which addresses have an alert, until its end was sent."""
    if letter.tracked is None:
        return
    if letter.type == "success":
        state.accepted.pop(letter.tracked, None)
    elif delivery.accepted:
        state.accepted[letter.tracked] = delivery.accepted


def _send(letter: Letter, settings: Settings, only: Collection[int]) -> Delivery:
    urls = settings.fx_alert_urls
    usable = [position for position in only if position <= len(urls)]
    return send(letter, urls, usable)
