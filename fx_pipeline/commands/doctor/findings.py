"""What a check finds: ok, a warning or a fault, each with its remedy."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`. `text` and `remedy` contain no secret."""

    check: str
    state: State
    text: str
    remedy: str | None = None


def ok(check: str, text: str) -> Finding:
    """Return that nothing is wrong."""
    return Finding(check, "ok", text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """Return something that works, or may be intended, and can go wrong."""
    return Finding(check, "warning", text, remedy)


def fault(check: str, text: str, remedy: str) -> Finding:
    """Return something that does not work."""
    return Finding(check, "fault", text, remedy)


def not_checked(check: str, reason: str, remedy: str) -> Finding:
    """Return that a check needs something that does not work."""
    return warning(check, f"not checked: {reason}", remedy)


def of_message(check: str, message: str, state: State = "fault") -> Finding:
    """Return a message of another part of the program, which says what is wrong and then what to do.

    The remedy begins with the second sentence or, in one sentence, after the last colon.
    """
    text, end, remedy = message.strip().partition("). ")
    if not remedy:
        text, end, remedy = message.strip().partition(". ")
    if not remedy:
        text, end, remedy = message.strip().rpartition(": ")
    text += end.rstrip(" .:")
    return Finding(check, state, text, f"{remedy[0].upper()}{remedy[1:]}")
