"""The texts of messages: an alert with its row of the runbook and links, its end, and the digest."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fx_pipeline.alerted import AlertState, Letter, Tracked
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runbook import KINDS, row
from fx_pipeline.rates import counted
from fx_pipeline.settings import PROJECT, Settings

MAX_CHARACTERS = 3000
"""Characters of what happened that are sent. The page behind the link has the rest."""

RUNBOOK = PROJECT / "docs" / "operations" / "runbook.md"
"""The document with the table of alerts, of this installation."""


def alert(fault: Fault | Tracked, settings: Settings, now: dt.datetime) -> Letter:
    """Return the message that a fault has begun."""
    return Letter(
        title=f"fx-pipeline: {heading(fault)}",
        text="\n\n".join((_cut(fault.text), row(fault.kind), _links(fault, settings))),
        type="failure",
        written_at=now,
        tracked=fault.id if isinstance(fault, Tracked) else None,
    )


def resolved(fault: Tracked, now: dt.datetime) -> Letter:
    """Return the message that a fault is over."""
    return Letter(
        title=f"fx-pipeline: resolved: {heading(fault)}",
        text=f"It lasted {_span(fault.first_seen, fault.gone_since or now)}. It was:\n\n{_cut(fault.text)}",
        type="success",
        written_at=now,
        tracked=fault.id,
    )


def digest(state: AlertState, summary: Iterable[str], settings: Settings, now: dt.datetime) -> Letter:
    """Return the digest of the morning: what is new, what is still open, and how the night was."""
    listed = [fault for fault in state.alerts if fault.in_digest]
    pages = [fault for fault in state.alerts if not fault.in_digest]
    needed = len(listed) + len(pages)
    title = f"{needed} open {'alert' if needed == 1 else 'alerts'}" if needed else "all is well"
    parts = ["\n".join([*summary, *(() if needed else ("No alert is open.",))])]
    parts += [
        "\n\n".join((f"{heading(fault)}: {_cut(fault.text)}", row(fault.kind), _links(fault, settings)))
        for fault in listed
    ]
    if pages:
        lines = (f"- since {fault.first_seen:%Y-%m-%d %H:%M} UTC: {heading(fault)}" for fault in pages)
        parts.append("\n".join(("Alerted before and still open:", *lines)))
    if state.ended:
        lines = (f"- {text} ({start:%Y-%m-%d %H:%M} to {end:%H:%M} UTC)" for text, start, end in state.ended)
        parts.append("\n".join(("Over since the last digest:", *lines)))
    return Letter(
        title=f"fx-pipeline: digest of {now:%Y-%m-%d}: {title}",
        text="\n\n".join(filter(None, parts)),
        type="info",
        written_at=now,
    )


def summary_of(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about the night, from the document of `status`."""
    if document["newest"]:
        yield f"Newest day: {document['newest']}, {counted(document['age_in_days'], 'day')} old."
    if document["runs_in_24_hours"]:
        runs = document["runs_in_24_hours"]
        yield f"Runs in the last 24 hours: {runs['success']} succeeded, {runs['failure']} failed."
    if document["quota"]:
        yield f"Calls this month: {document['quota']['used']:,} of {document['quota']['limit']:,}."


def example(settings: Settings, command: str, now: dt.datetime) -> Letter:
    """Return the test message of a command, in the form of an alert."""
    return Letter(
        title="fx-pipeline: test",
        text=f"This is a test by `{command}`. Nothing failed.\n\n"
        "Meaning: what failed\nWaiting until morning: its cost\nInvestigate: a command that shows more\n"
        f"Fix: a command that ends it\n\nRunbook: {RUNBOOK}\n{settings.dagster_url}",
        type="info",
        written_at=now,
    )


def heading(fault: Fault | Tracked) -> str:
    """Return the title of a fault, with what it is about."""
    about = f" ({fault.subject})" if fault.subject else ""
    return f"{KINDS[fault.kind].title}{about}"


def ended(faults: Sequence[Tracked], now: dt.datetime) -> Iterator[tuple[str, dt.datetime, dt.datetime]]:
    """Yield what the next digest says about faults that are over."""
    for fault in faults:
        yield f"{heading(fault)}: {fault.text.splitlines()[0]}", fault.first_seen, fault.gone_since or now


def _links(fault: Fault | Tracked, settings: Settings) -> str:
    return f"Runbook: {RUNBOOK}#{fault.kind}\n{fault.link or settings.dagster_url}"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …"


def _span(start: dt.datetime, end: dt.datetime) -> str:
    minutes = max(1, round((end - start) / dt.timedelta(minutes=1)))
    if minutes < 120:
        return counted(minutes, "minute")
    hours = round(minutes / 60)
    return counted(hours, "hour") if hours < 48 else counted(round(hours / 24), "day")
