"""Which faults are alerted: each once when it has lasted, and once when it is over.

All instants are arguments, so a test can let a week pass in a moment.
"""

import datetime as dt
import secrets
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from fx_pipeline.alerted import AlertState, Tracked
from fx_pipeline.alerting.faults import Fault
from fx_pipeline.alerting.runbook import KINDS

LOOKS = 2
"""How often a fault must be seen before it is alerted."""

OVER_AFTER = dt.timedelta(seconds=60)
"""How long a fault must be gone before it is over."""

KNOWN_FOR = dt.timedelta(days=7)
"""How long the same finding of a check is not alerted again: each night finds it again."""


class Changes(NamedTuple):
    """What a look changed: the faults to alert, and the alerted ones that are over."""

    begun: list[Tracked]
    over: list[Tracked]


def track(
    state: AlertState, faults: Sequence[Fault], now: dt.datetime, *, unjudged: Collection[str] = ()
) -> Changes:
    """Note the faults that a look saw, and return what that changes.

    `unjudged` are the kinds that could not be looked at: none of them begins or ends.
    """
    _forget(state, now)
    seen = {id(tracked) for fault in faults for tracked in _seen(state, fault, now)}
    for tracked in state.faults:
        if id(tracked) in seen:
            tracked.gone_since = None
        elif tracked.kind not in unjudged and tracked.gone_since is None:
            tracked.gone_since = now
    over = [tracked for tracked in state.faults if tracked.kind not in unjudged and _is_over(tracked, now)]
    state.faults = [tracked for tracked in state.faults if tracked not in over]
    begun = list(_begun(state, seen, now)) if state.sending else []
    return Changes(begun, [tracked for tracked in over if tracked.alerted_at is not None])


def _seen(state: AlertState, fault: Fault, now: dt.datetime) -> Iterator[Tracked]:
    """Yield what is tracked of a fault that was seen. Begin to track what is new."""
    alike = [one for one in state.faults if (one.kind, one.subject) == (fault.kind, fault.subject)]
    known = state.known.setdefault(_name(fault), {}) if fault.parts else {}
    for part in known.keys() & {*fault.parts}:
        known[part] = now
    tracked = [one for one in alike if not fault.parts or not one.parts or {*one.parts} & {*fault.parts}]
    covered = {part for one in alike for part in one.parts} | known.keys()
    new = tuple(part for part in dict.fromkeys(fault.parts) if part not in covered)
    if any(not one.parts for one in alike):
        new = ()  # the whole is tracked: `status` sees it, and a check finds parts of it
    if new or not (tracked or fault.parts):
        tracked.append(_begin(state, fault, new, now))
    for one in tracked:
        one.looks, one.event = one.looks + 1, fault.event
        if one.alerted_at is None:
            one.text, one.link = fault.text, fault.link
        yield one


def _begin(state: AlertState, fault: Fault, parts: tuple[str, ...], now: dt.datetime) -> Tracked:
    begun = Tracked(
        id=secrets.token_hex(8),
        kind=fault.kind,
        subject=fault.subject,
        parts=parts,
        text=fault.text,
        link=fault.link,
        first_seen=now,
        since=now,
        looks=0,
    )
    state.faults.append(begun)
    return begun


def _begun(state: AlertState, seen: Collection[int], now: dt.datetime) -> Iterator[Tracked]:
    """Yield the faults that have lasted long enough, and that no other explains."""
    present = {one.kind for one in state.faults}
    for one in state.faults:
        if one.alerted_at is not None or id(one) not in seen:
            continue
        kind = KINDS[one.kind]
        if present & {*kind.caused_by}:
            one.since, one.looks, one.explained = now, 0, one.event
        elif one.event and one.event == one.explained:
            continue
        elif one.looks >= LOOKS and abs(now - one.since) >= dt.timedelta(seconds=kind.after):
            one.alerted_at = now
            if one.parts:
                state.known.setdefault(_name(one), {}).update(dict.fromkeys(one.parts, now))
            yield one


def _is_over(one: Tracked, now: dt.datetime) -> bool:
    if one.gone_since is None:
        return False
    # One that was not alerted begins again from the start.
    return one.alerted_at is None or abs(now - one.gone_since) >= OVER_AFTER


def _forget(state: AlertState, now: dt.datetime) -> None:
    """Forget findings that were not seen for long, and kinds of another version."""
    state.faults = [one for one in state.faults if one.kind in KINDS]
    kept = {
        name: {part: at for part, at in parts.items() if abs(now - at) < KNOWN_FOR}
        for name, parts in state.known.items()
    }
    state.known = {name: parts for name, parts in kept.items() if parts}


def _name(fault: Fault | Tracked) -> str:
    return f"{fault.kind} {fault.subject}".rstrip()
